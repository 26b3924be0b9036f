"""The configs that a script's commands resolve to today: what their dry runs show, without what changes no result."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

from ipv_bench.came_later import CAME_LATER
from ipv_bench.config import Config, flatten
from models.analysis.analyses import AnalysisRequest
from models.analysis.attention import AttentionConfig
from models.analysis.compose import ComposeConfig
from models.analysis.config import RESOURCE_KEYS as ANALYSIS_RESOURCE_KEYS
from models.analysis.config import resolve_analysis
from models.analysis.embed import EmbedConfig
from models.analysis.predict import PredictConfig
from models.finetuning.config import resolve_finetuning, resource_keys
from models.pretraining.config import RESUMABLE_KEYS, resolve_pretraining


@cache
def finetuning_config(preset: str, task: str, changes: tuple[str, ...]) -> Mapping[str, Any]:
    """Dotted key → value of the run that `ipv-bench finetune --preset --task --set ...` would make."""
    suite, _, short = task.partition("/")
    config = resolve_finetuning(preset, suite, parts=(f"{suite}-{short}", suite), overrides=changes).config
    return _told(config, resource_keys(config))


@cache
def pretraining_config(preset: str, changes: tuple[str, ...]) -> Mapping[str, Any]:
    """Dotted key → value of the model that `ipv-bench pretrain --preset --set ...` would make, its data sets apart."""
    return _told(resolve_pretraining(preset, overrides=changes).config, RESUMABLE_KEYS)


@cache
def analysis_config(kind: str, data: str, settings: tuple[str, ...]) -> Mapping[str, Any]:
    """Dotted key → value of the analysis that `ipv-bench analyze KIND --data --set ...` would make."""
    request = AnalysisRequest(kind, (), data=(data,), overrides=settings)
    config = resolve_analysis(_ANALYSES[kind], request)
    return {"sets": [data], **_told(config, ANALYSIS_RESOURCE_KEYS)}


_ANALYSES = {"attention": AttentionConfig, "compose": ComposeConfig, "embed": EmbedConfig, "predict": PredictConfig}


def _told(config: Config, without: Iterable[str]) -> Mapping[str, Any]:
    left_out = set(without)
    found = {key: value for key, value in flatten(config.model_dump(mode="json")).items() if key not in left_out}
    if found.get("training.precision") == "auto":
        del found["training.precision"]  # a record has what that was where the run was made
    return found


def short_name(*settings: Mapping[str, Any]) -> str:
    """Eight letters and digits that other settings do not share; a field that came later changes them only where it
    changes what is done."""
    told = [{key: value for key, value in one.items() if CAME_LATER.get(key, _NO_VALUE) != value} for one in settings]
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:8]


_NO_VALUE = object()
