"""One report for every model of latent actions: do they say something, does the model use them, are they the actions?

A healthy loss shows none of this. Latent actions can carry nothing (collapsed), carry much that the model does not heed
(ignored), or code something else than the actions.

Legend: `N` sequences, `K` predicted steps, `T` steps between frames, `L` size of a latent action, `C` codes each.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from models.metrics.action_probes import FEWEST_GROUPS, probe_r2
from models.metrics.ratios import NOT_FINITE, against_a_copy, copy_ratio, shuffle_ratio

Numbers = NDArray[np.float64]
Verdict = Literal["collapsed", "ignored", "worse_than_copy", "cannot_tell", "usable"]

COLLAPSED_NATS = 0.1
"""Latent actions whose KL to the prior is below this say nothing."""
COLLAPSED_SHARE = 0.25
"""And so do codes whose perplexity, on average, is below this share of the codebook, or of the measured steps where
those are fewer: few steps cannot use many codes. Perplexity between the two shares then says nothing."""
STEPS_PER_CODE = 4
"""Measured steps for each code of the codebook, where there are so many: of an evenly used codebook the perplexity of
so many steps is 0.88 of the true one, of as many as codes 0.56."""
SHUFFLED, COPIED = "shuffle ratio", "copy ratio"
"""What a verdict's number is called, where it is one of these."""
NO_PROBE = f"fewer than {FEWEST_GROUPS} held-out videos, or actions that never vary"
IGNORED_BELOW = 1.3
"""A shuffle ratio below this: other latent actions would do as well. Perplexity alone does not show it."""
WORSE_THAN_COPY_FROM = 1
"""A copy ratio from this on: repeating the last frame predicts at least as well. The shuffle ratio does not show it."""


@dataclass(frozen=True)
class LatentActionEvidence:
    """What was measured on held-out sequences.

    Attributes:
        own_error: (N, K) error of predictions 1 … K steps ahead under the sequence's own latent actions (pixels or
            features, any unit).
        other_error: (N, K) the same under another sequence's latent actions.
        copy_error: (N, K) error of repeating the last frame that was seen.
        prior_error: (N, K) the same under latent actions drawn from the prior; None: not measured.
        latents: (N, T, L) inferred latent actions: means, or dequantised codes; None: not kept.
        action_kl: KL to the prior in nats; None for codes, and for plain numbers.
        codes: (M, T, C) indices into the codebook, of these sequences and perhaps of more; None without one.
        num_codes: entries of the codebook.
        code_steps: different steps among those of `codes`, at most; None: all of them are.
        actions: (N, T, A) true actions between the same frames; None on unlabelled sets.
        states: (N, T, S) true states, or features, of the frames that the actions were taken in; None: unknown.
        groups: (N,) video of each sequence, for the probes; None: each its own.
    """

    own_error: Numbers
    other_error: Numbers
    copy_error: Numbers
    prior_error: Numbers | None = None
    latents: Numbers | None = None
    action_kl: float | None = None
    codes: NDArray[np.integer] | None = None
    num_codes: int = 0
    code_steps: int | None = None
    actions: Numbers | None = None
    states: Numbers | None = None
    groups: NDArray[np.integer] | None = None


