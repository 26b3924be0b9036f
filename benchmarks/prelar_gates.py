"""Does PreLAR at small size learn latent actions that are used, and that make few labels worth more? Against gates.

    python benchmarks/prelar_gates.py --out FOLDER    every run is kept there; started again, it goes on
    python benchmarks/prelar_gates.py --out FOLDER --pilot   PreLAR alone at full length, with a seed of its own
    python benchmarks/prelar_gates.py --quick         the whole way with a few updates; its gates decide nothing
    … --keep FILE                                     writes the last line to this file too, whatever the gates say

Moving blobs whose actions are known, 32 pixels, segments of 8 frames of which 3 are seen. For each of three seeds:
`pretrain` of PreLAR and of APV (no actions), 1,200 updates of 32 segments; then `adapt` on 64 labelled segments, 400
updates, of both and of PreLAR's model with random weights. Once: PreLAR under a weight of its latent actions' KL that
must make them collapse.

Gates, medians over the seeds, about half of what a toy gave (a smaller model of smaller frames): latent actions carry
something (KL above 0.5 nats), are needed (shuffle ratio above 2), predict (copy ratio below 0.8) and are about the
actions (R²(a|z, s) - R²(a|s) above 0.25); under real actions the first predicted frame's error is at most 0.9 times
that of the model without actions and of the one from scratch. The collapsed model: below 0.1 nats, a shuffle ratio
below 1.05, and the warning on its last validation.

The weight of the latent actions' KL (`USED`) is a toy's. A pilot shows what comes of it before
the seeds that count are spent: only after a pilot may it change, and a pilot with another weight is a run of its own.

How long it takes is printed at the start, by what an update of each model took when the figures were written down. Exit
status 1 where a gate fails; the last line is JSON.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from gate_runs import Gates, command, finish, held_against, last, settings, told

SIZE, SEEN = 32, 3
GAIN = 4.0
"""Of `tiny`: images are multiplied by it, image losses by its square."""
TOY_VALUES = 3 * 16 * 16
"""Pixel values of the toy's frames, beside whose losses its weights stood."""
USED, COLLAPSED = 0.01, 10.0
"""Weights of the latent actions' KL in the toy: the looser of two that worked (0.01, 0.1), by the pilots that
docs/methods/prelar.md has, and one that lets none through."""
MODEL = (f"image.size={SIZE}", f"image.gain={GAIN}", "rssm.deter=128", "rssm.hidden=128", "data.length=8",
         "data.batch_size=32", f"validation.warmup={SEEN}", "validation.strips=1")  # fmt: skip
HELD_UPDATES = 50
"""Of `adapt`: image encoder and RSSM wait for so many, as in the toy (PreLAR's release: 100 of a whole agent's)."""
SECONDS = {"prelar": 0.18, "apv": 0.13, "adapt": 0.16}
"""CPU-seconds of an update, one thread of a busy machine: for the estimate alone."""


@dataclass(frozen=True)
class Scale:
    """How much of everything.

    Attributes:
        videos: of moving blobs, of which some are held out.
        pretrain_updates, adapt_updates: of each run.
        labels: labelled segments.
        segments: that are validated on.
        seeds: of the runs.
    """

    videos: int
    pretrain_updates: int
    adapt_updates: int
    labels: int
    segments: int
    seeds: tuple[int, ...]


WHOLE = Scale(400, 1200, 400, 64, 256, (0, 1, 2))
"""256 held-out segments, 1,792 steps between frames: the probe's 66 inputs are the latent action's 64 numbers, most of
which may carry nothing, and the state; on the 448 steps of 64 segments its R² would be biased downwards."""
PILOT_SEED = 100
QUICK = Scale(16, 4, 2, 8, 4, (0,))


def beta(of_toy: float) -> float:
    """A weight of the toy, for frames and images as they are here: beside the same share of a frame's loss."""
    return of_toy * 3 * SIZE**2 / TOY_VALUES * GAIN**2


def pretrain(place: Path, data: Path, scale: Scale, seed: int, *changes: str) -> None:
    """A pre-training run, made or gone on with; what it prints is kept beside it."""
    updates = scale.pretrain_updates
    words = settings(
        *MODEL, *changes, f"training.updates={updates}", f"validation.every={updates}",
        f"validation.segments={scale.segments}",
    )  # fmt: skip
    with place.with_suffix(".log").open("a") as log, contextlib.redirect_stdout(log):
        command("pretrain", "--run", str(place), "--data", str(data), "--seed", str(seed), *words)


