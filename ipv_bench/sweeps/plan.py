"""The graph of a sweep: shard sets, pre-training runs, fine-tuning runs, each one of our ordinary commands.

What a method, task or override is, the commands themselves say: a plan asks `finetune --dry-run` once per method and
task, so that everything that would be refused is refused before anything runs.
"""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from ipv_bench.bounded_json import read_json
from ipv_bench.config import flatten
from ipv_bench.errors import IpvBenchError, UnknownNameError, UsageError
from ipv_bench.frozen_protocol import load_protocol
from ipv_bench.joined_sets import sets_folder
from ipv_bench.planned import Planned
from ipv_bench.plugins import plugin_names
from ipv_bench.progress import say_aside
from ipv_bench.run_record import is_finished, variant_name
from ipv_bench.sweeps.config import MethodChoice, SweepConfig
from ipv_bench.sweeps.planned_job import ExpectedRun, Job
from ipv_bench.sweeps.set_jobs import set_jobs

USUAL_SHARDS = "data/shards/"
NOT_IN_NAMES = (
    "training.device", "training.threads", "training.cuda_graph", "training.deterministic", "training.tensorboard",
    "training.wandb",
)  # fmt: skip


def plan_sweep(config: SweepConfig) -> list[Job]:
    """All jobs, each after those that it needs; what cannot be run yet is left out and said.

    Raises:
        UsageError: a data set is not prepared, two jobs of one folder differ, or the model that an agent starts from is
            not the agent's.
        UnknownNameError: there is no such data set.
        IpvBenchError: a command refuses what the sweep asks for (unknown method, task, key, figure …).
    """
    jobs: dict[str, Job] = {}
    planned = Planned()
    if not config.figures or config.methods:
        _check_data(config)
    for choice in _methods(config):
        for task in config.tasks:
            reason = planned.why(choice.method, task)
            if reason:
                say_aside(f"skipped: {choice.method} on {task}: {reason}")
                continue
            try:
                _add(jobs, _jobs_of(config, choice, task))
            except IpvBenchError as error:
                if config.methods:
                    raise
                say_aside(f"skipped: {choice.method} on {task}: {str(error).splitlines()[0]}")
    if jobs:
        _refuse_unheeded(config, jobs.values())
    if config.figures:
        _add(jobs, _jobs_of_figures(config))
    return [*set_jobs(config, jobs.values()), *sorted(jobs.values(), key=lambda job: job.kind != "pretrain")]


OF_PRETRAINING = ("data", "pretrain_seed", "pretrain_preset", "pretrain_set")


def _refuse_unheeded(config: SweepConfig, jobs: Iterable[Job]) -> None:
    """Refuse what is said of pre-training where nothing is pre-trained.

    Raises:
        UsageError: the fields that are set.
    """
    said = [name for name in OF_PRETRAINING if name in config.model_fields_set]
    if said and not any(job.kind == "pretrain" for job in jobs):
        raise UsageError(
            f"the sweep says {', '.join(said)}, and pre-trains none of {', '.join(_names(config))}",
            expected="a method that is pre-trained, or no such field",
            fix=f"leave {', '.join(said)} out, or add such a method",
        )


def _names(config: SweepConfig) -> list[str]:
    return list(dict.fromkeys(choice.method for choice in _methods(config)))


def _methods(config: SweepConfig) -> list[MethodChoice]:
    """The sweep's methods; of a protocol that names none, all that there are, plug-ins included."""
    if config.methods or not config.protocol:
        return config.methods
    return [MethodChoice(method=name) for name in plugin_names("methods")]


def _check_data(config: SweepConfig) -> None:
    """Refuse names that are neither a shard set nor a data set: `prepare` would fail on them after everything else.

    Raises:
        UnknownNameError: the name, with the nearest one.
    """
    if "://" in config.shards:
        return  # `pretrain` looks there
    folder = Path(config.shards)
    there = {path.name for path in folder.iterdir() if (path / "manifest.json").is_file()} if folder.is_dir() else set()
    known = {*there, *plugin_names("datasets"), *config.samples}
    for name in dict.fromkeys(name for names in config.data for name in names):
        if name not in known and not (folder / name / "manifest.json").is_file():
            raise UnknownNameError(f"data set of the sweep (no shard set in {config.shards}, nothing to prepare):",
                                   name, known - {"folder"})  # fmt: skip


