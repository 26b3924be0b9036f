"""How far apart the frames of an analysis' clips are: as the analysed models were trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from ipv_bench.errors import ConfigError, ShardSetError
from ipv_bench.segment_source import SegmentSource
from models.analysis.config import AnalysisConfig
from models.analysis.loaded_model import AnalysedModel


@dataclass(frozen=True)
class FrameStep:
    """From one frame of a clip to the next; see `ipv_bench.segments.open_segments`.

    Attributes:
        every_seconds: by time, to the nearest frame; None: by number.
        every_frames: the number of stored frames.
        notes: what is to be said of it.
    """

    every_seconds: float | None = None
    every_frames: int = 1
    notes: tuple[str, ...] = field(default=(), compare=False)

    def strides(self, source: SegmentSource) -> np.ndarray:
        """(videos of the set,) stored frames from one frame of a clip to the next.

        Raises:
            ShardSetError: by time, and the set does not know its rate.
        """
        try:
            found: np.ndarray = source.index.strides(self.every_seconds, self.every_frames)
        except ShardSetError as error:
            raise ShardSetError(
                error.found, expected=error.expected, fix="say it in frames: --set every_frames=N"
            ) from None
        return found

    def __str__(self) -> str:
        if self.every_seconds is not None:
            return f"{self.every_seconds:g} seconds apart"
        return "one after another" if self.every_frames == 1 else f"{self.every_frames} stored ones apart"


def frame_step(config: AnalysisConfig, models: Sequence[AnalysedModel]) -> FrameStep:
    """The step that the config asks for, or else that of the models' training.

    An agent's model sees a frame at each of its steps, whatever its pre-trained model saw: of a set of its task all.

    Raises:
        ConfigError: two steps are asked for; or none is, and the models were trained with different ones.
    """
    trained = {model.label: _trained_with(model) for model in models}
    if config.every_frames is not None and config.every_seconds is not None:
        raise ConfigError(
            f"every_frames={config.every_frames} and every_seconds={config.every_seconds:g} are both set",
            expected="one of the two",
            fix="leave one out",
        )
    if config.every_frames is not None or config.every_seconds is not None:
        asked = FrameStep(config.every_seconds, config.every_frames or 1)
        others = [f"{label} was trained with frames {step}" for label, step in trained.items() if step != asked]
        return FrameStep(asked.every_seconds, asked.every_frames, (f"frames {asked}", *others))
    steps = list(dict.fromkeys(trained.values()))
    if len(steps) > 1:
        said = "; ".join(f"{label}: {step}" for label, step in trained.items())
        raise ConfigError(
            f"the models were trained with frames differently far apart ({said})",
            expected="models of one step, so that one clip is the same task for all",
            fix="analyse them in commands of their own, or choose a step for all: --set every_frames=N",
        )
    step = steps[0] if steps else FrameStep()
    said_of = () if step == FrameStep() else (f"frames {step}, as the models were trained",)
    return FrameStep(step.every_seconds, step.every_frames, said_of)


def _trained_with(model: AnalysedModel) -> FrameStep:
    data = model.record.config.get("data") if model.record.kind in ("pretrain", "adapt") else None
    if not isinstance(data, dict):
        return FrameStep()
    return FrameStep(data.get("every_seconds"), data.get("every_frames") or 1)
