"""The commands on a run's card: those that take the run as it is, with what it takes for them to accept it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ipv_bench.bounded_json import read_json
from ipv_bench.checkpoint_index import STATE_FILE
from ipv_bench.config import build, flatten, in_sections, lay, load_preset, preset_names
from ipv_bench.errors import CheckpointError, IpvBenchError
from ipv_bench.plugins import find_plugin
from ipv_bench.run_record import RunRecord

GET = "hf download <this repository> --local-dir model"
TASK, DEFAULT_PRESET = "dmc/cheetah_run", "tiny"
"""Of the command that fine-tunes: a task of every preset, and the preset where `finetune` has none of the name."""
WORD = re.compile(r"[A-Za-z0-9_.-]{1,50}")
"""A value that may stand in a block of code as it is."""
FACTS, STATE_BYTES = "weights", 64 << 20
"""Where a checkpoint's state says what it was trained as (`models.world_models.weight_facts`), and its size at most."""


def run_usage(record: RunRecord, checkpoint: Path) -> str:
    """Lines of a shell: how the run is fetched, and what can be done with it.

    Args:
        record: of the run.
        checkpoint: folder of the checkpoint that goes with it.
    """
    if record.kind == "finetune":
        task = re.sub(r"[^A-Za-z0-9_./-]", "", f"{record.suite}/{record.task}")  # foreign text in a block of code
        return f"{GET}\nipv-bench evaluate model        # {task}"
    lines = [GET]
    try:
        method = find_plugin("methods", record.method).load(("agent_config", "presets"))
        # An adapted model learned under actions, which no agent takes over.
        if record.kind == "pretrain" and method.agent_config is not None:
            lines.append(finetune_command(record, checkpoint, "model"))
        if getattr(method, "adaptation", None) is not None:
            lines.append("ipv-bench adapt model --data <shard set with actions>")
    except IpvBenchError:
        pass  # its package is not installed here, or has other presets: no command is better than a wrong one
    adaptation = (record.model_extra or {}).get("adaptation")
    if record.kind == "adapt" and isinstance(adaptation, dict) and adaptation.get("action_dim"):
        lines.append("ipv-bench analyze predict model --data <shard set with actions>")
    return "\n".join(lines)


def finetune_command(record: RunRecord, checkpoint: Path, place: str) -> str:
    """An agent that starts from the run: the preset of its name, else the smallest, with the model's own sizes.

    Args:
        record: of a pre-training run, of a method with an agent.
        checkpoint: as for `run_usage`.
        place: where the run lies, as one word of a shell.

    Raises:
        UnknownNameError: the method is not installed, or has no preset for the task.
        CheckpointError: the checkpoint's state is damaged.
    """
    method = find_plugin("methods", record.method).load(("agent_config", "presets"))
    known = preset_names("finetune", method.presets)
    preset = record.preset if record.preset in known else DEFAULT_PRESET
    sets = [f"method={record.method}", *_changes(record.method, method, preset, _facts(checkpoint))]
    words = " ".join(f"--set {one}" for one in sets)
    return f"ipv-bench finetune --init {place} --task {TASK} --preset {preset} {words}"


def _facts(checkpoint: Path) -> Mapping[str, Any]:
    """What the checkpoint says that its weights were trained as: dotted key → value; those of old ones say nothing."""
    path, fix = checkpoint / STATE_FILE, "restore the checkpoint, or export the run where it was made"
    found = read_json(path, error=CheckpointError, expect=dict, limit=STATE_BYTES, fix=fix).get(FACTS)
    return found if isinstance(found, dict) else {}


def _changes(name: str, method: Any, preset: str, facts: Mapping[str, Any]) -> list[str]:
    """`key=value` of each fact that an agent of the preset has otherwise."""
    suite = TASK.partition("/")[0]
    values = load_preset("finetune", preset, (f"{suite}@{name}", suite), method.presets)
    own = {key: value for key, value in values.items() if key in method.agent_config.model_fields and key != "training"}
    config = flatten(build(method.agent_config, own).model_dump(mode="json"))
    differ = {key: value for key, value in facts.items() if key in config and config[key] != value and key != "method"}
    unread = build(method.agent_config, lay(own, differ)).unread()
    differ = {key: value for key, value in differ.items() if not in_sections(key, unread)}
    if "image.size" in differ:
        differ["env.image_size"] = differ["image.size"]  # one size: the agent sees what the environment draws
    said = {key: value if isinstance(value, str) else json.dumps(value) for key, value in differ.items()}
    return [f"{key}={value}" for key, value in said.items() if WORD.fullmatch(value)]  # it comes to stand in a card