def adapt(parent: Path, place: Path, data: Path, scale: Scale, seed: int, *changes: str) -> None:
    """An adapted run, made or gone on with."""
    updates = scale.adapt_updates
    words = settings(
        *changes, "data.holdout=0.15", f"num_segments={scale.labels}", f"training.updates={updates}",
        f"validation.every={updates}", f"validation.segments={scale.segments}",
    )  # fmt: skip
    with place.with_suffix(".log").open("a") as log, contextlib.redirect_stdout(log):
        command("adapt", str(parent), "--run", str(place), "--data", str(data), "--seed", str(seed), *words)


def make_videos(folder: Path, videos: int) -> Path:
    """The labelled shard set, made once."""
    name = f"blobs-{videos}-of-{SIZE}-pixels"  # --out may hold a quick form's, or those of uwm_gates.py
    raw, shards = str(folder / f"raw-{name}"), folder / name
    if not (shards / "manifest.json").is_file():
        shutil.rmtree(raw, ignore_errors=True)  # of a start that was interrupted
        command("sample", raw, "--dataset", "moving-blob", "--videos", str(videos), "--quiet")
        prepare = ("prepare", "episodes", "--source", raw, "--out", str(shards), "--workers", "1", "--quiet")
        command(*prepare, *settings(f"size={SIZE}x{SIZE}"))
    return shards


def runs_of(folder: Path, seed: int) -> dict[str, Path]:
    """Where the runs of a seed lie: two that are pre-trained, three that are adapted."""
    names = ("prelar", "apv", "adapted-prelar", "adapted-apv", "adapted-scratch")
    return {name: folder / f"seed{seed}" / name for name in names}


def make_runs(folder: Path, scale: Scale) -> None:
    """All runs; what is there is not made again."""
    data = make_videos(folder, scale.videos)
    for seed in scale.seeds:
        place = runs_of(folder, seed)
        place["prelar"].parent.mkdir(exist_ok=True)
        weight = f"latent_action.beta_a={beta(USED)}"
        pretrain(place["prelar"], data, scale, seed, "method=prelar", weight)
        pretrain(place["apv"], data, scale, seed, "method=apv")
        held = f"training.encoder_frozen_updates={HELD_UPDATES}"
        adapt(place["prelar"], place["adapted-prelar"], data, scale, seed, held)
        adapt(place["apv"], place["adapted-apv"], data, scale, seed, held)
        adapt(place["prelar"], place["adapted-scratch"], data, scale, seed, "weights=random")
    weight = f"latent_action.beta_a={beta(COLLAPSED)}"
    pretrain(folder / "collapsed", data, scale, scale.seeds[0], "method=prelar", weight)


def make_pilot(folder: Path, scale: Scale) -> None:
    """PreLAR alone under `USED`, with the pilots' seed."""
    place = pilot_of(folder)
    weight = f"latent_action.beta_a={beta(USED)}"
    data = make_videos(folder, scale.videos)
    pretrain(place, data, scale, PILOT_SEED, "method=prelar", weight)


def pilot_of(folder: Path) -> Path:
    """Where the pilot of a weight lies: one of another weight is another run."""
    return folder / f"pilot-{USED:g}"


def measured(folder: Path, seed: int) -> dict[str, float]:
    """What the last validations of a seed's runs say."""
    place = runs_of(folder, seed)
    first = {
        name: last(path, "validation_shuffle_ratio")["open_loop_mse"][0]
        for name, path in place.items() if name.startswith("adapted")
    }  # fmt: skip
    return learned_by(place["prelar"]) | {
        "over_action_free": first["adapted-prelar"] / first["adapted-apv"],
        "over_scratch": first["adapted-prelar"] / first["adapted-scratch"],
    }


def learned_by(run: Path) -> dict[str, float]:
    """What the last validation of a PreLAR says of its latent actions."""
    learned = last(run, "latent_action_verdict")
    given, alone = (
        learned.get(f"latent_action_{key}", float("nan")) for key in ("r2_action_given_state", "r2_state_alone")
    )  # fmt: skip
    return {
        "action_kl": learned["latent_action_action_kl"],
        "shuffle_ratio": learned["latent_action_shuffle_ratio"],
        "copy_ratio": learned["latent_action_copy_ratio"],
        "r2_gained": given - alone,
    }


ABOVE = {"action_kl": 0.5, "shuffle_ratio": 2.0, "r2_gained": 0.25}
BELOW = {"copy_ratio": 0.8, "over_action_free": 0.9, "over_scratch": 0.9}
BELOW_COLLAPSED = {"collapsed_action_kl": 0.1, "collapsed_shuffle_ratio": 1.05}


