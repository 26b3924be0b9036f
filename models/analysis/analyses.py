"""The analyses that `ipv-bench analyze` knows: name → where it is and what it does. Nothing heavy is imported here."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Analysis:
    """A row of the table.

    Attributes:
        function: `module:name` of its function, which takes an `AnalysisRequest`.
        help: what it does, for the command's help; its first sentence is the short form.
        extras: extras that it needs beside `train`.
    """

    function: str
    help: str
    extras: tuple[str, ...] = ()

    def load(self) -> Callable[[AnalysisRequest], Any]:
        """The function."""
        module, _, name = self.function.partition(":")
        found: Callable[[AnalysisRequest], Any] = getattr(importlib.import_module(module), name)
        return found


@dataclass(frozen=True)
class AnalysisRequest:
    """What the command was asked for.

    Attributes:
        kind: name of the analysis.
        runs: run folders or checkpoint folders.
        data: shard sets; empty: the config's own.
        out: folder that is written; None: `analysis/<kind>`.
        config_file: YAML with the fields of the analysis's config.
        overrides: `key=value` texts over it.
        seed: of all draws.
    """

    kind: str
    runs: tuple[Path, ...]
    data: tuple[str, ...] = ()
    out: Path | None = None
    config_file: Path | None = None
    overrides: tuple[str, ...] = field(default=())
    seed: int = 0

    @property
    def folder(self) -> Path:
        """The folder that is written."""
        return self.out or Path("analysis") / self.kind


ANALYSES: Mapping[str, Analysis] = {
    "predict": Analysis(
        "models.analysis.predict:predict",
        "Predict videos open loop and measure it against copying. Writes errors per frame ahead with intervals, copy "
        "ratio, shuffle ratio, best of N, strips and GIFs, and a verdict, for any number of runs side by side.",
    ),
    "attention": Analysis(
        "models.analysis.attention:attention",
        "Show what a decoder looks at in its context frame. Writes the attention of a target region over time as heat "
        "maps, and, where the place of the object is known, whether attention follows it.",
    ),
    "embed": Analysis(
        "models.analysis.embed:embed",
        "Show what the states of labelled clips know. Writes a t-SNE map, and linear probes and silhouettes for the "
        "label and for the background beside what chance reaches, with intervals over videos.",
        extras=("analysis",),
    ),
    "compose": Analysis(
        "models.analysis.compose:compose",
        "Decode the dynamics of one clip with the appearance of another. Writes pictures, and how much of the motion "
        "and of the appearance survives, with intervals over videos.",
    ),
}
"""In the order of the help."""
