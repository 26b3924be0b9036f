"""Windows that no episode can hold: refused before anything is played, by the key that decides their length."""

from __future__ import annotations

from ipv_bench.config import flatten
from ipv_bench.errors import ConfigError
from models.finetuning.config import FinetuneConfig


def refuse_longer_windows(config: FinetuneConfig, task: str, time_limit: int) -> None:
    """Refuse windows of the replay that are longer than the longest episode: not one would be stored.

    Args:
        config: of the run.
        task: `<suite>/<task>`.
        time_limit: control steps of its longest episode.

    Raises:
        ConfigError: they are.
    """
    repeat, wanted = config.env.action_repeat, config.replay.length
    steps = -(-time_limit // repeat)  # agent steps; there is a record more, of the reset
    if wanted <= steps + 1:
        return
    key, value = window_length(config)
    most = steps + 1 - (wanted - value)
    counted = f"{time_limit} control steps at env.action_repeat={repeat}" if repeat > 1 else "its time limit"
    raise ConfigError(
        f"{key} is {value}, and an episode of {task} has at most {steps} agent steps ({counted})",
        expected=f"{key} of at most {most}",
        fix=f"set {key}={most} or less" + (", or a smaller env.action_repeat" if repeat > 1 else ""),
    )


def window_length(config: FinetuneConfig) -> tuple[str, int]:
    """The key that decides how long the replay's windows are, and its value; see `MethodConfig.length_key`."""
    key = config.length_key()
    value = flatten(config.model_dump()).get(key)
    return (key, value) if isinstance(value, int) else ("replay.length", config.replay.length)