def _add(jobs: dict[str, Job], more: Iterable[Job]) -> None:
    for job in more:
        known = jobs.setdefault(job.folder, job)
        if _meaning(known.words) != _meaning(job.words):
            raise UsageError(
                f"two runs of the sweep would share {job.folder}:\n  {known.command}\n  {job.command}",
                expected="one command per run folder",
                fix="give what differs in `set`, which names the folder, or take one of the two out",
            )


def _meaning(words: Sequence[str]) -> tuple[str, list[tuple[str, str]]]:
    """A command whatever the order of its options: all of them have a value."""
    return words[0], sorted(zip(words[1::2], words[2::2], strict=True))


def _jobs_of(config: SweepConfig, choice: MethodChoice, task: str) -> list[Job]:
    words, shown = _agent(config, choice, task, {**config.set, **choice.set})
    fixed = load_protocol(config.protocol).fixed.finetune[task.partition("/")[0]] if config.protocol else {}
    more = _missing(fixed, shown["config"])
    if "env.image_size" in more and "image.size" not in {**config.set, **choice.set}:
        more["image.size"] = more["env.image_size"]  # what the environment shows is what the agent looks at
    if more:  # a preset of another package, or of a method with its own protocol, need not know this one
        words, shown = _agent(config, choice, task, {**config.set, **choice.set, **more})
    variant, steps = shown["variant"], _steps(shown["config"], "env_steps")
    starts: list[tuple[str, str, list[Job]]] = []
    suite, short = task.split("/", 1)
    if shown["pretraining"] == "none" or choice.pretraining == "none":
        if choice.pretrain_set:
            raise UsageError(
                f"the sweep has a pretrain_set for {choice.method}, whose runs here start from random weights",
                expected="pretrain_set for a method that is pre-trained",
                fix=f"leave the pretrain_set of {choice.method} out",
            )
        starts = [("none", "init=none" if shown["pretraining"] != "none" else "", [])]
    else:
        for names in config.data:
            model, weights = _pretraining(config, choice, names)
            _check_same_model(choice, weights, shown["as_pretrained"])
            starts.append((model.folder, _origin(config, choice, names), [model]))
    found = []
    for start, origin, before in starts:
        found += before
        full = ",".join(part for part in (variant, origin) if part)
        for seed in config.seeds:
            folder = f"{config.root}/{task}/{choice.method}{'@' + full if full else ''}/seed{seed}"
            own = ("finetune", *words, "--task", task, "--init", start, "--seed", str(seed), "--run", folder)
            says = _says("finetune", choice, seed, shown) | {"preset": config.preset, "suite": suite, "task": short}
            expects = ExpectedRun(says, tuple(shown["may_change"]), start)
            found.append(Job(folder, own, tuple(job.folder for job in before), steps, expects))
    return found


def _agent(
    config: SweepConfig, choice: MethodChoice, task: str, changes: Mapping[str, Any]
) -> tuple[list[str], dict[str, Any]]:
    """Preset and overrides of an agent's runs, and what they will be."""
    words = ["--preset", config.preset, *_set({"method": choice.method, **changes})]
    start = "none" if choice.pretraining == "none" else "later"  # its model is made by the sweep
    return words, _dry_run("finetune", *words, "--task", task, "--init", start)


