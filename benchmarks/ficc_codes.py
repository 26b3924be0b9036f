"""Is FICC's one code of 20 used, after some hundred updates on videos whose actions are known?

    python benchmarks/ficc_codes.py                 about five minutes on a quiet core
    python benchmarks/ficc_codes.py --out FOLDER    keeps the run; started again, it goes on
    … --keep FILE                                   writes the last line to this file too

The moving blobs of uwm_gates.py → `pretrain --set method=uwm --set loss=ficc`, its features learned along, one code of
20 with commitment 1 and no restart of unused codes, as published (what is not: docs/methods/uwm.md). What validation
says of the latent actions is printed; nothing is held against a limit but by the verdict that every model of latent
actions gets. The last line is JSON.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

from gate_runs import command, finish, last, settings
from uwm_gates import HELD_OUT, VIDEOS, make_videos

UPDATES = 400
FICC = ("method=uwm", "loss=ficc", f"training.updates={UPDATES}", "validation.every=200", HELD_OUT)


def measured(run: Path) -> dict[str, Any]:
    """What the last validation says."""
    found = last(run, "latent_action_verdict")
    values = {key.removeprefix("latent_action_"): value for key, value in found.items() if "latent_action_" in key}
    trained = last(run, "consistency_loss")
    losses = {key: value for key, value in trained.items() if key.endswith("_loss")}
    over_copy = found["validation_image_loss"] / found["copy_last_mse"][0]
    return {"updates": found["updates"], "reconstruction_over_copy": over_copy, **losses, **values}


def main() -> None:
    """Train, and end with one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="write the result to this file too")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.out or Path(temporary)
        run = folder / "ficc"
        data = ("--data", str(make_videos(folder)), "--seed", str(options.seed))
        command("pretrain", "--run", str(run), *data, *settings(*FICC))
        found = {"benchmark": "ficc_codes", "seed": options.seed, **measured(run)}
        finish(found, {"videos": VIDEOS, "pretrain": FICC}, [run], options.keep)


if __name__ == "__main__":
    main()
