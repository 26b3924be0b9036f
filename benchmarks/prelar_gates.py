"""Does PreLAR at small size learn latent actions that are used, and that make few labels worth more? Against gates.

    python benchmarks/prelar_gates.py --out FOLDER    every run is kept there; started again, it goes on
    python benchmarks/prelar_gates.py --quick         the whole way with a few updates; its gates decide nothing

Moving blobs whose actions are known, 32 pixels, segments of 8 frames of which 3 are seen. For each of three seeds:
`pretrain` of PreLAR and of APV (no actions), 1,200 updates of 32 segments; then `adapt` on 64 labelled segments, 400
updates, of both and of PreLAR's model with random weights. Once: PreLAR under a weight of its latent actions' KL that
must make them collapse.

Gates, medians over the seeds, about half of what a toy gave (a smaller model of smaller frames): latent actions carry
something (KL above 0.5 nats), are needed (shuffle ratio above 2), predict (copy ratio below 0.8) and are about the
actions (R²(a|z, s) - R²(a|s) above 0.25); under real actions the first predicted frame's error is at most 0.9 times
that of the model without actions and of the one from scratch. The collapsed model: below 0.1 nats, a shuffle ratio
below 1.05, and the warning on its last validation.

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
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from uwm_gates import command, last, settings

SIZE, SEEN = 32, 3
GAIN = 4.0
"""Of `tiny`: images are multiplied by it, image losses by its square."""
TOY_VALUES = 3 * 16 * 16
"""Pixel values of the toy's frames, beside whose losses its weights stood."""
USED, COLLAPSED = 0.04, 10.0
"""Weights of the latent actions' KL in the toy: between two that worked (0.01, 0.1), and one that lets none through."""
MODEL = (f"image.size={SIZE}", f"image.gain={GAIN}", "rssm.deter=128", "rssm.hidden=128", "data.length=8",
         "data.batch_size=32", f"validation.warmup={SEEN}", "validation.strips=1")  # fmt: skip
HELD_UPDATES = 50
"""Of `adapt`: image encoder and RSSM wait for so many, as in the toy (PreLAR's release: 100 of a whole agent's)."""
SECONDS = {"prelar": 0.25, "apv": 0.2, "adapt": 0.25}
"""CPU-seconds of an update, guessed from `label_efficiency_protocol.py`: frames are a quarter, and twice as many."""


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


WHOLE = Scale(400, 1200, 400, 64, 64, (0, 1, 2))
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
        *changes, f"num_segments={scale.labels}", f"training.updates={updates}", f"validation.every={updates}",
        f"validation.segments={scale.segments}",
    )  # fmt: skip
    with place.with_suffix(".log").open("a") as log, contextlib.redirect_stdout(log):
        command("adapt", str(parent), "--run", str(place), "--data", str(data), "--seed", str(seed), *words)


def make_videos(folder: Path, videos: int) -> Path:
    """The labelled shard set, made once."""
    raw, shards = str(folder / "raw"), folder / "blob"
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
        pretrain(place["prelar"], data, scale, seed, "method=prelar", "image.offset=half", weight)
        pretrain(place["apv"], data, scale, seed, "method=apv", "image.offset=half")
        held = f"training.encoder_frozen_updates={HELD_UPDATES}"
        adapt(place["prelar"], place["adapted-prelar"], data, scale, seed, held)
        adapt(place["apv"], place["adapted-apv"], data, scale, seed, held)
        adapt(place["prelar"], place["adapted-scratch"], data, scale, seed, "weights=random")
    weight = f"latent_action.beta_a={beta(COLLAPSED)}"
    pretrain(folder / "collapsed", data, scale, scale.seeds[0], "method=prelar", "image.offset=half", weight)


def measured(folder: Path, seed: int) -> dict[str, float]:
    """What the last validations of a seed's runs say."""
    place = runs_of(folder, seed)
    learned = last(place["prelar"], "latent_action_verdict")
    first = {
        name: last(path, "validation_shuffle_ratio")["open_loop_mse"][0]
        for name, path in place.items() if name.startswith("adapted")
    }  # fmt: skip
    given, alone = (learned.get(f"latent_action_{key}", float("nan")) for key in ("r2_action_given_state",
                                                                                    "r2_state_alone"))  # fmt: skip
    return {
        "action_kl": learned["latent_action_action_kl"],
        "shuffle_ratio": learned["latent_action_shuffle_ratio"],
        "copy_ratio": learned["latent_action_copy_ratio"],
        "r2_gained": given - alone,
        "over_action_free": first["adapted-prelar"] / first["adapted-apv"],
        "over_scratch": first["adapted-prelar"] / first["adapted-scratch"],
    }


ABOVE = {"action_kl": 0.5, "shuffle_ratio": 2.0, "r2_gained": 0.25}
BELOW = {"copy_ratio": 0.8, "over_action_free": 0.9, "over_scratch": 0.9}
BELOW_COLLAPSED = {"collapsed_action_kl": 0.1, "collapsed_shuffle_ratio": 1.05}


def gates(seeds: Sequence[dict[str, float]], collapsed: dict[str, float], warned: bool) -> dict[str, Any]:
    """Name → value, limit, whether it holds; medians over seeds. A number that is none holds nowhere."""
    middle = {name: median(one[name] for one in seeds) for name in seeds[0]} | collapsed
    found: dict[str, Any] = {name: (middle[name], limit, middle[name] > limit) for name, limit in ABOVE.items()}
    limits = BELOW | BELOW_COLLAPSED
    found |= {name: (middle[name], limit, middle[name] < limit) for name, limit in limits.items()}
    return found | {"collapse_warned": (float(warned), 1.0, warned)}


def collapsed_numbers(folder: Path) -> tuple[dict[str, float], bool]:
    """Of the run that must collapse: its numbers, and whether it said so after its last update."""
    learned = last(folder / "collapsed", "latent_action_verdict")
    warning = f"update {learned['updates']}: warning: latent actions: collapsed"
    numbers = {f"collapsed_{key}": learned[f"latent_action_{key}"] for key in ("action_kl", "shuffle_ratio")}
    return numbers, warning in (folder / "collapsed.log").read_text()


def minutes_left(folder: Path, scale: Scale) -> float:
    """CPU-minutes of what is still to be made, by `SECONDS`."""
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
    options = parser.parse_args()
    scale = QUICK if options.quick else WHOLE
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.out or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        print(f"about {minutes_left(folder, scale):.0f} CPU-minutes, on one thread", flush=True)
        make_runs(folder, scale)
        seeds = [measured(folder, seed) for seed in scale.seeds]
        found = gates(seeds, *collapsed_numbers(folder))
    for name, (value, limit, holds) in found.items():
        each = ", ".join(f"{one[name]:.3g}" for one in seeds) if name in seeds[0] else ""
        print(f"{name:24} {value:8.3f}   limit {limit:g}   {'holds' if holds else 'FAILS'}   {each}")
    all_hold = all(holds for *_, holds in found.values())
    values = {name: round(value, 4) for name, (value, *_) in found.items()}
    by_seed = [{name: round(value, 4) for name, value in one.items()} for one in seeds]
    facts = {"benchmark": "prelar_gates", "quick": options.quick, "all_hold": all_hold}
    print(json.dumps({**facts, **values, "seeds": dict(zip(map(str, scale.seeds), by_seed, strict=True))}))
    sys.exit(0 if all_hold or options.quick else 1)


if __name__ == "__main__":
    main()