def gates(seeds: Sequence[dict[str, float]], collapsed: dict[str, float], warned: bool) -> Gates:
    """Of the medians over seeds (none where one of them is none), and of the run that must collapse."""
    middle = {name: float(np.median([one[name] for one in seeds])) for name in seeds[0]} | collapsed
    return held_against(middle, ABOVE, BELOW | BELOW_COLLAPSED) | {"collapse_warned": (float(warned), 1.0, warned)}


def collapsed_numbers(folder: Path) -> tuple[dict[str, float], bool]:
    """Of the run that must collapse: its numbers, and whether it said so after its last update."""
    learned = last(folder / "collapsed", "latent_action_verdict")
    warning = f"update {learned['updates']}: warning: latent actions: collapsed"
    numbers = {f"collapsed_{key}": learned[f"latent_action_{key}"] for key in ("action_kl", "shuffle_ratio")}
    return numbers, warning in (folder / "collapsed.log").read_text()


def minutes_left(folder: Path, scale: Scale, pilot: bool) -> float:
    """CPU-minutes of what is still to be made, by `SECONDS`."""
    if pilot:
        return _updates_left(pilot_of(folder), scale.pretrain_updates) * SECONDS["prelar"] / 60
    seconds = 0.0
    for seed in scale.seeds:
        for name, place in runs_of(folder, seed).items():
            updates = scale.adapt_updates if name.startswith("adapted") else scale.pretrain_updates
            seconds += _updates_left(place, updates) * SECONDS.get(name, SECONDS["adapt"])
    return (seconds + _updates_left(folder / "collapsed", scale.pretrain_updates) * SECONDS["prelar"]) / 60


def _updates_left(run: Path, updates: int) -> int:
    log = run / "metrics.jsonl"
    lines = log.read_text().splitlines() if log.is_file() else []
    return updates - (int(json.loads(lines[-1]).get("updates", 0)) if lines else 0)


def main() -> None:
    """Train, measure, print, and end with one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--pilot", action="store_true", help="only PreLAR, with a seed that counts for nothing")
    parser.add_argument("--keep", type=Path, help="write the result to this file too")
    options = parser.parse_args()
    scale = QUICK if options.quick else WHOLE
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.out or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        print(f"about {minutes_left(folder, scale, options.pilot):.0f} CPU-minutes, on one thread", flush=True)
        all_hold = (pilot if options.pilot else whole)(folder, scale, options.quick, options.keep)
    sys.exit(0 if all_hold or options.quick or options.pilot else 1)


def pilot(folder: Path, scale: Scale, quick: bool, keep: Path | None) -> bool:
    """Make and measure the pilot; whether the gates that one run has hold, which decides nothing."""
    make_pilot(folder, scale)
    found = told(held_against(learned_by(pilot_of(folder)), ABOVE, BELOW))
    verdict = last(pilot_of(folder), "latent_action_verdict")["latent_action_verdict"]
    facts = {"benchmark": "prelar_gates", "pilot": True, "quick": quick, "verdict": verdict, "seed": PILOT_SEED}
    finish(facts | found, sizes(scale), [pilot_of(folder)], keep)
    return bool(found["all_hold"])


def whole(folder: Path, scale: Scale, quick: bool, keep: Path | None) -> bool:
    """Make and measure all runs; whether all gates hold."""
    make_runs(folder, scale)
    seeds = [measured(folder, seed) for seed in scale.seeds]
    found = told(gates(seeds, *collapsed_numbers(folder)), seeds)
    by_seed = [{name: round(value, 4) for name, value in one.items()} for one in seeds]
    facts = {"benchmark": "prelar_gates", "pilot": False, "quick": quick,
             "seeds": dict(zip(map(str, scale.seeds), by_seed, strict=True))}  # fmt: skip
    runs = [place for seed in scale.seeds for place in runs_of(folder, seed).values()]
    finish(facts | found, sizes(scale), [*runs, folder / "collapsed"], keep)
    return bool(found["all_hold"])


def sizes(scale: Scale) -> dict[str, Any]:
    """What a result is kept with: how much of everything, and the weights of the toy as they are here."""
    weights = {"used_of_toy": USED, "beta_a": beta(USED), "beta_a_collapsed": beta(COLLAPSED)}
    return {**asdict(scale), "model": MODEL, "held_updates": HELD_UPDATES, **weights}


if __name__ == "__main__":
    main()
