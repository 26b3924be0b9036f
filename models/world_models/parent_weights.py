"""The weights that a run starts from, held against what the run is; before anything is read of their tensors."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ipv_bench.progress import say
from ipv_bench.run_record import RUN_FILE, read_record
from models.training.checkpoint import run_of
from models.world_models.config import MethodConfig
from models.world_models.weight_facts import FACTS, check_weights_fit, weight_facts

OWN_KEYS = ("concat_embed", "reward.dual", "reward.gain", "behavior.min_std", "behavior.discount_head")
"""Keys of an agent's own parts, which are not in a pre-trained model."""


def check_parent(
    checkpoint: Path, state: Mapping[str, Any], config: MethodConfig, *, whole: bool = False, fix: str
) -> None:
    """Hold what a checkpoint was trained as against the run that takes it over.

    What it says itself counts (`state`); for those of older versions its `run.json` does.

    Args:
        checkpoint: its folder.
        state: its state.
        config: of the run; `init_allow` names keys that may differ, `init_parts` what is taken.
        whole: all of its parts are taken, those of an agent included.
        fix: what the user can do.

    Raises:
        CheckpointError: something differs that `init_allow` does not name.
    """
    folder = run_of(checkpoint)
    found = state.get(FACTS) or (weight_facts(read_record(folder).config) if (folder / RUN_FILE).is_file() else None)
    if not found:
        say(f"{checkpoint} does not say what it was trained as: only the shapes of its weights are compared")
        return
    values = config.model_dump(mode="json")
    skip: list[str] = []
    if not whole:
        skip += [*OWN_KEYS, *config.not_taken()]
        if values.get("init_parts") == "encoder_decoder":
            skip += [key for key in found if key.startswith("rssm.")]
    check_weights_fit(
        found, weight_facts(values), checkpoint, allow=values.get("init_allow", ()), skip=skip, fix=fix
    )  # fmt: skip
