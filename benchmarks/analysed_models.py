"""Models that learn from videos, are analysed as soon as they are made, and kept: what filmed.py and sample_model.py
share."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from cpu_seconds import CPU_FILE, CountingWorkspace
from kept_record import check_settings, keep_files
from ordered_work import Step
from planned_config import analysis_config, pretraining_config

from ipv_bench.analysis_record import is_analysis, read_analysis
from ipv_bench.atomic_file import write_json
from ipv_bench.came_later import with_later_fields
from ipv_bench.config import differences
from ipv_bench.errors import ShardSetError
from ipv_bench.run_record import git_commit, is_finished, read_jsonl
from ipv_bench.shard_set import MANIFEST_FILE, read_manifest

SETS_FILE = "sets.json"
"""Beside a kept model: what tells the sets that it learned from and was judged by from others."""
RESULT_FILE = "result.json"
"""Beside a kept model, written last: numbers and verdicts of its analyses."""
MODEL_FILES = ("metrics.jsonl", "run.json")


@dataclass(frozen=True)
class Question:
    """One analysis that models are asked.

    Attributes:
        kind: of `ipv-bench analyze`.
        data: shard set, in the workspace.
        settings: overrides.
    """

    kind: str
    data: str
    settings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Models:
    """The models of an experiment, and what is asked of them.

    Attributes:
        name: of the experiment, in the models' paths.
        kept: where what is left of a model is kept.
        seeds: of each method.
        updates: of pre-training.
        changes: overrides beside the preset.
        questions: by name.
        asked: method → names of the questions, in order.
        data: shard sets that they learn from, in the workspace.
        preset: of pre-training.
        pictures: seeds whose pictures are kept; None: all.
    """

    name: str
    kept: Path
    seeds: tuple[int, ...]
    updates: int
    changes: tuple[str, ...]
    questions: Mapping[str, Question]
    asked: Mapping[str, tuple[str, ...]]
    data: tuple[str, ...]
    preset: str = "sample"
    pictures: tuple[int, ...] | None = None

    def wanted(self) -> list[tuple[str, int]]:
        """Method and seed of all, seed by seed."""
        return [(method, seed) for seed in self.seeds for method in self.asked]

    def remaining(self) -> list[tuple[str, int]]:
        """Those that are not kept."""
        return [model for model in self.wanted() if not self.is_kept(*model)]

    def is_kept(self, method: str, seed: int) -> bool:
        """Whether a model was made and answered all that is asked of it today."""
        file = self.folder(method, seed) / RESULT_FILE
        return file.is_file() and json.loads(file.read_text()).keys() >= set(self.asked[method])

    def path(self, method: str, seed: int) -> Path:
        """Where a model lies inside the workspace."""
        return Path("runs") / "pretrain" / self.name / method / f"seed{seed}"

    def folder(self, method: str, seed: int) -> Path:
        """Where what is left of a model is kept."""
        return self.kept / method / f"seed{seed}"

    def overrides(self, method: str) -> tuple[str, ...]:
        """Of a model's pre-training."""
        return (f"method={method}", f"training.updates={self.updates}", "training.tensorboard=false", *self.changes)

    def sets(self) -> tuple[str, ...]:
        """Shard sets that they learn from or are asked about, in the workspace."""
        return tuple(dict.fromkeys([*self.data, *(asked.data for asked in self.questions.values())]))

    def sets_in(self, work: Path) -> dict[str, str]:
        """What tells the sets of a workspace from others: their last folder's name → sha256 over the names and sha256
        of their shards, which a preparation of the same videos shares, on another machine or of a later version with
        more in its manifest.

        Returns:
            Of those that are made.

        Raises:
            SystemExit: a manifest is damaged.
        """
        made = [folder for folder in self.sets() if (work / folder / MANIFEST_FILE).is_file()]
        return {Path(folder).name: _sha256(work / folder) for folder in made}


def _sha256(folder: Path) -> str:
    try:
        shards = sorted((shard.file, shard.sha256) for shard in read_manifest(folder).shards)
    except ShardSetError as error:
        raise SystemExit(str(error)) from error
    return hashlib.sha256(json.dumps(shards).encode()).hexdigest()


def list_remaining(groups: Iterable[Models], seconds_per_update: Mapping[str, float]) -> None:
    """Print the models that are not kept with the CPU-minutes of each, and the sum."""
    minutes = []
    for models in groups:
        for method, seed in models.remaining():
            minutes.append(models.updates * seconds_per_update[method] / 60)
            print(f"{models.path(method, seed)}  {minutes[-1]:.0f} min")
    print(f"{len(minutes)} models: {sum(minutes) / 60:.1f} CPU-hours, on one thread each")