@dataclass(frozen=True)
class LatentActionReport:
    """The numbers, and what they say.

    Attributes:
        copy_ratio: error one step ahead over that of a copy; below 1 the prediction is the better one.
        shuffle_ratio: error one step ahead under another sequence's latent actions over that under the own ones.
        prior_ratio: the same for latent actions drawn from the prior; NaN: not measured.
        copy_ratio_by_step: (K,) copy ratios, 1 … K steps ahead.
        shuffle_ratio_by_step: (K,).
        open_loop_error: (K,) mean error under the own latent actions.
        action_kl: nats; None without a distribution.
        perplexity: (C,) of each code; None without codes.
        bits: that the codes carry, C times log2 of the perplexity on average; None without codes.
        r2_action: R²(a | z); NaN without labels, or where a probe can say nothing.
        r2_action_given_state: R²(a | z, s): latent actions may code where something ends up instead of how it moved.
        r2_state_alone: R²(a | s), what the state alone tells.
        verdict: collapsed, ignored, worse_than_copy, usable or cannot_tell: the number that would decide is not finite
            (of sequences in which nothing moves there is no copy ratio), or the rest holds, and too few steps were
            measured to say how much of the codebook is used.
        decided_by: the number that decides, and its limit, in words.
        labelled: whether true actions are known.
    """

    copy_ratio: float
    shuffle_ratio: float
    prior_ratio: float
    copy_ratio_by_step: list[float]
    shuffle_ratio_by_step: list[float]
    open_loop_error: list[float]
    action_kl: float | None
    perplexity: list[float] | None
    bits: float | None
    r2_action: float
    r2_action_given_state: float
    r2_state_alone: float
    verdict: Verdict
    decided_by: str
    labelled: bool

    def metrics(self, prefix: str = "latent_action_") -> dict[str, Any]:
        """Values for a line of `metrics.jsonl`; what was not measured is left out."""
        names = ("copy_ratio", "shuffle_ratio", "prior_ratio", "action_kl", "bits", "r2_action",
                 "r2_action_given_state", "r2_state_alone", "verdict", "decided_by")  # fmt: skip
        found = {name: getattr(self, name) for name in names}
        found |= {"perplexity": self.perplexity, "open_loop_error": self.open_loop_error,
                  "copy_ratio_by_step": self.copy_ratio_by_step,
                  "shuffle_ratio_by_step": self.shuffle_ratio_by_step}  # fmt: skip
        return {prefix + name: value for name, value in found.items() if _is_measured(value)}

    def sentence(self) -> str:
        """The report in a line; the ratio that decides is not said twice."""
        against = against_a_copy(self.copy_ratio)
        parts = [f"latent actions: {self.verdict} ({self.decided_by})"]
        if not self.decided_by.startswith(SHUFFLED):
            parts.append(f"{SHUFFLED} {self.shuffle_ratio:.3g}")
        if not self.decided_by.startswith(COPIED):
            parts.append(f"{COPIED} {self.copy_ratio:.3g}, {against}")
        elif math.isfinite(self.copy_ratio):
            parts.append(against)
        parts.append(self._open_loop())
        if self.action_kl is not None:
            parts.append(f"{self.action_kl:.3g} nats")
        if self.bits is not None and self.perplexity is not None:
            each = ", ".join(f"{value:.3g}" for value in self.perplexity)
            parts.append(f"{self.bits:.3g} bits (perplexity {each})")
        if not self.labelled:
            parts.append("no true actions to probe for")
        elif math.isnan(self.r2_action):
            parts.append(f"R²(a|z) unknown: {NO_PROBE}")
        else:
            parts.append(f"R²(a|z) {self.r2_action:.2f}")
        if not math.isnan(self.r2_action_given_state):
            parts.append(f"R²(a|z,s) {self.r2_action_given_state:.2f} (s alone {self.r2_state_alone:.2f})")
        return "; ".join(parts)

    def _open_loop(self) -> str:
        """Errors of the first step ahead and the last, and what the last is of a copy's."""
        last, steps = self.open_loop_error[-1], len(self.open_loop_error)
        if steps == 1:
            return f"open loop 1 step ahead: error {last:.3g}"
        return (
            f"open loop 1 to {steps} steps ahead: error {self.open_loop_error[0]:.3g} to {last:.3g}, at the end "
            f"{self.copy_ratio_by_step[-1]:.3g} of a copy's"
        )


def latent_action_report(evidence: LatentActionEvidence) -> LatentActionReport:
    """Reduce what was measured to the report.

    Raises:
        ValueError: shapes that do not fit.
    """
    own, other, copied = (
        np.asarray(each, np.float64) for each in (evidence.own_error, evidence.other_error, evidence.copy_error)
    )
    if own.ndim != 2 or not own.size:
        raise ValueError(f"errors are (N, K) with at least one sequence and one step, found {own.shape}")
    prior = evidence.prior_error
    by_copy, by_shuffle = copy_ratio(own, copied, 0), shuffle_ratio(own, other, 0)  # (K,) each
    perplexity = bits = None
    if evidence.codes is not None:
        perplexity = code_perplexity(evidence.codes, evidence.num_codes)
        bits = float(np.log2(perplexity).sum())
    verdict, decided_by = judge(
        float(by_shuffle[0]), float(by_copy[0]), evidence.action_kl, perplexity, evidence.num_codes, _steps(evidence)
    )
    nan = float("nan")
    return LatentActionReport(
        copy_ratio=float(by_copy[0]),
        shuffle_ratio=float(by_shuffle[0]),
        prior_ratio=nan if prior is None else float(shuffle_ratio(own, np.asarray(prior, np.float64), 0)[0]),
        copy_ratio_by_step=by_copy.tolist(),
        shuffle_ratio_by_step=by_shuffle.tolist(),
        open_loop_error=own.mean(0).tolist(),
        action_kl=evidence.action_kl,
        perplexity=None if perplexity is None else perplexity.tolist(),
        bits=bits,
        verdict=verdict,
        decided_by=decided_by,
        labelled=evidence.latents is not None and evidence.actions is not None,
        **_probes(evidence),
    )


