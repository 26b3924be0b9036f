"""The experiment on filmed clips: cutting, names, sources, its quick form."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import av
import filmed
import filmed_clips
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from cpu_seconds import CountingWorkspace
from one_command import OutOfTimeError
from planned_config import pretraining_config

from ipv_bench.errors import SourceError
from models.analysis.predict import PredictConfig
from tests.experiments.runs_of_scripts import quick, record, shard_set, whole_config


def test_filmed_clips_are_cut_by_shot(tmp_path: Path) -> None:
    filmed_clips.drawn_clips(tmp_path)
    frames = list(filmed_clips.every_other(tmp_path / "train" / "one.mp4"))
    assert filmed_clips.cuts(np.stack([filmed_clips.small(frame) for frame in frames])) == [30]
    filmed_clips.write_shots(tmp_path / "train" / "one.mp4", tmp_path / "shots")
    assert [path.name for path in sorted((tmp_path / "shots").iterdir())] == ["000-000.mp4", "001-000.mp4"]
    still = np.random.default_rng(0).normal(0.5, 0.01, (50, 12, 12))
    assert filmed_clips.cuts(still) == []
    assert filmed_clips.cuts(still[:1]) == []


def test_a_shot_is_cut_into_pieces_in_order_and_what_is_too_short_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    filmed_clips.drawn_clips(tmp_path)
    monkeypatch.setattr(filmed_clips, "PIECE", 12)
    monkeypatch.setattr(filmed_clips, "SHORTEST", 7)
    filmed_clips.write_shots(
        tmp_path / "train" / "one.mp4", tmp_path / "shots"
    )  # two shots of 30: 12, 12, and 6 too few
    made = {path.name: list(every_frame(path)) for path in sorted((tmp_path / "shots").iterdir())}
    assert {name: len(frames) for name, frames in made.items()} == {
        "000-000.mp4": 12, "000-001.mp4": 12, "001-000.mp4": 12, "001-001.mp4": 12,
    }  # fmt: skip
    whole = list(filmed_clips.every_other(tmp_path / "train" / "one.mp4"))
    for name, first in (("000-000.mp4", 0), ("000-001.mp4", 12), ("001-000.mp4", 30), ("001-001.mp4", 42)):
        errors = [np.abs(made[name][0].astype(int) - frame).mean() for frame in whole]
        assert int(np.argmin(errors)) == first, name


def every_frame(path: Path) -> Iterator[np.ndarray]:
    with av.open(str(path)) as container:
        yield from (frame.to_ndarray(format="rgb24") for frame in container.decode(video=0))


def test_own_clips_are_videos_under_names_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filmed_clips, "SOURCES", ())
    own, work = tmp_path / "own", tmp_path / "work"
    filmed_clips.drawn_clips(tmp_path / "drawn")
    one, two = (tmp_path / "drawn" / "train" / name for name in ("one.mp4", "two.mp4"))
    (own / "more").mkdir(parents=True)
    shutil.copyfile(one, own / "a.mp4")
    shutil.copyfile(two, own / "a.avi")
    for _ in range(2):
        filmed_clips.gather(work, own)
        assert [path.name for path in filmed_clips.clips_of(work, "train")] == ["own-a.avi", "own-a.mp4"]
    shutil.copyfile(two, own / "a.mp4")
    with pytest.raises(SourceError, match=r"own-a\.mp4"):
        filmed_clips.gather(work, own)
    with pytest.raises(SourceError, match="nowhere"):
        filmed_clips.gather(work, tmp_path / "nowhere")
    shutil.copyfile(one, own / "a.mp4")
    (own / "notes.txt").write_text("no video")
    with pytest.raises(SourceError, match=r"notes\.txt cannot be decoded"):
        filmed_clips.gather(work, own)
    assert not (work / "clips" / "train" / "own-notes.txt").exists()


def test_models_of_other_clips_than_the_protocols_are_kept_apart(tmp_path: Path) -> None:
    for place, names in (("train", ("bikes", "vtest", "own-a")), ("held-out", ("tree",))):
        (tmp_path / "clips" / place).mkdir(parents=True)
        for name in names:
            (tmp_path / "clips" / place / f"{name}.mp4").write_bytes(b"")
    assert filmed.scale_of(tmp_path, None).kept == filmed.OTHER_CLIPS  # no set is made yet
    folders = []
    for text in ("one", "two"):
        for place in ("train", "held-out"):
            shard_set(tmp_path / "shards" / place, text)
        folders.append(filmed.scale_of(tmp_path, None).kept)
    assert len({*folders, filmed.OTHER_CLIPS}) == 3  # each set of clips has its own
    assert filmed.scale_of(tmp_path / "nothing gathered", None) == filmed.WHOLE
    assert filmed.scale_of(tmp_path / "nothing gathered", tmp_path).kept == filmed.OTHER_CLIPS


def test_kept_models_of_other_clips_or_settings_are_refused_before_anything_is_begun(tmp_path: Path) -> None:
    work = tmp_path / "work"
    for place in ("train", "held-out"):
        shard_set(work / "shards" / place, place)
    scale = replace(filmed.WHOLE, kept=tmp_path / "kept")
    folder = scale.folder("apv", 1)
    record(folder, **whole_config(pretraining_config(scale.preset, scale.overrides("apv"))))
    (folder / "sets.json").write_text(json.dumps(filmed.WHOLE.sets_in(work)))
    (folder / "result.json").write_text('{"predict": {}}')
    with pytest.raises(OutOfTimeError):  # nothing is wrong: the work is begun
        filmed.experiment(scale, CountingWorkspace(work, 0))
    with pytest.raises(SystemExit, match=r"apv/seed1 .*training\.updates is 2000, not 7"):
        filmed.experiment(replace(scale, updates=7), CountingWorkspace(work, 0))
    shard_set(work / "shards" / "held-out", "held-out", pixels=9)  # of the same bytes, by a version that tells more
    with pytest.raises(OutOfTimeError):
        filmed.experiment(scale, CountingWorkspace(work, 0))
    shard_set(work / "shards" / "held-out", "of other clips")
    with pytest.raises(SystemExit, match=r"apv/seed1 is of other videos than .*shards are \(held-out\)"):
        filmed.experiment(scale, CountingWorkspace(work, 0))


def test_a_damaged_set_is_told(tmp_path: Path) -> None:
    for place in ("train", "held-out"):
        shard_set(tmp_path / "shards" / place, place)
    (tmp_path / "shards" / "train" / "manifest.json").write_text("{")
    with pytest.raises(SystemExit, match=r"manifest\.json"):
        filmed.WHOLE.sets_in(tmp_path)


def test_clips_are_fetched_where_work_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not filmed.WHOLE.remaining()
    assert not filmed.is_work_left(tmp_path / "nothing gathered", None)
    assert filmed.is_work_left(tmp_path / "nothing gathered", tmp_path)
    (tmp_path / "clips").mkdir()
    assert filmed.is_work_left(tmp_path, None)
    monkeypatch.setattr(filmed, "WHOLE", replace(filmed.WHOLE, kept=tmp_path / "kept"))
    assert filmed.is_work_left(tmp_path / "nothing gathered", None)


def test_pieces_that_were_cut_in_another_way_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SourceError):  # there are no clips
        filmed_clips.cut_all(tmp_path)
    monkeypatch.setattr(filmed_clips, "SHORTEST", 20)
    with pytest.raises(SystemExit, match="shortest: 25 → 20"):
        filmed_clips.cut_all(tmp_path)


def test_a_piece_is_long_enough_to_be_judged() -> None:
    assert PredictConfig().length <= filmed_clips.SHORTEST


def test_filmed_sets_are_of_all_their_sources_or_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    filmed_clips.drawn_clips(tmp_path / "clips")
    (tmp_path / "clips" / "held-out").rename(tmp_path / "later")
    with pytest.raises(SourceError, match="held-out has no clips: none of tree, cup") as told:
        filmed_clips.cut_all(tmp_path)
    assert "apt opencv-doc" in str(told.value)
    assert not (tmp_path / "raw").exists()
    (tmp_path / "later").rename(tmp_path / "clips" / "held-out")
    same_name = tmp_path / "clips" / "train" / "one.avi"
    same_name.write_bytes((tmp_path / "clips" / "train" / "two.mp4").read_bytes())
    made = {"train": ["one.avi", "one.mp4", "two.mp4"], "held-out": ["three.mp4"]}

    def prepare(work: Path, *words: str) -> None:
        place = Path(words[words.index("--out") + 1])
        (work / place).mkdir(parents=True)
        (work / place / "manifest.json").write_text("{}")
        table = pa.table({"source_id": [f"{name}/000-000.mp4" for name in made[place.name]]})
        pq.write_table(table, work / place / "sources.parquet")

    monkeypatch.setattr(filmed_clips, "command", prepare)
    counts = filmed_clips.cut_all(tmp_path)["clips"]
    assert counts == {"train/one.avi": 2, "train/one.mp4": 2, "train/two.mp4": 2, "held-out/three.mp4": 2}
    assert filmed_clips.cut_all(tmp_path)["clips"] == counts
    (tmp_path / "clips" / "train" / "own-b.mp4").write_bytes(same_name.read_bytes())
    with pytest.raises(SourceError, match=r"shards/train.* lacks own-b\.mp4") as told:
        filmed_clips.cut_all(tmp_path)
    assert "--out" in told.value.fix
    (tmp_path / "clips" / "train" / "own-b.mp4").unlink()
    with pytest.raises(SourceError, match=r"not in .*clips/train: own-b\.mp4"):
        filmed_clips.cut_all(tmp_path)


@pytest.mark.slow
def test_the_filmed_experiment_runs() -> None:
    models = quick("filmed.py")["models"]
    assert set(models) == {"contextwm/seed1", "apv/seed1"}
    assert set(models["contextwm/seed1"]["verdicts"]) == {"predict", "attention"}
