"""The weights that a run starts from, held against what the run is; before anything is read of their tensors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ipv_bench.checkpoint_index import run_of
from ipv_bench.config import flatten, in_sections
from ipv_bench.errors import ConfigError
from ipv_bench.progress import say_aside
from ipv_bench.run_record import RUN_FILE, read_record
from models.world_models.config import MethodConfig
from models.world_models.weight_facts import WEIGHT_KEYS, check_weights_fit, facts_of, weight_facts

OF_THE_START = ("init_parts", "init_allow")
"""Keys about what a run takes from the one that it starts from."""

OWN_KEYS = ("concat_embed", "reward.dual", "reward.gain", "behavior.min_std", "behavior.discount_head")
"""Keys of an agent's own parts, which are not in a pre-trained model."""


def not_compared(config: MethodConfig, *, whole: bool = False) -> tuple[str, ...]:
    """Keys, or sections of them, in which a pre-trained model may differ from a run that takes it over: nothing looks
    at them, or they are of parts that it does not take.

    Args:
        config: of the run.
        whole: all parts are taken, those of an agent included.
    """
    found = tuple(config.unread())
    if whole:
        return found
    return (*found, *OWN_KEYS, *(("rssm",) if getattr(config, "init_parts", "all") == "encoder_decoder" else ()))


def told_of_the_start(config: MethodConfig) -> dict[str, Any]:
    """The facts of a run's config that a pre-trained model must share, by dotted key: for plans of both."""
    values = config.model_dump(mode="json")
    free = (*not_compared(config), *values.get("init_allow", ()))
    return {
        key: value for key, value in weight_facts(values).items()
        if key in WEIGHT_KEYS and not in_sections(key, free)
    }  # fmt: skip


def refuse_unused(changed: Iterable[str], checkpoint: Path | None, *, whole: bool = False) -> None:
    """`init_parts` and `init_allow` have no meaning where nothing is taken over, nor the first where all of it is.

    Args:
        changed: config keys that were set.
        checkpoint: that the run starts from; None: random weights.
        whole: it is taken over whole.

    Raises:
        ConfigError: one of them is set all the same.
    """
    chosen = [key for key in changed if key in OF_THE_START]
    if chosen and checkpoint is None:
        raise ConfigError(
            f"{chosen[0]} is set, and the run starts from random weights",
            expected=f"a run whose weights are taken over, or no {chosen[0]}",
            fix=f"leave {chosen[0]} out, or name a pre-trained run to start from",
        )
    if whole and "init_parts" in chosen:
        raise ConfigError(
            "init_parts is set, and the run starts from an adapted model, which is taken over whole",
            expected="a pre-training run, or no init_parts",
            fix="leave init_parts out, or start from the run that the model was adapted from",
        )


def tell_unfinished(checkpoint: Path | None) -> None:
    """Say that a run starts from another one that has not come to its end: its weights may still get better."""
    folder = run_of(checkpoint) if checkpoint is not None else None
    if folder is None or not (folder / RUN_FILE).is_file():
        return
    record = read_record(folder)
    if record.status == "finished":
        return
    wanted = flatten(record.config).get("training.updates")
    done = f"{checkpoint.name} of {wanted} updates" if checkpoint is not None and wanted else "not all of its updates"
    say_aside(f"warning: {folder}, which the run starts from, is {record.status} (its checkpoint: {done})")


def check_parent(
    checkpoint: Path,
    state: Mapping[str, Any],
    config: MethodConfig,
    *,
    whole: bool = False,
    absent: Iterable[str] = (),
    fix: str,
) -> None:
    """Hold what a checkpoint was trained as against the run that takes it over.

    What it says itself counts (`state`); for those of older versions its `run.json` does.

    Args:
        checkpoint: its folder.
        state: its state.
        config: of the run; `init_allow` names keys that may differ, `init_parts` what is taken.
        whole: all of its parts are taken, those of an agent included.
        absent: keys, or sections of them, of parts that it does not have.
        fix: what the user can do.

    Raises:
        CheckpointError: something differs that `init_allow` does not name.
    """
    folder = run_of(checkpoint)
    found = facts_of(state, checkpoint)
    if not found and (folder / RUN_FILE).is_file():
        found = weight_facts(read_record(folder).config)
    if not found:
        say_aside(f"{checkpoint} does not say what it was trained as: only the shapes of its weights are compared")
        return
    values = config.model_dump(mode="json")
    absent = (*absent, *not_compared(config, whole=whole))
    skip = [key for key in found if in_sections(key, absent)]
    check_weights_fit(
        found, weight_facts(values), checkpoint, allow=values.get("init_allow", ()), skip=skip, fix=fix
    )  # fmt: skip