def judge(
    shuffled: float,
    copied: float,
    action_kl: float | None,
    perplexity: Numbers | None = None,
    num_codes: int = 0,
    steps: int | None = None,
) -> tuple[Verdict, str]:
    """The verdict, and the number that decides it.

    Latent actions that decide where a prediction goes are not usable yet while repeating the last frame is the better
    prediction: the model then has no skill, in the word of weather forecasts.

    Args:
        shuffled: shuffle ratio one step ahead.
        copied: copy ratio one step ahead.
        action_kl: nats; None without a distribution.
        perplexity: (C,) of the codes; None without codes.
        num_codes: entries of the codebook.
        steps: different steps that the perplexity was measured on; None: enough of them.
    """
    if action_kl is not None and not math.isfinite(action_kl):
        return "cannot_tell", f"KL {action_kl:.3g} nats, {NOT_FINITE}"
    if action_kl is not None and action_kl < COLLAPSED_NATS:
        return "collapsed", f"KL {action_kl:.3g} nats < {COLLAPSED_NATS}"
    too_few = ""
    if perplexity is not None:
        collapsed, found = _judge_codes(perplexity, num_codes, num_codes if steps is None else steps)
        if collapsed:
            return "collapsed", found
        too_few = found
    if not math.isfinite(shuffled):
        return "cannot_tell", f"{SHUFFLED} {shuffled:.3g}, {NOT_FINITE}"
    if shuffled < IGNORED_BELOW:
        return "ignored", f"{SHUFFLED} {shuffled:.3g} < {IGNORED_BELOW}"
    if not math.isfinite(copied):
        return "cannot_tell", f"{COPIED} {copied:.3g}, {against_a_copy(copied)}"
    if copied >= WORSE_THAN_COPY_FROM:
        return "worse_than_copy", f"{COPIED} {copied:.3g} ≥ {WORSE_THAN_COPY_FROM}"
    if too_few:
        return "cannot_tell", too_few
    return "usable", f"{SHUFFLED} {shuffled:.3g} ≥ {IGNORED_BELOW}"


def _judge_codes(perplexity: Numbers, num_codes: int, steps: int) -> tuple[bool, str]:
    """Whether the codebook is collapsed, and by which number; else why that cannot be told, or nothing."""
    typical = typical_perplexity(perplexity)
    several = f" (geometric mean, the smallest {perplexity.min():.3g})" if len(perplexity) > 1 else ""
    found = f"perplexity {typical:.3g}{several}"
    if not typical >= COLLAPSED_SHARE * min(num_codes, steps):
        of = f"{num_codes} codes" if steps >= num_codes else f"{steps} steps"
        return True, f"{found} < {COLLAPSED_SHARE:.0%} of {of}"
    if typical < COLLAPSED_SHARE * num_codes:
        return False, f"{found} on {steps} different steps, fewer than the {num_codes} codes"
    return False, ""


def typical_perplexity(perplexity: Numbers) -> float:
    """Geometric mean over the codes of an action, (C,): what their bits come to. The largest says nothing of codes
    beside it that carry nothing."""
    return float(np.exp(np.log(perplexity).mean()))


def _steps(evidence: LatentActionEvidence) -> int:
    """Different steps that codes were measured on."""
    if evidence.codes is None:
        return 0
    measured = evidence.codes[..., 0].size
    return measured if evidence.code_steps is None else min(measured, evidence.code_steps)


def code_perplexity(codes: NDArray[np.integer], num_codes: int) -> Numbers:
    """Perplexity of each code over all sequences and steps: indices (N, T, C) to (C,), each in [1, num_codes].

    Raises:
        ValueError: indices outside the codebook.
    """
    flat = np.asarray(codes).reshape(-1, codes.shape[-1])  # (N T, C)
    if flat.size and (flat.min() < 0 or flat.max() >= num_codes):
        raise ValueError(f"codes from {flat.min()} to {flat.max()} in a codebook of {num_codes}")
    shares = np.stack([np.bincount(column, minlength=num_codes) / len(column) for column in flat.T])  # (C, num_codes)
    logs = np.log(shares, out=np.zeros_like(shares), where=shares > 0)
    found: Numbers = np.exp(-(shares * logs).sum(-1))
    return found


def _probes(evidence: LatentActionEvidence) -> dict[str, float]:
    nan = float("nan")
    found = {"r2_action": nan, "r2_action_given_state": nan, "r2_state_alone": nan}
    latents, actions, states = evidence.latents, evidence.actions, evidence.states
    if latents is None or actions is None:
        return found
    found["r2_action"] = probe_r2(latents, actions, evidence.groups)
    if states is not None:
        both = np.concatenate([latents, states], -1)
        found["r2_action_given_state"] = probe_r2(both, actions, evidence.groups)
        found["r2_state_alone"] = probe_r2(states, actions, evidence.groups)
    return found


def _is_measured(value: Any) -> bool:
    return value is not None and not (isinstance(value, float) and math.isnan(value))
