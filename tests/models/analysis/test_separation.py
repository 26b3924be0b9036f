"""`analyze attention | embed | compose` on tiny runs and the sample of SSv2, whose truth is known."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ipv_bench.analysis_record import read_analysis, read_arrays
from ipv_bench.cli import run
from ipv_bench.errors import InputError
from ipv_bench.ground_truth import TRUTH_FILE, read_truth
from models.analysis.clips import ClipSet
from models.analysis.context_attention import recorded_attention
from models.analysis.frame_step import FrameStep
from models.analysis.loaded_model import open_models
from models.analysis.truth import clip_truth, truth_facts
from models.pretrain import build_training
from models.pretrained_features import open_features
from models.world_models.stacked import StackedWorldModel
from reports.computation import Computation
from reports.config import ReportConfig
from reports.figures.paper_figures import Material
from reports.figures.pictures import PicturePlot
from reports.figures.separation import FIGURE_8A, FIGURE_11
from reports.readers.analyses import Analyses
from reports.scores.score_table import Collection
from tests.failing_disk import fail
from tests.models.latent_actions import test_uwm_runs as uwm_runs
from tests.models.pretraining.small_pretraining import arguments, small_labelled_set
from tests.models.world_models.test_plain_reading import ACTIONS, small

LENGTH, SEEN = 14, 8


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with a sample of 24 videos, its shard set at 32 x 32, and tiny runs of both kinds."""
    folder = tmp_path_factory.mktemp("separate")
    raw, shards = folder / "raw", folder / "shards"
    assert run(["sample", str(raw), "--videos", "24", "--quiet"]) == 0
    options = ["--set", "size=32x32", "--workers", "1", "--quiet"]
    assert run(["prepare", "ssv2", "--source", str(raw), "--out", str(shards), *options]) == 0
    for method in ("contextwm", "apv"):
        changes = {"training__updates": 3, "validation__every": 0, "data__length": 10, "training__checkpoint_every": 3}
        changes["data__holdout"] = ...  # the set has a validation split
        assert run([*arguments(shards, folder / method, method=method, **changes), "--quiet"]) == 0
    return folder


def analyze(place: Path, kind: str, *runs: str, out: str = "out", data: str = "shards", **fields: Any) -> int:
    values = {"length": LENGTH, "batch_size": 5, "truth": str(place / "raw" / TRUTH_FILE)} | fields
    sets = [part for key, value in values.items() if value != "" for part in ("--set", f"{key}={json.dumps(value)}")]
    paths = [str(place / name) for name in runs]
    return run(["analyze", kind, *paths, "--data", str(place / data), "--out", str(place / out), *sets, "--quiet"])


def models_of(place: Path, *runs: str) -> list[Any]:
    return [found.model for found in open_models([place / name for name in runs], torch.device("cpu"))]


def clips(count: int, seed: int = 0, side: int = 32) -> torch.Tensor:
    return torch.randint(0, 256, (count, 6, side, side, 3), dtype=torch.uint8, generator=generator(seed))


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_attention_rows_sum_to_one_over_all_tokens_also_where_decoding_drops_some(place: Path) -> None:
    model = models_of(place, "contextwm")[0]
    assert model.config.context.mask_ratio > 0
    with recorded_attention(model) as records:
        model.open_loop(clips(2), 4, generator(1))
    weights = torch.cat(records)
    assert weights.shape == (2 * 6, 64, 64)  # 8 x 8 positions at 32 pixels
    assert (weights > 0).all()
    torch.testing.assert_close(weights.sum(-1), torch.ones(12, 64))


def test_attention_is_measured_against_the_truth(place: Path) -> None:
    assert analyze(place, "attention", "contextwm", "apv", out="attention", observed=SEEN, target="object") == 0
    record, arrays = read_analysis(place / "attention"), read_arrays(place / "attention")
    np.testing.assert_allclose(arrays["heat"].sum((-2, -1)), 1, atol=1e-5)
    assert arrays["heat"].shape[:1] + arrays["heat"].shape[2:] == (1, LENGTH, 8, 8)  # one of the models looks
    assert arrays["prediction"].shape[0] == 2
    truth, videos = read_truth(place / "raw").videos, arrays["position"]
    places = np.stack([truth[clip.id].path()[clip.start :][:LENGTH] for clip in places_of(record, place)])
    np.testing.assert_array_equal(videos, places)
    away = np.linalg.norm(places[:, SEEN:] - places[:, SEEN - 1, None], axis=-1).mean() * 32
    assert record.numbers["identity"]["point"] == pytest.approx(away)
    region = arrays["target"][0, 3]
    assert np.abs((region[:2] + region[2] / 2) / 8 - places[0, 3]).max() < 0.12  # the box is around the object
    words = record.verdicts[0]
    assert "ContextWM" in words
    assert "follow" in words
    assert any("no context attention" in note for note in record.notes)
    assert all((place / "attention" / picture.file).is_file() for picture in record.pictures)


