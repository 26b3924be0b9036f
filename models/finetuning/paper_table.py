"""The paper's fine-tuning hyper-parameters beside the released code's and a config's, for `finetune --dry-run`.

Rows: Table 2 of ContextWM (arXiv:2305.18499) in its order, then what C.2 says of budgets and episodes, then what the
paper leaves out and its code fixes. Released values come from `models.methods.released_settings`. A method that this
paper does not have stands beside the values of its own release alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ipv_bench.config import flatten
from models.methods.base import find_method
from models.methods.released_settings import Settings, released_settings
from models.world_models.config import MethodConfig

METAWORLD, DMCR, CARLA = "metaworld", "dmcr", "carla"
SUITES = (METAWORLD, DMCR, CARLA)
"""The suites of the paper."""

_COUNTED = "the code counts agent steps, two environment steps each, and so does the preset"
_BUDGET = "the code's budget, slightly above the paper's number"


@dataclass(frozen=True)
class Row:
    """One hyper-parameter.

    Attributes:
        name: as the paper calls it.
        key: our config key.
        printed: the paper's value as printed; a mapping by suite where it differs; empty where the paper has none.
        expected: what `key` holds where ours equals the paper's; by suite where it differs.
        source: where the paper says it; "code" where only the released code does.
        why: suite → why the preset `paper` differs from the paper's value on purpose.
        needs: what a config must have for the row to mean something: a key that is true, or `stacked`.
    """

    name: str
    key: str
    printed: str | Mapping[str, str] = ""
    expected: Any = None
    source: str = "Table 2"
    why: Mapping[str, str] | None = None
    needs: str = ""

    def of(self, suite: str) -> tuple[str, Any, str]:
        """Printed value, expected value and reason for a suite."""
        printed = self.printed if isinstance(self.printed, str) else self.printed[suite]
        expected = self.expected[suite] if isinstance(self.expected, Mapping) else self.expected
        return printed, expected, (self.why or {}).get(suite, "")


def _each(metaworld: Any, dmcr: Any, carla: Any) -> dict[str, Any]:
    return {METAWORLD: metaworld, DMCR: dmcr, CARLA: carla}


FINETUNING_ROWS = (
    Row("observation size", "image.size", "64 x 64 x 3", 64),
    Row("observation preprocessing", "image.offset", "[0, 255] to [-0.5, 0.5]", "half"),
    Row("trajectory segment length T", "replay.length", "50", 50),
    Row(
        "random exploration", "training.prefill",
        _each("5,000 environment steps", "1,000 environment steps", "1,000 environment steps"),
        _each(5000, 500, 1000), why={DMCR: _COUNTED},
    ),
    Row("replay buffer capacity", "replay.capacity", "1e6", 1_000_000),
    Row(
        "training frequency", "training.train_every", "every 5 environment steps", _each(5, 2.5, 5),
        why={DMCR: _COUNTED},
    ),
    Row("action-free KL weight", "loss.action_free_kl_scale", "0.0", 0.0, needs="stacked"),
    Row("action-conditional KL weight", "loss.kl_scale", "1.0", 1.0),
    Row("representative reward predictor weight", "reward.dual_scale", "1.0", 1.0, needs="reward.dual"),
    Row(
        "intrinsic reward weight", "intrinsic.beta", _each("1.0", "0.1", "0.1"), _each(1.0, 0.1, 0.1), needs="stacked"
    ),
    Row("imagination horizon H", "behavior.horizon", "15", 15),
    Row("discount", "behavior.discount", "0.99", 0.99),
    Row("lambda-target discount", "behavior.lam", "0.95", 0.95),
    Row("entropy regularisation", "behavior.entropy", "1e-4", 1e-4),
    Row("batch size", "replay.batch_size", _each("50", "16", "16"), _each(50, 16, 16)),
    Row("world model learning rate (Adam)", "optimizer.lr", "3e-4", 3e-4),
    Row("actor learning rate (Adam)", "behavior.actor_optimizer.lr", "8e-5", 8e-5),
    Row("critic learning rate (Adam)", "behavior.critic_optimizer.lr", "8e-5", 8e-5),
    Row("evaluation episodes", "evaluation.episodes", _each("10", "10", "5"), _each(10, 10, 5)),
    Row(
        "environment steps", "training.env_steps", _each("250K", "1M", "150K"),
        _each(250_000, 1_000_000, 150_000), "C.2", dict.fromkeys(SUITES, _BUDGET),
    ),
    Row("action repeat", "env.action_repeat", _each("none", "2", "none"), _each(1, 2, 1), "C.2"),
    Row("RSSM size", "rssm.deter", "1024", 1024, "C.3"),
    Row("RSSM hidden width", "rssm.hidden", "1024", 1024, "C.3"),
    Row("reward predictors, layers", "reward.layers", "4", 4, "C.3"),
    Row("reward predictors, width", "reward.units", "400", 400, "C.3"),
    Row("actor and critic, layers", "behavior.layers", "4", 4, "C.3"),
    Row("actor and critic, width", "behavior.units", "400", 400, "C.3"),
    Row("KL balance", "loss.kl_balance", source="code"),
    Row("free nats", "loss.free_nats", source="code"),
    Row("updates after the prefill", "training.pretrain_updates", source="code"),
    Row("encoder frozen for updates", "training.encoder_frozen_updates", source="code", needs="stacked"),
    Row("embedding beside the features", "concat_embed", source="code", needs="stacked"),
    Row("evaluation every (environment steps)", "evaluation.every", source="code"),
    Row("evaluations sample actions", "evaluation.explore", source="code"),
    Row("slow critic copied every", "behavior.slow_every", source="code"),
    Row("Adam's epsilon", "optimizer.eps", source="code"),
    Row("weight decay (coupled L2)", "optimizer.weight_decay", source="code"),
    Row("gradient norm clipped to", "optimizer.clip", source="code"),
    Row("precision", "training.precision", "mixed", "fp16", "C.6"),
)  # fmt: skip


def table_2(config: MethodConfig, suite: str, task: str = "") -> list[dict[str, Any]]:
    """Each row: name, key, the paper's value, the released code's, ours, whether ours departs from either, and why.

    `released` is None where the release has no such field. Empty for suites that the paper does not have and methods
    that its release does not have; a method with a release of its own has a row for each value of that, on its suites.

    Args:
        config: a resolved fine-tuning config.
        suite: of the task.
        task: without the suite.
    """
    own = own_release(config.method)
    released = released_settings(config.method, suite, task) if own or suite in SUITES else {}
    if not released:
        return []
    ours = flatten(config.model_dump(mode="json"))
    if own:
        return _released_rows(ours, released)
    has = {**ours, "stacked": getattr(config, "stacked", True), "": True}
    found = []
    for row in FINETUNING_ROWS:
        if row.key not in ours or not has.get(row.needs):
            continue
        printed, expected, why = row.of(suite)
        setting = released.get(row.key)
        as_paper = not printed or ours[row.key] == expected
        as_released = setting is None or ours[row.key] == setting.value
        reasons = [why] if not as_paper and why else []
        if not as_paper and not why and as_released:
            reasons.append("as the released code has it")
        if not as_released and setting is not None and setting.why:
            reasons.append(setting.why)
        found.append(
            {
                "name": row.name, "key": row.key, "paper": printed, "source": row.source,
                "released": None if setting is None else setting.value, "here": ours[row.key],
                "differs": not (as_paper and as_released), "why": "; ".join(dict.fromkeys(reasons)),
            }
        )  # fmt: skip
    return found


def own_release(method: str) -> str:
    """Whose released values a method stands beside, where that is another release than the paper's; else empty."""
    found: str = getattr(find_method(method), "own_release", "")
    return found


