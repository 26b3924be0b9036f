"""The fuzz corpus through `prepare`: what becomes of each damaged file.

    python -m tests.faults.fuzz [--decoder pyav] [--rounds 13] [--seed 0] [--out FILE]

Each file is one of: `same` (all frames, each showing its number), `pictures` (all frames, some damaged beyond reading:
damage inside a frame's payload that decodes without any sign), `short` or `long` (another number of frames, written
without a word: must never happen), or quarantined under a reason. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import simplejpeg

from pipelines.samples.frame_number import read_number
from tests.faults.fuzz_corpus import FRAMES, make_corpus


def outcomes(out: Path) -> dict[str, str]:
    """Source path → what became of it."""
    found = {}
    for row in pq.read_table(out / "sources.parquet").to_pylist():
        found[row["path"]] = row["status"] if row["status"] == "written" else f"{row['status']}: {row['reason']}"
    paths = {row["source_id"]: row["path"] for row in pq.read_table(out / "sources.parquet").to_pylist()}
    offsets = np.load(out / "frames.npy")
    shards = sorted(out.glob("*.tar"))
    for sample in pq.read_table(out / "samples.parquet").to_pylist():
        found[paths[sample["source_id"]]] = _written(shards[sample["shard"]], sample, offsets)
    return found


def _written(shard: Path, sample: dict[str, Any], offsets: np.ndarray) -> str:
    if sample["num_frames"] != FRAMES:
        return "short" if sample["num_frames"] < FRAMES else "long"
    with open(shard, "rb") as file:
        file.seek(sample["stream_offset"])
        stream = file.read(sample["stream_size"])
    first = sample["frames_start"]
    starts = [*map(int, offsets[first : first + FRAMES]), len(stream)]
    frames = [simplejpeg.decode_jpeg(stream[a:b]) for a, b in pairwise(starts)]
    return "same" if [read_number(frame) for frame in frames] == list(range(FRAMES)) else "pictures"


def fuzz(folder: Path, decoder: str, rounds: int, seed: int) -> dict[str, Any]:
    """Make the corpus, prepare it, and count."""
    names = make_corpus(folder / "raw", rounds, seed)
    out, begun = folder / "set", time.monotonic()
    command = [sys.executable, "-m", "ipv_bench", "prepare", "folder", "--source", str(folder / "raw")]
    command += ["--out", str(out), "--workers", "1", "--quiet", "--set", f"decoder={decoder}"]
    for setting in ("max_failure_rate=1", "size=128x96", "supervision.stall_seconds=60"):
        command += ["--set", setting]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = outcomes(out)
    kinds = sorted({name.split("_")[0] for name in names})
    return {
        "decoder": decoder, "seed": seed, "files": len(names), "seconds": round(time.monotonic() - begun, 1),
        "intact": {path: what for path, what in sorted(found.items()) if path.startswith("intact_")},
        "outcomes": dict(sorted(Counter(found[name] for name in names).items())),
        "by_damage": {
            kind: dict(sorted(Counter(found[name] for name in names if name.startswith(f"{kind}_")).items()))
            for kind in kinds
        },
        "wrong_number_of_frames": sorted(name for name in names if found[name] in ("short", "long")),
        "changed_pictures": sorted(name for name in names if found[name] == "pictures"),
        "machine_dependent": sorted(json.loads((out / "manifest.json").read_text())["machine_dependent"]),
    }  # fmt: skip


def main() -> None:
    """Run it; the last line is JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--decoder", choices=("pyav", "decord"), default="pyav")
    parser.add_argument("--rounds", type=int, default=13)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="where to keep the JSON")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        result = fuzz(Path(folder), options.decoder, options.rounds, options.seed)
    if options.out:
        options.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