def _missing(fixed: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    """The fixed values that a config does not have."""
    found = flatten(config)
    return {key: value for key, value in fixed.items() if key not in found or found[key] != value}


def _check_same_model(choice: MethodChoice, trained: Mapping[str, Any], agent: Mapping[str, Any]) -> None:
    """Refuse a start from a model that cannot be taken over, before days are spent on training it.

    Args:
        choice: the method.
        trained: what the weights of the pre-trained model are, as `pretrain --dry-run` says.
        agent: what of that its agents ask for, as `finetune --dry-run` says.

    Raises:
        UsageError: the values that differ.
    """
    odd = [key for key in sorted(trained.keys() & agent) if trained[key] != agent[key]]
    if odd:
        shown = "; ".join(f"{key}: {trained[key]!r} there, {agent[key]!r} here" for key in odd)
        raise UsageError(
            f"{choice.method} would be pre-trained with another model than its agents have: {shown}",
            expected="the same model in both",
            fix="say it in `pretrain_set` as well as in `set`, or name what may differ: `set: {init_allow: [...]}`",
        )


def _steps(config: Mapping[str, Any], name: str) -> int:
    value = (config.get("training") or {}).get(name)
    return value if isinstance(value, int) else 0


def _pretraining(config: SweepConfig, choice: MethodChoice, names: list[str]) -> tuple[Job, dict[str, Any]]:
    """The pre-training run on some data sets, and what its weights are."""
    changes = {**config.pretrain_set, **choice.pretrain_set}
    first = ("pretrain", "--preset", config.pretrain_preset or config.preset)
    trained = _pretrain_plan((*first, *_set({"method": choice.method, **changes})))
    more = _missing(load_protocol(config.protocol).fixed.pretrain, trained["config"]) if config.protocol else {}
    changes |= more
    variant = variant_name(flatten(changes), NOT_IN_NAMES)
    method = f"{choice.method}{'@' + variant if variant else ''}"
    folder = f"{config.root}/pretrain/{sets_folder(names)}/{method}/seed{config.pretrain_seed}"
    words = [*first, *_set({"method": choice.method, **changes})]
    trained = _pretrain_plan(tuple(words)) if more else trained
    for name in names:
        words += ["--data", f"{config.shards}/{name}"]
    words += ["--seed", str(config.pretrain_seed), "--run", folder]
    needs = tuple(f"{config.shards}/{name}" for name in names)
    says = _says("pretrain", choice, config.pretrain_seed, trained) | {"preset": trained["preset"]}
    expects = ExpectedRun(says, tuple(trained["may_change"]), sets=needs)
    return Job(folder, tuple(words), needs, _steps(trained["config"], "updates"), expects), trained["weights"]


def _says(kind: str, choice: MethodChoice, seed: int, shown: Mapping[str, Any]) -> dict[str, Any]:
    return {"kind": kind, "method": choice.method, "seed": seed, "config": shown["config"]}


@cache
def _pretrain_plan(words: tuple[str, ...]) -> dict[str, Any]:
    """What a pre-training run will be, whatever it will be trained on."""
    text = _command(*words, "--data", "any", "--dry-run")
    shown: dict[str, Any] = json.loads(text[re.search(r"^\{", text, re.MULTILINE).start() :])  # type: ignore[union-attr]
    return shown


def _origin(config: SweepConfig, choice: MethodChoice, names: list[str]) -> str:
    """What a run folder says about its start, as `finetune` names it; the usual data set goes without saying."""
    changed = variant_name(flatten({**config.pretrain_set, **choice.pretrain_set}), NOT_IN_NAMES)
    joined = sets_folder(names)
    if joined == "ssv2" and not changed:
        return ""
    return f"init={joined}{'-' + changed if changed else ''}"


def _jobs_of_figures(config: SweepConfig) -> list[Job]:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "missing.txt"
        _command(
            "report", config.root, "--figures", ",".join(config.figures), "--missing-commands", str(file),
            "--out", f"{folder}/report", "--quiet",
        )  # fmt: skip
        lines = file.read_text().splitlines()
        planned = read_json(Path(folder) / "report" / "report.json", expect=dict).get("planned_runs", {})
    for reason, number in planned.items():
        say_aside(f"skipped: {number} runs of the figures: {reason}")
    jobs = []
    for line in lines:
        words = tuple(_moved(word, config.shards) for word in shlex.split(line)[1:])
        sets = [words[place + 1] for place, word in enumerate(words) if word == "--data"]
        init = [words[place + 1] for place, word in enumerate(words) if word == "--init"]
        needs = [*sets, *(one for one in init if one != "none" and not is_finished(one))]
        jobs.append(Job(words[words.index("--run") + 1], words, tuple(needs)))
    return jobs


def _moved(word: str, shards: str) -> str:
    """A shard set's address below the sweep's folder of shard sets; `report` knows only the usual one."""
    return f"{shards}/{word.removeprefix(USUAL_SHARDS)}" if word.startswith(USUAL_SHARDS) else word


def _dry_run(*words: str) -> dict[str, Any]:
    shown: dict[str, Any] = json.loads(_command(*words, "--dry-run"))
    return shown


def _command(*words: str) -> str:
    """Standard output of one of our commands.

    Raises:
        IpvBenchError: it failed, with its own message and exit status.
    """
    done = subprocess.run(
        [sys.executable, "-P", "-m", "ipv_bench", *words], capture_output=True, text=True, check=False
    )
    if done.returncode:
        said = done.stderr.strip().removeprefix("error: ")
        error = IpvBenchError(f"`{shlex.join(('ipv-bench', *words))}` says: {said}")  # with what to do, where it knows
        error.exit_status = done.returncode if done.returncode > 0 else 1
        raise error
    return done.stdout


def _set(changes: Mapping[str, Any]) -> list[str]:
    return [
        word
        for key, value in changes.items()
        for word in ("--set", f"{key}={value if isinstance(value, str) else json.dumps(value)}")
    ]