def _released_rows(ours: Mapping[str, Any], released: Settings) -> list[dict[str, Any]]:
    """A row for each released value, under the paper's name for it where it has one."""
    names = {row.key: row.name for row in FINETUNING_ROWS}
    return [
        {
            "name": names.get(key, key), "key": key, "paper": "", "source": setting.source, "released": setting.value,
            "here": ours.get(key), "differs": ours.get(key) != setting.value, "why": setting.why,
        }
        for key, setting in released.items()
    ]  # fmt: skip


def table_2_text(rows: list[dict[str, Any]], suite: str, release: str = "") -> str:
    """The rows as a text table for a terminal; `≠` where ours departs from the paper or from its code.

    Args:
        rows: of `table_2`.
        suite: of the task.
        release: of `own_release`.
    """
    if not rows:
        return ""
    cells: list[tuple[str, ...]] = [("hyper-parameter", "paper", "source", "released", "", "here", "why")]
    for row in rows:
        released = "" if row["released"] is None else str(row["released"])
        mark = "≠" if row["differs"] else "="
        cells.append((row["name"], row["paper"], row["source"], released, mark, str(row["here"]), row["why"]))
    if release:
        cells = [(line[0], *line[2:]) for line in cells]  # no paper's values are known
    widths = [max(len(line[column]) for line in cells) for column in range(len(cells[0]))]
    lines = ["  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip() for line in cells]
    source = release or "ContextWM"
    return "\n".join([f"{source}, fine-tuning on {suite}" + ("" if release else " (arXiv:2305.18499)"), *lines])