def check_kept(models: Models, sets: Mapping[str, str]) -> None:
    """Before anything is begun: kept models are of today's settings, were asked today's questions, of the same sets.

    Args:
        models: of the experiment.
        sets: what tells the sets at hand from others, by their places; of those that are made.

    Raises:
        SystemExit: they are not; says which, in what, and what to do.
    """
    first: tuple[Path, dict[str, str]] | None = None
    for method, seed in models.wanted():
        folder = models.folder(method, seed)
        if not models.is_kept(method, seed):
            continue
        check_settings(folder, pretraining_config(models.preset, models.overrides(method)))
        _check_answers(models, method, folder)
        seen = json.loads((folder / SETS_FILE).read_text())
        first = first or (folder, seen)
        named = {Path(place).name for place in models.sets()}
        if seen.keys() != named:
            raise SystemExit(
                f"{folder} learned from, or was asked about, other sets than the script names today: "
                f"{', '.join(sorted(seen.keys() ^ named))}; undo the change, or move it away"
            )
        if seen != first[1]:
            raise SystemExit(f"{folder} was trained on other videos than {first[0]}: move one of them away")
        others = [place for place in sets if seen[place] != sets[place]]
        if others:
            raise SystemExit(
                f"{folder} is of other videos than the workspace's shards are ({', '.join(others)}): bring the shards "
                "of the kept models here, or move these away, and the same command makes them again"
            )


def _check_answers(models: Models, method: str, folder: Path) -> None:
    result = json.loads((folder / RESULT_FILE).read_text())
    for name in models.asked[method]:
        asked = models.questions[name]
        if "config" not in result[name]:
            continue  # kept before it was noted what was asked
        wanted = {"kind": asked.kind, **analysis_config(asked.kind, asked.data, asked.settings)}
        config = with_later_fields(result[name]["config"], wanted)
        was = {"kind": result[name]["kind"], **{key: value for key, value in config.items() if key in wanted}}
        lines = list(differences(was, wanted))
        if lines:
            raise SystemExit(
                f"{folder}: {name} was asked otherwise than today: {'; '.join(lines[:5])}; undo the change, or move "
                f"{RESULT_FILE} of all models away, and the same command asks again (and makes models that are not "
                "in the workspace)"
            )


def steps_of(models: Models, space: CountingWorkspace, after: tuple[Step, ...] = ()) -> list[Step]:
    """One for each model that is not kept: made, or gone on with, analysed and kept.

    Args:
        models: of the experiment.
        space: where they are made.
        after: what makes the sets.
    """
    return [
        Step(partial(_one_model, models, space, *model), after, str(models.path(*model)))
        for model in models.remaining()
    ]


def _one_model(models: Models, space: CountingWorkspace, method: str, seed: int) -> None:
    path, goal, work = models.path(method, seed), models.folder(method, seed), space.folder
    sets = models.sets_in(work)
    check_kept(models, sets)
    words = ["pretrain", "--preset", models.preset, "--seed", str(seed), *_set(models.overrides(method))]
    for data in models.data:
        words += ["--data", data]
    if is_finished(work / path):  # it has nothing to do then, or says that videos or settings were others
        space.command(*words, "--run", str(path))
    else:
        space.train(path, *words)
    result = {}
    for name in models.asked[method]:
        asked, out = models.questions[name], Path("analyses") / models.name / name / method / f"seed{seed}"
        if not (is_analysis(work / out) and read_analysis(work / out).git_commit == git_commit()):
            shutil.rmtree(work / out, ignore_errors=True)  # begun, or made, perhaps by other code
        words = ["analyze", asked.kind, str(path), "--data", asked.data, "--out", str(out), *_set(asked.settings)]
        space.command(*words)
        record = read_analysis(work / out)
        result[name] = {
            "kind": record.kind, "config": record.config, "shard_sets": record.shard_sets,
            "git_commit": record.git_commit, "notes": record.notes, "numbers": record.numbers,
            "verdicts": record.verdicts,
        }  # fmt: skip
        if models.pictures is None or seed in models.pictures:
            keep_files(work / out, goal / name, [one.file for one in record.pictures if one.file.endswith(".png")])
    keep_files(work / path, goal, MODEL_FILES)
    write_json(goal / CPU_FILE, {"cpu_seconds": space.cpu_seconds(path)})
    write_json(goal / SETS_FILE, dict(sets))
    write_json(goal / RESULT_FILE, result)


def _set(settings: tuple[str, ...]) -> Iterator[str]:
    for value in settings:
        yield from ("--set", value)


def summary(models: Models) -> dict[str, Any]:
    """Of every kept model: the verdicts of its analyses, and the last validation of its pre-training."""
    check_kept(models, {})
    found: dict[str, Any] = {}
    for method, seed in models.wanted():
        folder = models.folder(method, seed)
        if not models.is_kept(method, seed):
            continue
        result = json.loads((folder / RESULT_FILE).read_text())
        ratios = [
            [line["updates"], round(float(np.mean(line["open_loop_mse"]) / np.mean(line["copy_last_mse"])), 4)]
            for line in read_jsonl(folder / "metrics.jsonl") if "open_loop_mse" in line
        ]  # fmt: skip
        verdicts = {name: values["verdicts"] for name, values in result.items()}
        found[f"{method}/seed{seed}"] = {"verdicts": verdicts, "copy_ratio_in_training": ratios[-1:]}
        print(f"{method} seed {seed}: {verdicts['predict'][:1]}", file=sys.stderr)
    missing = [str(models.path(*model)) for model in models.remaining()]
    if missing:
        print(
            f"{len(missing)} of {len(missing) + len(found)} models are missing: {', '.join(missing)}", file=sys.stderr
        )
    return {"models": found, "missing": missing}