def test_models_of_all_kinds_are_drawn_beside_one_with_attention(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = small_labelled_set(tmp_path / "labelled")
    uwm, domain, adapted = (tmp_path / name for name in ("uwm", "domain", "adapted"))
    short: dict[str, Any] = {"training__updates": 1, "training__checkpoint_every": 1, "validation__every": 0}
    assert run(arguments(data, tmp_path / "contextwm", method="contextwm", **short)) == 0
    assert run(uwm_runs.pretrain(data, uwm, **short)) == 0
    assert run(uwm_runs.adapt(uwm, data, domain, parts="dynamics", **short)) == 0
    assert run(uwm_runs.adapt(uwm, data, adapted, **short)) == 0
    runs = ("contextwm", "uwm", "domain", "adapted")
    fields: dict[str, Any] = {"length": 6, "observed": 4, "split": "all", "data": str(data)}
    assert analyze(tmp_path, "attention", *runs, truth="", out="attention", **fields) == 0
    record, arrays = read_analysis(tmp_path / "attention"), read_arrays(tmp_path / "attention")
    assert arrays["prediction"].shape[:3] == (4, 4, 6)
    assert arrays["looking"].tolist() == [0]
    assert [note for note in record.notes if "is told the set's own actions" in note]
    shown, last = arrays["prediction"][1:].astype(int), arrays["prediction"][1:, :, -1].astype(int)
    assert (shown[0] != shown[2]).any()
    assert (last != arrays["truth"][:, -1]).any((1, 2, 3, 4)).all()
    alone = {"lpips": "none", "resamples": 20, "strips": 1, "best_of": 1, "truth": ""}
    assert analyze(tmp_path, "predict", *runs[1:], out="predicted", **(fields | alone)) == 0
    assert np.isfinite(read_arrays(tmp_path / "predicted")["mse"]).all()
    for name in ("uwm", "domain", "adapted"):  # their `features` is a network
        features = open_features(tmp_path / name, device="cpu")
        size = features.image_size
        with pytest.raises(InputError, match="has no recurrent state"):
            features.states(torch.zeros(1, 3, size, size, 3, dtype=torch.uint8))
    capsys.readouterr()
    asked = {key: value for key, value in fields.items() if key != "observed"}
    assert analyze(tmp_path, "embed", "contextwm", "uwm", truth="", out="embedded", **asked) == 2
    assert "has no states to be averaged" in capsys.readouterr().err


def places_of(record: Any, place: Path) -> list[Any]:
    """Source id and start of the clips of an analysis, drawn again."""
    from types import SimpleNamespace

    from models.analysis.attention import AttentionConfig
    from models.analysis.clips import open_clips

    config = AttentionConfig(sets=[str(place / "shards")], length=LENGTH, observed=SEEN)
    drawn = open_clips(config, open_models([place / "contextwm"], torch.device("cpu")), record.seed)
    return [SimpleNamespace(id=clip.video_id, start=clip.start) for clip in drawn.clips]


def test_figures_8a_and_11_show_real_sets_of_the_three_layouts(place: Path) -> None:
    titles = {"ssv2": "Something-Something v2", "human36m": "Human3.6M", "youtube-driving": "YouTube Driving"}
    fields = {"observed": SEEN, "truth": "", "videos": 2, "shown": 2, "split": "all"}
    for name in titles:
        if name != "ssv2":
            raw, shards = place / f"raw-{name}", place / name
            assert run(["sample", str(raw), "--dataset", name, "--videos", "2", "--quiet"]) == 0
            options = ["--set", "size=32x32", "--workers", "1", "--quiet"]
            assert run(["prepare", name, "--source", str(raw), "--out", str(shards), *options]) == 0
        data = "shards" if name == "ssv2" else name
        assert analyze(place, "attention", "contextwm", "apv", out=f"sets/{name}", data=data, **fields) == 0
    material = Material(Analyses([place / "sets"]), Collection(()), Computation(ReportConfig()))
    for figure, sets in ((FIGURE_11, list(titles)), (FIGURE_8A, ["ssv2"])):
        planned = figure.plan("figure", material)
        assert planned is not None
        assert isinstance(planned.plot, PicturePlot)
        assert [block.title.split(":")[0] for block in planned.plot.blocks] == [
            titles[name] for name in sets for _ in range(2)
        ]
        for number, block in enumerate(planned.plot.blocks):
            assert [row.label for row in block.rows] == [
                "ground truth", "ContextWM", "ContextWM: attention", "APV"
            ]  # fmt: skip
            arrays = read_arrays(place / "sets" / sets[number // 2])
            columns, clip = arrays["columns"], number % 2
            np.testing.assert_array_equal(block.rows[3].frames, arrays["prediction"][1, clip][columns])
            np.testing.assert_array_equal(block.rows[2].frames, arrays["overlay"][0, clip][columns])
    words = ["report", str(place / "sets"), "--out", str(place / "sets-report"), "--figures", "fig8a,fig11", "--quiet"]
    assert run(words) == 0
    assert {"fig8a.png", "fig11.png"} <= {path.name for path in (place / "sets-report" / "figures").iterdir()}
    shutil.rmtree(place / "sets" / "ssv2")
    others = Material(Analyses([place / "sets"]), Collection(()), Computation(ReportConfig()))
    without = FIGURE_8A.plan("figure", others)
    assert without is not None
    assert isinstance(without.plot, PicturePlot)
    assert "No analysis of Something-Something v2 was given." in without.caption
    assert without.plot.blocks[0].title.startswith("Human3.6M")


def test_draws_belong_to_clips_not_to_batches(place: Path) -> None:
    found = []
    for size in (3, 1):
        assert analyze(place, "attention", "contextwm", out=f"batch{size}", observed=SEEN, batch_size=size) == 0
        found.append(read_arrays(place / f"batch{size}"))
    for name in ("heat", "attention_centre"):
        np.testing.assert_allclose(found[0][name], found[1][name], atol=1e-4)


@pytest.mark.parametrize(
    ("runs", "fields", "words"),
    [
        (("apv",), {}, ("attends to no context frame", "contextwm")),
        (("contextwm",), {"target": [7, 0, 3]}, ("leaves the map of 8x8", "target=[0,0,3]")),
        (("contextwm",), {"target": "object", "truth": ""}, ("target=object", "truth=FILE")),
        (("contextwm",), {"truth": "nowhere.json"}, ("nowhere.json", TRUTH_FILE)),
        (("contextwm",), {"observed": 15}, ("observed=15", "expected: observed of at most", "or a larger length")),
        (("contextwm",), {"length": 200}, ("length=200",)),
    ],
)
def test_attention_says_what_is_wrong(
    place: Path,
    capsys: pytest.CaptureFixture[str],
    runs: tuple[str, ...],
    fields: dict[str, Any],
    words: tuple[str, ...],
) -> None:
    assert analyze(place, "attention", *runs, out="bad", **({"observed": SEEN} | fields)) == 2
    message = capsys.readouterr().err
    assert all(word in message for word in words)
    assert not (place / "bad" / "analysis.json").exists()


@pytest.mark.parametrize("method", ["contextwm", "apv"])
def test_a_clip_composed_with_itself_is_its_reconstruction(place: Path, method: str) -> None:
    model, images = models_of(place, method)[0], clips(3)
    draws = model.draw(3, 6, generator(2))
    again = model.open_loop(images, 6, draws=of_first_frame(draws))
    torch.testing.assert_close(model.compose(images, images, draws), again)


@pytest.mark.parametrize("method", ["contextwm", "apv"])
def test_an_agents_model_composes_too(method: str) -> None:
    config = small(method)
    model, images = StackedWorldModel(config, ACTIONS).eval(), clips(3, side=config.image.size)
    draws, action = model.draw(3, 6, generator(2)), torch.rand(3, 6, ACTIONS, generator=generator(3))
    again = model.open_loop(images, 6, action=action, draws=of_first_frame(draws))
    torch.testing.assert_close(model.compose(images, images, draws, action), again)
    assert model.features(images, draws, action).shape == (3, 6, model.config.rssm.feat_size)


def of_first_frame(draws: Any) -> Any:
    """The same draws with the first frame as context."""
    if draws.context is None:
        return draws
    return draws._replace(context=draws.context._replace(frame=torch.zeros_like(draws.context.frame)))


def test_a_model_of_latent_actions_composes_too() -> None:
    model = build_training("tiny", {"method": "prelar", "training.device": "cpu"}).model.eval()
    images = clips(2, side=64)
    draws = model.draw(2, 6, generator(2))
    again = model.open_loop(images, 6, draws=of_first_frame(draws))
    torch.testing.assert_close(model.compose(images, images, draws), again)
    assert model.features(images, draws).shape == (2, 6, model.config.rssm.feat_size)


@pytest.mark.parametrize("method", ["contextwm", "apv"])
def test_appearance_is_that_of_the_other_clips_first_frame(place: Path, method: str) -> None:
    model, a, b = models_of(place, method)[0], clips(16), clips(16, 1)
    draws = model.draw(16, 6, generator(2))
    composed = model.compose(a, b, draws)
    later, first = b.clone(), b.clone()
    later[:, 1:] = 0
    first[:, 0] = 0
    torch.testing.assert_close(model.compose(a, later, draws), composed)
    assert not torch.equal(model.compose(a, first, draws), composed)


def test_compose_measures_both_sides(place: Path) -> None:
    assert analyze(place, "compose", "contextwm", "apv", out="compose") == 0
    record, arrays = read_analysis(place / "compose"), read_arrays(place / "compose")
    for values in record.numbers["models"].values():
        assert values["tracked"]["clip_itself"]["point"] == pytest.approx(0.9, abs=0.2)  # the hand moves otherwise
        assert values["phase_correlation"]["clip_itself"]["point"] == pytest.approx(1)
        assert values["appearance"]["chance"]["point"] < 0.3
    without = {label: values["without_context"] for label, values in record.numbers["models"].items()}
    assert without == {"ContextWM": False, "APV": True}
    assert any("our reading" in note for note in record.notes)
    assert (arrays["partner"] != np.arange(len(arrays["partner"]))).all()
    assert all((place / "compose" / picture.file).is_file() for picture in record.pictures)
    assert arrays["grid"].shape[:3] == (2, 3, 3)


def test_embed_tells_what_the_states_know(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("sklearn")
    assert analyze(place, "embed", "contextwm", "apv", out="embed", shuffles=2) == 0
    record, arrays = read_analysis(place / "embed"), read_arrays(place / "embed")
    names = record.numbers["labels"]
    assert len(names) >= 2
    assert arrays["points"].shape == (2, len(arrays["label"]), 2)
    assert arrays["state_0"].shape == (len(arrays["label"]), 16 + 4 * 4)
    truth = read_truth(place / "raw").videos
    by_name = {name.replace("[", "").replace("]", ""): 0 for name in {video.template for video in truth.values()}}
    assert set(names) <= set(by_name)
    for found in record.numbers["models"].values():
        for what in ("label", "background"):
            accuracy = found[what]["accuracy"]
            assert accuracy["low"] <= accuracy["point"] <= accuracy["high"]
            assert accuracy["chance"] == pytest.approx(1 / found[what]["classes"])
            assert abs(accuracy["shuffled"] - accuracy["chance"]) < 0.35


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"labels": ["Pushing something from left to right"]}, ("1 label with two videos",)),
        ({"labels": ["Pushing something"]}, ("Pushing something from",)),
        ({"split": "validation"}, ("two labels or more",)),
    ],
)
def test_embed_says_what_is_wrong(
    place: Path, capsys: pytest.CaptureFixture[str], fields: dict[str, Any], words: tuple[str, ...]
) -> None:
    pytest.importorskip("sklearn")
    assert analyze(place, "embed", "contextwm", out="bad", **fields) == 2
    assert all(word in capsys.readouterr().err for word in words)


