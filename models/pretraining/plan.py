"""What a pre-training run will be: resolved config, record and folder, before anything is written."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ipv_bench.config import Resolved, parse_overrides
from ipv_bench.run_record import RunRecord, package_versions, run_folder
from models.methods.base import find_method
from models.nets.config import EncoderConfig
from models.pretraining.config import RESOURCE_KEYS, RESUMABLE_KEYS, PretrainConfig, resolve_pretraining
from models.pretraining.paper_table import paper_table
from models.training.begun_run import has_begun
from models.world_models.config import variant
from models.world_models.unread_settings import refuse_unread
from models.world_models.weight_facts import weight_facts

PACKAGES = ("ipv-bench", "torch", "numpy", "simplejpeg")


@dataclass(frozen=True)
class PretrainPlan:
    """A run before it starts.

    Attributes:
        resolved: config, preset and overrides.
        seed: of the run.
        run: folder asked for; None: by data sets, method, variant and seed.
        root: where runs are kept.
    """

    resolved: Resolved[PretrainConfig]
    seed: int
    run: Path | None
    root: Path = Path("runs")

    @property
    def config(self) -> PretrainConfig:
        """The typed config."""
        return self.resolved.config

    def record(self, shard_sets: list[dict[str, Any]]) -> RunRecord:
        """What `run.json` will hold, given the shard sets' records."""
        config = self.config
        return RunRecord(
            kind="pretrain",
            method=config.method,
            display_name=find_method(config.method).display_name,
            variant=variant(self.resolved, RESOURCE_KEYS),
            seed=self.seed,
            preset=self.resolved.preset,
            overrides=self.resolved.overrides,
            config=config.model_dump(mode="json"),
            pretraining={
                "kind": find_method(config.method).pretraining,
                "data": [entry["name"] for entry in shard_sets],
                "num_videos": config.data.num_videos,
                "updates": config.training.updates,
            },
            shard_sets=shard_sets,
            packages=package_versions(PACKAGES),
        )

    def folder(self, record: RunRecord) -> Path:
        """The run folder."""
        return self.run or run_folder(self.root, record)


def plan_pretraining(
    preset: str = "tiny",
    *,
    config_file: str | Path | None = None,
    overrides: Mapping[str, Any] | Iterable[str] = (),
    data: Iterable[str | Path] = (),
    run: str | Path | None = None,
    seed: int = 0,
    root: str | Path = "runs",
) -> PretrainPlan:
    """Resolve a run's config.

    Args:
        preset: name of the preset.
        config_file: YAML over the preset.
        overrides: `key=value` texts, or dotted key → value, over both.
        data: shard sets; they replace `data.sets`.
        run: run folder; None: the default place.
        seed: of the run.
        root: where runs are kept.

    Raises:
        UnknownNameError: unknown preset.
        ConfigError: unknown key or wrong value, or one that would not be looked at.
    """
    changes = parse_overrides(overrides)
    sets = [str(place) for place in data]
    if sets:
        changes["data.sets"] = sets
    resolved = resolve_pretraining(preset, config_file=config_file, overrides=changes)
    if run is None or not has_begun(Path(run)):  # what a run of an older version has set, it goes on with
        refuse_unread(resolved.overrides, resolved.config.unread())
    return PretrainPlan(resolved, seed, Path(run) if run else None, Path(root))


def describe(plan: PretrainPlan) -> str:
    """The plan as text, for `--dry-run`: the paper's tables beside the values, then the whole config as JSON."""
    shown = {
        "preset": plan.resolved.preset,
        "seed": plan.seed,
        "overrides": plan.resolved.overrides,
        "may_change": RESUMABLE_KEYS,
        "weights": weight_facts(plan.config.model_dump(mode="json")),
        "config": plan.config.model_dump(mode="json"),
    }
    # One block of text, a blank line, JSON: what reads the JSON goes by that line.
    tables = filter(None, (paper_table(plan.config), _encoder_table(plan.config)))
    return "\n\n".join(filter(None, ("\n".join(tables), json.dumps(shown, indent=2))))


def _encoder_table(config: PretrainConfig) -> str:
    """Table 1 of the image encoder that the config asks for; empty for an encoder without such stages."""
    encoder = getattr(config, "encoder", None)
    if not isinstance(encoder, EncoderConfig) or encoder.kind != "residual" or not encoder.blocks:
        return ""
    # The table shows what is built, and building needs torch.
    from models.nets.resnet import ImageEncoder
    from models.world_models.encoder_table import encoder_table, encoder_table_text

    return encoder_table_text(encoder_table(ImageEncoder(encoder, config.image.size), config.image.size))
