"""`analyze predict`: no look at the future, the numbers of a plain reading, interruptions, inputs that do not fit."""

from __future__ import annotations

import base64
import csv
import json
import re
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import scipy.ndimage
import torch
from PIL import Image

from ipv_bench.analysis_record import ANALYSIS_FILE, ARRAYS_FILE, read_analysis, read_arrays
from ipv_bench.checkpoint_index import find_checkpoint
from ipv_bench.cli import run
from ipv_bench.run_record import read_record, write_record
from ipv_bench.tracing.start import trace
from models.analysis.action_sources import ActionDriver, Source
from models.analysis.loaded_model import open_models
from models.analysis.output import PARTS
from models.analysis.prediction_errors import FrameErrors, ModelErrors
from models.analysis.prediction_numbers import verdicts
from tests.models.pretraining.small_pretraining import arguments, small_shard_set

LENGTH, SEEN, CLIPS = 8, 5, 7
RUNS = {"contextwm": ("contextwm", 0), "second": ("contextwm", 1), "apv": ("apv", 0)}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with a shard set and three runs of two updates."""
    folder = tmp_path_factory.mktemp("predict")
    small_shard_set(folder / "shards")
    small_shard_set(folder / "raw", encoding="raw", name="other")
    for name, (method, seed) in RUNS.items():
        changes = {"training__updates": 2, "validation__every": 0, "training__checkpoint_every": 2}
        line = arguments(folder / "shards", folder / name, method=method, **changes)
        assert run([*line, "--seed", str(seed), "--quiet"]) == 0
    return folder


def predict(place: Path, *runs: str | Path, out: str = "out", data: str = "raw", **fields: Any) -> int:
    values = {"length": LENGTH, "observed": SEEN, "videos": CLIPS, "batch_size": 3, "resamples": 200, "lpips": "none"}
    sets = [part for key, value in (values | fields).items() for part in ("--set", f"{key}={json.dumps(value)}")]
    paths = [str(place / name) for name in runs]
    return run(["analyze", "predict", *paths, "--data", str(place / data), "--out", str(place / out), *sets])


@pytest.mark.parametrize("name", ["contextwm", "apv"])
def test_nothing_of_the_future_reaches_a_prediction(place: Path, name: str) -> None:
    model = open_models([place / name], torch.device("cpu"), {"context.frame": "last"})[0]
    if name == "contextwm":
        context = model.model.draw(4, LENGTH, torch.Generator().manual_seed(0), SEEN).context
        assert context.frame.tolist() == [SEEN - 1] * 4
    measure = ModelErrors(ActionDriver(model, "none"), FrameErrors(SEEN, None), 1, [0], seed=3)
    generator = torch.Generator().manual_seed(1)
    clips = torch.randint(0, 256, (2, LENGTH, 32, 32, 3), dtype=torch.uint8, generator=generator)
    other = clips.clone()
    other[:, SEEN:] = 255 - other[:, SEEN:]
    first, second = (measure.measure(each, None, 0, [0, 1]) for each in (clips, other))
    np.testing.assert_array_equal(first["shown"], second["shown"])
    assert (first["mse"] != second["mse"]).all()
    seen = clips.clone()
    seen[:, SEEN - 1] = 255 - seen[:, SEEN - 1]
    assert (measure.measure(seen, None, 0, [0, 1])["shown"] != first["shown"]).any()


def test_the_numbers_are_those_of_a_plain_reading(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert predict(place, *RUNS, best_of=3, strips=CLIPS) == 0
    record, arrays = read_analysis(place / "out"), read_arrays(place / "out")
    truth, shown = arrays["shown_truth"] / 255, arrays["shown_prediction"] / 255
    assert shown.shape == (3, CLIPS, LENGTH, 32, 32, 3)
    mse = ((shown - truth) ** 2).mean((-3, -2, -1))[:, :, SEEN:]
    np.testing.assert_allclose(arrays["mse"], mse, rtol=0.05, atol=1e-5)  # what is shown is rounded to 8 bits
    copied = ((truth[:, SEEN:] - truth[:, SEEN - 1 : SEEN]) ** 2).mean((-3, -2, -1))
    np.testing.assert_allclose(arrays["copy_mse"], copied, atol=1e-6)
    side = truth.shape[-2]
    last = scipy.ndimage.gaussian_filter(truth[:, SEEN - 1], (0, side / 32, side / 32, 0), mode="nearest", truncate=4)
    blurred = ((truth[:, SEEN:] - last[:, None]) ** 2).mean((-3, -2, -1))
    np.testing.assert_allclose(arrays["blurred_mse"], blurred, atol=1e-6)
    found = record.numbers["copy"]["blurred_ratio"]["overall"]
    assert found["point"] == pytest.approx(blurred.mean() / copied.mean(), rel=1e-4)
    np.testing.assert_allclose(arrays["psnr"], -10 * np.log10(arrays["mse"]), rtol=1e-5)
    assert (arrays["best_mse"].mean(-1) <= arrays["mse"].mean(-1)).all()
    assert (arrays["best_mse"].mean(-1) < arrays["mse"].mean(-1)).any()

    lines = record.numbers["lines"]
    assert set(lines) == {"ContextWM", "APV"}
    assert lines["ContextWM"]["runs"] == ["ContextWM · seed 0", "ContextWM · seed 1"]
    for line, rows in (("ContextWM", [0, 1]), ("APV", [2])):
        own = arrays["mse"][rows]
        ratio = lines[line]["copy_ratio"]
        assert ratio["overall"]["point"] == pytest.approx(own.mean() / copied.mean(), rel=1e-4)
        np.testing.assert_allclose(ratio["per_step"]["point"], own.mean((0, 1)) / copied.mean(0), rtol=1e-4)
        over_blurred = lines[line]["blurred_copy_ratio"]["overall"]
        assert over_blurred["point"] == pytest.approx(own.mean() / blurred.mean(), rel=1e-4)
        assert ratio["overall"]["low"] < ratio["overall"]["point"] < ratio["overall"]["high"]
        assert lines[line]["mse"]["overall"]["point"] == pytest.approx(own.mean())
    assert len(record.numbers["clips"]) == len(set(arrays["videos"].tolist())) == CLIPS
    assert [words.split()[0] for words in record.verdicts] == ["ContextWM", "APV"]
    assert all(f"copy ratio {lines[words.split()[0]]['copy_ratio']['overall']['point']:.2f} [" in words
               for words in record.verdicts)  # fmt: skip
    assert record.verdicts[0] in capsys.readouterr().out


def test_what_is_written(place: Path) -> None:
    assert predict(place, *RUNS, out="written", strips=2, best_of=1) == 0
    record = read_analysis(place / "written")
    assert sorted(path.name for path in (place / "written").iterdir()) == sorted(
        [ANALYSIS_FILE, ARRAYS_FILE, *(picture.file for picture in record.pictures)]
    )
    assert [model.label for model in record.models] == ["ContextWM · seed 0", "ContextWM · seed 1", "APV"]
    assert record.models[2].checkpoint_sha256
    assert record.shard_sets[0]["manifest_sha256"]
    strip = np.array(Image.open(place / "written" / "predictions.png"))
    truth = read_arrays(place / "written")["shown_truth"][0]
    height, width = truth.shape[1:3]
    left = strip.shape[1] - LENGTH * (width + 2)
    np.testing.assert_array_equal(strip[6 : 6 + height, left : left + width], truth[0])
    moving: Any = Image.open(place / "written" / "prediction-1.gif")
    assert moving.n_frames == LENGTH
    attention = read_arrays(place / "written")["shown_attention"]  # of the two models that have it
    assert attention.shape == (2, 2, LENGTH, 64)
    np.testing.assert_allclose(attention.sum(-1), 1, atol=1e-5)


def test_an_interrupted_analysis_goes_on_and_ends_as_an_uninterrupted_one(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert predict(place, "contextwm", "apv", out="whole", best_of=1) == 0
    original, calls = ModelErrors.measure, []

    def counted(self: ModelErrors, *args: Any) -> Any:
        calls.append(args)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return original(self, *args)

    monkeypatch.setattr(ModelErrors, "measure", counted)
    assert predict(place, "contextwm", "apv", out="parts", best_of=1) == 130
    assert not (place / "parts" / ANALYSIS_FILE).exists()
    assert predict(place, "contextwm", "apv", out="parts", best_of=1) == 0
    assert len(calls) == 4 + 3  # six in all, three of which were kept
    assert not (place / "parts" / PARTS).exists()
    for name in (ARRAYS_FILE, ANALYSIS_FILE, "predictions.png"):
        assert (place / "parts" / name).read_bytes() == (place / "whole" / name).read_bytes()
    capsys.readouterr()
    assert predict(place, "contextwm", "apv", out="parts", best_of=1) == 0
    assert "nothing to do" in capsys.readouterr().out
    assert len(calls) == 7


def test_held_out_videos_are_taken_from_a_set_that_the_runs_trained_on(place: Path) -> None:
    assert predict(place, "contextwm", "apv", out="own", data="shards", videos=None, strips=0) == 0
    record = read_analysis(place / "own")
    taken = {clip["video"] for clip in record.numbers["clips"]}
    held_out = read_record(place / "contextwm").shard_sets[0]["num_validation_videos"]
    assert 0 < len(taken) <= held_out < 16
    assert any("held out of their training" in note for note in record.notes)
    assert not any("another preparation" in note for note in record.notes)
    assert not record.pictures
    small_shard_set(place / "again", encoding="raw")  # the same source videos, in another encoding
    assert predict(place, "contextwm", out="own-again", data="again", videos=None, strips=0) == 0
    record = read_analysis(place / "own-again")
    assert {clip["video"] for clip in record.numbers["clips"]} == taken
    assert any("stored as raw; ContextWM trained on these source videos in another preparation" in note
               for note in record.notes)  # fmt: skip


def test_an_adapted_model_predicts_under_the_sets_actions_and_under_anothers(place: Path) -> None:
    assert run(["sample", str(place / "blob-raw"), "--dataset", "moving-blob", "--videos", "6", "--quiet"]) == 0
    command = ["prepare", "episodes", "--source", str(place / "blob-raw"), "--out", str(place / "blob")]
    assert run([*command, "--workers", "1", "--set", "size=32x32", "--quiet"]) == 0
    changes = ["training.updates=2", "validation.every=0", "data.holdout=0.5"]
    sets = [word for change in changes for word in ("--set", change)]
    command = ["adapt", str(place / "apv"), "--data", str(place / "blob"), "--run", str(place / "adapted"), *sets]
    assert run([*command, "--quiet"]) == 0
    fields = {"best_of": 1, "strips": 0, "split": "all"}
    assert predict(place, "adapted", out="acted", data="blob", **fields) == 0
    record, arrays = read_analysis(place / "acted"), read_arrays(place / "acted")
    assert np.isfinite(arrays["shuffled_mse"]).all()
    assert (arrays["shuffled_mse"] != arrays["mse"]).any()
    ratio = record.numbers["lines"]["APV"]["shuffle_ratio"]["overall"]
    assert ratio["point"] == pytest.approx(arrays["shuffled_mse"].sum() / arrays["mse"].sum())
    assert any("predicts under the set's own actions" in note for note in record.notes)
    assert "shuffle ratio" in record.verdicts[1]
    assert predict(place, "adapted", "apv", out="still", **fields) == 0  # a set without actions
    record = read_analysis(place / "still")
    assert any("under zero actions" in note for note in record.notes)
    assert "shuffle_ratio" not in record.numbers["lines"]["APV · adapted"]


class Painter:
    """A model that paints the action that leads into each frame, as `open_loop` or as `predict` of latent ones."""

    action_dim = 1

    def open_loop(self, image: Any, observed: int, generator: Any, action: Any = None) -> torch.Tensor:
        if action is None:
            return torch.zeros(*image.shape[:2], 3, 32, 32)
        return action[..., 0, None, None, None].expand(*image.shape[:2], 3, 32, 32)

    def infer(self, image: torch.Tensor) -> Any:
        return SimpleNamespace(mean=image[:, 1:, 0, 0, :1].float() / 255)

    def predict(self, image: torch.Tensor, actions: Any, observed: int, generator: Any) -> torch.Tensor:
        return self.open_loop(image, observed, generator, torch.cat([0 * actions[:, :1], actions], 1))


@pytest.mark.parametrize("source", ["real", "latent"])
def test_another_clips_actions_give_the_error_that_they_must(source: Source) -> None:
    level = torch.tensor([0, 51, 153, 255], dtype=torch.uint8)
    clips = level[:, None, None, None, None].expand(4, LENGTH, 32, 32, 3)
    model: Any = SimpleNamespace(model=Painter(), record=SimpleNamespace(kind="finetune"))
    measure = ModelErrors(ActionDriver(model, source), FrameErrors(SEEN, None), 1, [0], seed=0)
    tracks = np.broadcast_to(level.numpy()[:, None, None] / 255, (4, LENGTH, 1))  # the first one is not looked at
    found = measure.measure(clips, tracks, 0, [])
    np.testing.assert_allclose(found["told_mse"], 0, atol=1e-12)
    blind = (level.double() / 255) ** 2 if source == "latent" else 0 * level  # nobody tells it what happens
    np.testing.assert_allclose(found["mse"], blind[:, None].expand(4, LENGTH - SEEN), atol=1e-6)
    expected = (level.double() / 255 - level.double().roll(1) / 255) ** 2
    np.testing.assert_allclose(found["shuffled_mse"], expected[:, None].expand(4, LENGTH - SEEN), atol=1e-6)
    assert np.isnan(measure.measure(clips[:1], tracks[:1], 0, [])["shuffled_mse"]).all()
    given = measure.driver.actions(clips, tracks)
    other, kept = measure.driver.shuffled(given, SEEN, np.array([3, 0, 1, 2])), SEEN - (source == "latent")
    assert torch.equal(other[:, :kept], given[:, :kept])  # what led to the seen frames is the clip's own
    assert torch.equal(other[:, kept:], given.roll(1, 0)[:, kept:])


BETTER = "is better than a copy of the last frame"


@pytest.mark.parametrize(
    ("point", "low", "high", "words"),
    [
        (0.71, 0.66, 0.77, f"{BETTER}, and than a blurred one: copy ratio 0.71 [0.66, 0.77], to a blurred copy 0.78 ["),
        (0.90, 0.86, 0.94, f"{BETTER}, and about as good as a blurred one: copy ratio 0.90 [0.86, 0.94], to a"),
        (0.95, 0.93, 0.97, f"{BETTER}, and worse than a blurred one: copy ratio 0.95 [0.93, 0.97], to a"),
        (1.30, 1.10, 1.50, "is worse than copying the last frame: copy ratio 1.30 [1.10, 1.50]"),
        (0.98, 0.90, 1.05, "is about as good as copying the last frame: copy ratio 0.98 [0.90, 1.05]"),
        (0.50, np.nan, np.nan, "is better than copying on the only video there is, which is no proof"),
        (np.nan, np.nan, np.nan, "cannot be held against copying: nothing moves in these clips"),
    ],
)
def test_verdicts_say_what_the_interval_allows(point: float, low: float, high: float, words: str) -> None:
    step = {"point": [point] * 3, "low": [low] * 3, "high": [1.2, high, high]}
    ratio = {"overall": {"point": point, "low": low, "high": high}, "per_step": step}
    blurred = {"overall": {name: 1.1 * value for name, value in ratio["overall"].items()}}  # a tenth nearer
    found = verdicts({"lines": {"model": {"copy_ratio": ratio, "blurred_copy_ratio": blurred}}}, {"model": "none"})
    assert found[0].startswith(f"model {words}")
    assert ("better from step 2 on" in found[0]) == (high < 1)
    shuffled = {"overall": {"point": 1.8, "low": 1.5, "high": 2.1}}
    values = {
        "copy_ratio": ratio,
        "blurred_copy_ratio": blurred,
        "shuffle_ratio": shuffled,
        "told_copy_ratio": shuffled,
    }
    acted = verdicts({"lines": {"model": values}}, {"model": "real"})
    assert acted == [*found, "model uses its actions: shuffle ratio 1.80 [1.50, 2.10]"]
    told = verdicts({"lines": {"model": values}}, {"model": "latent"})
    assert told[1] == f"{acted[1]}; told its own latent actions: copy ratio 1.80 [1.50, 2.10]"


def still_training(place: Path) -> str:
    shutil.copytree(place / "apv", place / "training", dirs_exist_ok=True)
    write_record(place / "training", read_record(place / "training").model_copy(update={"status": "running"}))
    return "training"


def test_a_run_that_is_training_is_refused_and_a_checkpoint_of_it_is_not(place: Path, capsys: Any) -> None:
    name = still_training(place)
    assert predict(place, name, out="no") == 2
    checkpoint = find_checkpoint(place / name)
    assert str(checkpoint) in capsys.readouterr().err
    assert predict(place, checkpoint.relative_to(place), out="yes", best_of=1, strips=0) == 0
    assert read_analysis(place / "yes").models[0].step == 2


@pytest.mark.parametrize(
    ("runs", "fields", "words"),
    [
        (("nowhere",), {}, ("does not exist", "run folder", "correct the path")),
        (("shards",), {}, ("has no run.json",)),
        (("apv", "apv"), {}, ("named 2 times", "each model once", "apv once")),
        (("apv",), {"length": 30}, ("none of its 16 videos", "length=25")),
        (("apv",), {"observed": 8}, ("observed=8", "nothing to predict")),
        (("apv",), {"observd": 8}, ("unknown config key", "observed")),
        (("apv",), {"data": "large"}, ("has frames of 64x64", "expected: 32x32")),
        (("apv",), {"data": "nowhere"}, ("nowhere",)),
        (("apv",), {"split": "test"}, ("split", "test")),
        (("apv",), {"lpips": "alex", "lpips_weights": "bad"}, ("not the published file", "fetch_lpips")),
        (("apv",), {"out": "apv"}, ("is a run", "choose another --out")),
        (("apv",), {"out": "raw"}, ("is a shard set",)),
        (("apv",), {"device": "cuda:7"}, ("device", "--set device=cpu")),
    ],
)
def test_what_does_not_fit_is_said(
    place: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch, runs: tuple[str, ...], fields: Any, words: Any
) -> None:
    monkeypatch.chdir(place)
    if fields.get("data") == "large" and not (place / "large").exists():
        from tests.shard_set_maker import Video, make_shard_set

        make_shard_set(place / "large", [Video(f"v{n}", 10, split="") for n in range(2)])
    (place / "bad").mkdir(exist_ok=True)
    (place / "bad" / "alexnet.ckpt").write_bytes(b"not these")
    assert predict(place, *runs, **{"out": "refused", **fields}) == 2
    error = capsys.readouterr().err
    assert all(word in error for word in words), error
    assert "Traceback" not in error
    assert not (place / "refused").exists()


def test_the_report_draws_it_and_says_the_verdict(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert predict(place, *RUNS, out="mixed/drawn", strips=1, best_of=2) == 0
    record, arrays = read_analysis(place / "mixed" / "drawn"), read_arrays(place / "mixed" / "drawn")
    capsys.readouterr()
    assert run(["report", str(place / "mixed"), "--out", str(place / "report")]) == 0
    assert record.verdicts[0] in capsys.readouterr().out
    page = (place / "report" / "report.html").read_text()
    assert "What world models see, predict and separate" in page
    assert record.verdicts[1] in page
    lines = list(csv.DictReader((place / "report" / "figures" / "predict_errors.csv").open()))
    drawn = [line for line in lines if line["panel"] == "copy ratio" and line["line"] == "APV"]
    expected = arrays["mse"][2].sum(0) / arrays["copy_mse"].sum(0)
    np.testing.assert_allclose([float(line["point"]) for line in drawn], expected)
    assert all(float(line["low"]) <= float(line["point"]) <= float(line["high"]) for line in drawn)
    table = list(csv.reader((place / "report" / "tables" / "predict_overall.csv").open()))
    assert [row[0] for row in table[1:]] == ["ContextWM", "APV", "copying the last frame", "a blurred copy of it"]
    blurred = dict(zip(table[0], table[-1], strict=True))["copy ratio"]
    assert blurred.startswith(f"{record.numbers['copy']['blurred_ratio']['overall']['point']:.2f}"), (table, blurred)
    for kind in ("predict_best", "predict_pictures"):
        assert (place / "report" / "figures" / f"{kind}.png").is_file()
    moving = (place / "mixed" / "drawn" / "prediction-0.gif").read_bytes()
    assert (place / "report" / "figures" / "predict_moving_1.gif").read_bytes() == moving
    traced = trace(str(place / "report" / "predict_moving_1.gif"))
    assert (traced.state, [below.kind for below in traced.made_from]) == ("ok", ["analysis"])
    shown = re.findall(r'<img alt="[^"]*" src="data:image/gif;base64,([^"]*)">', page)
    assert [base64.b64decode(one) for one in shown] == [moving]

    monkeypatch.setattr("reports.page.report_page.MOVING_BYTES", len(moving) - 1)
    (place / "mixed" / "drawn" / "note.txt").write_text("a changed input: the report is written again")
    assert run(["report", str(place / "mixed"), "--out", str(place / "linked"), "--quiet"]) == 0
    page = (place / "linked" / "report.html").read_text()
    assert "data:image/gif" not in page
    assert 'href="figures/predict_moving_1.gif"' in page
    assert (place / "linked" / "figures" / "predict_moving_1.gif").read_bytes() == moving

    (place / "mixed" / "drawn" / "prediction-0.gif").write_bytes(moving[:-9])
    whole = (place / "mixed" / "drawn" / ANALYSIS_FILE).read_text()
    values = json.loads(whole)
    values["numbers"]["lines"]["APV"]["mse"] = "none"
    shutil.copytree(place / "mixed" / "drawn", place / "mixed" / "numbers")
    (place / "mixed" / "drawn" / ANALYSIS_FILE).write_text(whole)
    (place / "mixed" / "numbers" / ANALYSIS_FILE).write_text(json.dumps(values))
    assert run(["report", str(place / "mixed"), "--out", str(place / "damaged")]) == 0
    assert "prediction-0.gif is no whole GIF" in (place / "damaged" / "report.html").read_text()
    assert (place / "damaged" / "figures" / "predict_pictures.png").is_file()
    assert "is not what `ipv-bench analyze predict` writes" in (place / "damaged" / "report.html").read_text()


def test_without_weights_it_goes_on_and_says_so(place: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    empty = str(place / "nothing")
    fields = {"lpips": "alex", "lpips_weights": empty, "best_of": 1, "strips": 0, "videos": 2}
    assert predict(place, "apv", out="plain", **fields) == 0
    record = read_analysis(place / "plain")
    assert "lpips" not in record.numbers["copy"]
    assert "frechet" not in record.numbers
    assert any("no LPIPS weights" in note and "fetch_lpips" in note for note in record.notes)
    assert "left out" in capsys.readouterr().out
