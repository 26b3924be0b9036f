"""Does UWM at tiny size learn what it should on videos whose actions are known? Measured, and held against gates.

    python benchmarks/uwm_gates.py                 about eight minutes on a quiet core
    python benchmarks/uwm_gates.py --out FOLDER    keeps the runs; started again, it goes on
    … --keep FILE                                  writes the last line to this file too, whatever the gates say

Moving blobs (200 videos, 64 pixels) → `pretrain --set method=uwm` (tiny) → `adapt --set parts=adapter` on 64 labelled
videos. Gates, about half of what a toy gave: codes are used (geometric mean of their perplexities above a quarter of
the codebook), decide (shuffle ratio above 1.3) and predict (copy ratio below 0.7); real actions lose little (copy ratio
under them at most 1.5 times that under inferred ones) and matter (other actions at least 1.1 times worse); predictions
are nearer to the next frame than to the present one in more than 80 % of pairs, by LPIPS: without its weights nothing
is begun.

All errors but those of the last gate are of features one step ahead. Pictures of them are drawn by the features' own
decoder, and what that does not draw no ratio of pixels can show: `pixel_wrong_actions` stands beside the gates and
decides nothing, and `reconstruction_over_copy` says why (error of a reconstruction over that of a copy of the last
frame; above 1 the decoder's blur is larger than what moves). Exit status 1 where a gate fails; the last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
from gate_runs import Gates, command, finish, held_against, last, require_lpips, settings, told

from ipv_bench.analysis_record import read_analysis
from models.metrics.latent_actions import typical_perplexity
from models.pretraining.pair_pictures import BACKBONE

VIDEOS = 200
HELD_OUT = "validation.segments=64"
PRETRAIN = ("method=uwm", HELD_OUT)
ADAPT = (HELD_OUT, "data.holdout=0.15", "num_sequences=64", "training.updates=600", "training.checkpoint_every=200",
         "validation.every=600", "adapter.width=64", "adapter.optimizer.lr=1e-3")  # fmt: skip


ABOVE = {"perplexity_share": 0.25, "shuffle_ratio": 1.3, "wrong_actions": 1.1, "nearer_to_next_lpips": 0.8}
BELOW = {"feature_copy_ratio": 0.7, "adapter_loss_ratio": 1.5}


def make_runs(folder: Path, seed: int) -> tuple[Path, Path]:
    """Pre-training run and adapted run; what is there is not made again."""
    pretrained, adapted = folder / "pretrained", folder / "adapted"
    same = ("--data", str(make_videos(folder)), "--seed", str(seed))
    command("pretrain", "--run", str(pretrained), *same, *settings(*PRETRAIN))
    command("adapt", str(pretrained), "--run", str(adapted), *same, *settings(*ADAPT))
    return pretrained, adapted


def make_videos(folder: Path) -> Path:
    """The labelled shard set of moving blobs, which is made once."""
    raw, shards = str(folder / "raw"), folder / "blob"
    if not (shards / "manifest.json").is_file():
        shutil.rmtree(raw, ignore_errors=True)  # of a start that was interrupted
        command("sample", raw, "--dataset", "moving-blob", "--videos", str(VIDEOS), "--quiet")
        command("prepare", "episodes", "--source", raw, "--out", str(shards), "--workers", "1", "--quiet")
    return shards


def gates(pretrained: Path, adapted: Path) -> Gates:
    """What is held against the limits.

    Raises:
        SystemExit: the run's pictures were not judged by LPIPS.
    """
    learned, real = last(pretrained, "latent_action_verdict"), last(adapted, "feature_shuffle_ratio_by_step")
    config = json.loads((pretrained / "run.json").read_text())["config"]
    perplexity = typical_perplexity(np.array(learned["latent_action_perplexity"])) / config["quantizer"]["codes"]
    loss = real["validation_state_copy_ratio"] / real["validation_latent_state_copy_ratio"]
    numbers = read_analysis(pretrained / "pairs").numbers["models"]["UWM"]
    if "prediction_lpips_nearer_next" not in numbers:  # of an --out that another start left
        raise SystemExit(
            f"{pretrained / 'pairs'} was judged without LPIPS weights: move {pretrained} away, and the same command "
            "makes it again"
        )
    nearer = numbers["prediction_lpips_nearer_next"] / numbers["pairs"]
    found = {
        "perplexity_share": perplexity, "shuffle_ratio": learned["latent_action_shuffle_ratio"],
        "wrong_actions": real["feature_shuffle_ratio_by_step"][0], "nearer_to_next_lpips": nearer,
        "feature_copy_ratio": learned["latent_action_copy_ratio"], "adapter_loss_ratio": loss,
    }  # fmt: skip
    return held_against(found, ABOVE, BELOW)


def beside(pretrained: Path, adapted: Path) -> dict[str, float]:
    """What explains the gates and decides nothing."""
    learned, real = last(pretrained, "latent_action_verdict"), last(adapted, "feature_shuffle_ratio_by_step")
    numbers = read_analysis(pretrained / "pairs").numbers["models"]["UWM"]
    distances = {
        key.removeprefix("prediction_"): value for key, value in numbers.items() if key.startswith("prediction")
    }
    return {
        "pairs": numbers["pairs"],
        **distances,
        "pixel_wrong_actions": real["shuffled_mse"][0] / real["open_loop_mse"][0],
        "reconstruction_over_copy": learned["validation_image_loss"] / learned["copy_last_mse"][0],
        "r2_action": learned.get("latent_action_r2_action", float("nan")),
        "r2_action_given_state": learned.get("latent_action_r2_action_given_state", float("nan")),
        "bits": learned["latent_action_bits"],
        "smallest_perplexity": min(learned["latent_action_perplexity"]),
        "equal_codes": real["validation_equal_codes"],
    }


def main() -> None:
    """Train, measure, print, and end with one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="write the result to this file too")
    options = parser.parse_args()
    require_lpips(BACKBONE)
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.out or Path(temporary)
        runs = make_runs(folder, options.seed)
        found, more = told(gates(*runs)), beside(*runs)
        for name, value in more.items():
            print(f"{name:24} {value:8.3f}")
        values = {name: round(value, 4) for name, value in more.items()}
        scale = {"videos": VIDEOS, "pretrain": PRETRAIN, "adapt": ADAPT}
        result = {"benchmark": "uwm_gates", "seed": options.seed, **found, **values}
        finish(result, scale, runs, options.keep)
    sys.exit(0 if found["all_hold"] else 1)


if __name__ == "__main__":
    main()
