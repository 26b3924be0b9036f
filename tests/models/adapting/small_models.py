"""The config of a small model under real actions, for tests of `adapt`."""

from __future__ import annotations

from typing import Any

from models.adapting.config import adapt_config_class
from models.agents.config import AgentConfig
from tests.models.pretraining.small_pretraining import SMALL


def small_values() -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key, value in SMALL.items():
        section, _, name = key.partition(".")
        if section in ("image", "encoder", "decoder", "rssm"):
            values.setdefault(section, {})[name] = value
    return values


def small_config() -> AgentConfig:
    return adapt_config_class("apv").model_validate({"method": "apv", **small_values()})
