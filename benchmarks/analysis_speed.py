"""How fast `analyze predict` measures 256 clips at the `tiny` size, beside a plain loop over clips and frames.

Both predict the same clips with the same model, one sample each, on one thread, and give MSE, PSNR, SSIM of prediction
and copy; CPU time of this process. The plain loop takes one clip at a time, and one frame at a time for the measures,
with SSIM by its window. Keys of the result:

    predict_256_s   seconds for 256 clips, ours with reading, pictures and intervals: {"ours", "baseline", "ratio"}
    shuffle_256_s   seconds of ours for the shuffle ratio of 256 clips, of a model with actions (in no `predict_256_s`)
    lpips_256_s     `predict_256_s` with LPIPS (AlexNet) of one sample; where its weights are at hand
    best_of_5_256_s `predict_256_s` with the best of five samples

With `--quick` the baseline is timed on a part of the clips and scaled: its time per clip is constant.

    python benchmarks/analysis_speed.py [--quick] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ipv_bench.cli import run
from ipv_bench.progress import set_quiet
from ipv_bench.run_record import host_hardware
from models.analysis.action_sources import ActionDriver
from models.analysis.analyses import AnalysisRequest
from models.analysis.clips import open_clips
from models.analysis.loaded_model import open_models
from models.analysis.predict import PredictConfig, predict
from models.analysis.prediction_errors import FrameErrors, ModelErrors
from models.finetune import build_agent
from models.metrics.lpips_files import find_weights

CLIPS, LENGTH, SEEN, ACTIONS = 256, 25, 15, 6


def make_inputs(folder: Path) -> tuple[Path, Path]:
    """A shard set of the sample, and a run of the `tiny` preset with one update: speed does not depend on weights."""
    raw, shards, model = folder / "raw", folder / "shards", folder / "run"
    lines = [
        ["sample", str(raw), "--dataset", "ssv2", "--videos", "24"],
        ["prepare", "ssv2", "--source", str(raw), "--out", str(shards), "--workers", "1"],
        ["pretrain", "--data", str(shards), "--run", str(model), "--set", "training.updates=1"],
    ]
    lines[2] += ["--set", "validation.every=0", "--set", "training.tensorboard=false"]
    for line in lines:
        assert run([*line, "--quiet"]) == 0
    return shards, model


def ours(folder: Path, shards: Path, model: Path, name: str, **fields: Any) -> float:
    """CPU seconds of the command's function for 256 clips."""
    values = {"videos": 16, "clips_per_video": CLIPS // 16, "split": "all", "threads": 1, "lpips": "none", "best_of": 1}
    overrides = tuple(f"{key}={json.dumps(value)}" for key, value in (values | fields).items())
    start = time.process_time()
    record = predict(AnalysisRequest("predict", (model,), (str(shards),), folder / name, None, overrides, 0))
    seconds = time.process_time() - start
    assert len(record.numbers["clips"]) == CLIPS
    return seconds


def plain_ssim(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """SSIM of one frame (3, H, W), by its window of 11 x 11."""
    row = torch.exp(-0.5 * (torch.arange(-5.0, 6.0) / 1.5) ** 2)
    window = (torch.outer(row, row) / row.sum() ** 2).expand(3, 1, -1, -1)

    def blur(image: torch.Tensor) -> torch.Tensor:
        return F.conv2d(image[None], window, groups=3)

    mean_x, mean_y = blur(x), blur(y)
    var_x, var_y = blur(x * x) - mean_x**2, blur(y * y) - mean_y**2
    covariance = blur(x * y) - mean_x * mean_y
    c1, c2 = 0.01**2, 0.03**2
    found = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    return (found / ((mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2))).mean()


def baseline(shards: Path, model_folder: Path, count: int) -> float:
    """CPU seconds of the plain loop, scaled to 256 clips."""
    model = open_models([model_folder], torch.device("cpu"), {"context.frame": "last"})[0]
    config = PredictConfig(sets=[str(shards)], videos=16, clips_per_video=CLIPS // 16, split="all")
    start = time.process_time()
    clips = open_clips(config, [model], 0)
    errors = []
    for number in np.linspace(0, len(clips) - 1, count).round().astype(int).tolist():
        images = torch.from_numpy(clips.read(number, number + 1))
        generator = torch.Generator().manual_seed(number)
        predicted = model.model.open_loop(images, SEEN, generator)[0]  # (T, 3, H, W)
        truth = images[0].movedim(-1, -3).float() / 255
        for t in range(SEEN, LENGTH):
            for guess in (predicted[t], truth[SEEN - 1]):
                mse = (guess - truth[t]).square().mean()
                errors.append((mse.item(), (-10 * mse.log10()).item(), plain_ssim(guess, truth[t]).item()))
    assert len(errors) == count * (LENGTH - SEEN) * 2
    return (time.process_time() - start) * CLIPS / count


def shuffle(count: int) -> float:
    """CPU seconds of the error under other clips' actions, for 256 clips of an agent of the `tiny` size."""
    agent: Any = build_agent("tiny", act_space=ACTIONS)
    model: Any = SimpleNamespace(model=agent.video_model(), record=SimpleNamespace(kind="finetune"))
    measure = ModelErrors(ActionDriver(model, "real"), FrameErrors(SEEN, None), 1, [0], seed=0)
    generator = np.random.default_rng(0)
    seconds = 0.0
    for first in range(0, count, 32):
        images = torch.from_numpy(generator.integers(0, 256, (32, LENGTH, 64, 64, 3), dtype=np.uint8))
        actions = measure.driver.actions(images, generator.normal(size=(32, LENGTH, ACTIONS)))
        start = time.process_time()
        with torch.no_grad():
            measure._shuffled(images, actions, first)
        seconds += time.process_time() - start
    return seconds * CLIPS / count


def load() -> list[float]:
    """Processes that want a core, over the last 1, 5 and 15 minutes: CPU time is little larger on a busy machine."""
    return [round(value, 2) for value in os.getloadavg()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="Fewer clips for baseline and shuffle ratio, scaled.")
    parser.add_argument("--json", type=Path, help="Write the result here as well.")
    parser.add_argument("--lpips", help="Folder with the LPIPS weights.")
    options = parser.parse_args()
    set_quiet(True)
    torch.set_num_threads(1)
    part, before = 32 if options.quick else CLIPS, load()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        shards, model = make_inputs(folder)
        ours(folder, shards, model, "warm", videos=1, clips_per_video=CLIPS, strips=0)  # imports, memory
        own, plain = ours(folder, shards, model, "predict"), baseline(shards, model, part)
        result: dict[str, Any] = {
            "predict_256_s": {"ours": own, "baseline": plain, "ratio": plain / own},
            "shuffle_256_s": shuffle(64 if options.quick else CLIPS),
            "best_of_5_256_s": ours(folder, shards, model, "best", best_of=5),
        }
        if find_weights("alex", options.lpips):
            weights = {"lpips": "alex", "lpips_weights": options.lpips}
            result["lpips_256_s"] = ours(folder, shards, model, "lpips", **weights)
    result |= {"quick": options.quick, "hardware": host_hardware(), "load_average": {"before": before, "after": load()}}
    text = json.dumps(result, indent=2)
    print(text)
    if options.json:
        options.json.write_text(text + "\n")


if __name__ == "__main__":
    main()