def test_a_run_that_is_still_training_is_refused(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = place / "contextwm" / "run.json"
    text = record.read_text()
    record.write_text(text.replace('"status": "finished"', '"status": "running"'))
    try:
        for kind in ("attention", "compose"):
            seen = {"observed": SEEN} if kind == "attention" else {}
            assert analyze(place, kind, "contextwm", out="bad", **seen) == 2
            assert "still training" in capsys.readouterr().err
    finally:
        record.write_text(text)


def test_without_a_truth_the_note_names_the_users_release_by_a_placeholder() -> None:
    notes: list[str] = []
    clip_truth(ClipSet([], [], LENGTH, FrameStep(), []), None, notes)
    assert notes == [f"no ground truth is given; samples of ssv2 have one: --set truth=RELEASE/{TRUTH_FILE}"]


def test_a_truth_that_cannot_be_read_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / TRUTH_FILE).write_text("{}")
    assert set(truth_facts(str(tmp_path))) == {"truth"}
    for what in ("looked at", "opened"):
        with monkeypatch.context() as patch:
            fail(patch, tmp_path / TRUTH_FILE, what=(what,))
            with pytest.raises(InputError, match=f"{TRUTH_FILE} cannot be read: Input/output error"):
                truth_facts(str(tmp_path))
