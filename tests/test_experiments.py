"""The scripts of experiments and of the rehearsal: their tiny forms run, and their own parts are right."""

from __future__ import annotations

import json
import shlex
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import av
import filmed
import filmed_clips
import kept_record
import learning
import miniature_protocol as miniature
import miniature_summary
import numpy as np
import public_curves
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import rehearsal_layouts
import yaml
from one_command import OutOfTimeError, StoppedError, command, deadline, side_by_side
from ordered_work import Step, do_in_order

from ipv_bench.errors import SourceError
from ipv_bench.run_record import RunRecord, read_record, write_record
from pipelines.datasets.split_archive import list_members
from reports.config import FigureConfig
from reports.figures.selection import check_names, select_panels
from reports.missing_commands import missing_commands

ROOT = Path(__file__).resolve().parents[1]


def quick(script: str, *options: str) -> dict:
    command = [sys.executable, str(ROOT / "benchmarks" / script), "--quick", *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_the_miniature_makes_its_lines_and_two_equal_reports() -> None:
    found = quick("miniature.py")
    rows = found["tasks"]["dmcr/cheetah_run"]
    assert set(rows) == {"dreamerv2", "contextwm", "contextwm@random", "random"}
    assert all(row["n"] == 1 for name, row in rows.items() if name != "random")
    assert rows["random"]["n"] == 2
    assert found["two_reports_equal"] is True


def test_the_miniature_has_the_runs_of_its_protocol(tmp_path: Path) -> None:
    whole = replace(miniature.WHOLE, kept=tmp_path)
    runs = miniature.remaining(whole)
    assert len([line for _, line, _ in runs if not line.extra]) == 112
    assert len([line for _, line, _ in runs if line.extra]) == 30
    assert len({miniature.pretrained_path(line, target) for target, line in miniature.remaining_models(whole)}) == 12
    assert not {seed for _, _, seed in runs} & {*miniature.PILOT.seeds, *miniature.GATE.seeds}
    assert all(target not in miniature.videos_of(target, line) for target, line, _ in runs if line.videos == "others")
    target, line, seed = runs[0]
    kept = miniature.kept(whole, miniature.run_path(target, line, seed))
    record(kept)
    assert miniature.remaining(whole) == runs  # the evaluations are not there
    (kept / "evaluations.jsonl").write_text("")
    assert miniature.remaining(whole) == runs[1:]
    models = miniature.remaining_models(whole)
    model = miniature.kept(whole, miniature.pretrained_path(models[0][1], models[0][0]))
    (model / "checkpoints" / ".7.tmp").mkdir(parents=True)  # the copying was ended here
    assert miniature.remaining_models(whole) == models
    (model / "checkpoints" / "7").mkdir()
    record(model)
    assert miniature.remaining_models(whole) == models[1:]


def test_figure_9_in_miniature_asks_for_the_runs_of_the_learning_experiment() -> None:
    text = (ROOT / "benchmarks/figure9_miniature.yaml").read_text()
    figure = FigureConfig.model_validate(yaml.safe_load(text)["figures"]["fig9_miniature"])
    check_names(figure, [])
    missing = [run for selection in select_panels("fig9_miniature", figure, []) for run in selection.missing]
    found = missing_commands(missing, [])
    methods = [dict(line.where)["method"] for line in figure.methods]
    wanted = {
        (task, method, seed, bool(changed) and method not in learning.MODEL_FREE)
        for task, changed in learning.TASKS.items() for method in methods for seed in learning.SEEDS
    }  # fmt: skip
    made = set()
    for words in map(shlex.split, found.finetuning):
        sets = {word for name, word in pairwise(words) if name == "--set"}
        (method,) = (word.removeprefix("method=") for word in sets if word.startswith("method="))
        assert sets - {f"method={method}"} <= {"reward.gain=0.1"}
        assert ("--init" in words) == (method in learning.PRETRAINED)
        assert words[words.index("--preset") + 1] == learning.PRESET
        made.add((words[words.index("--task") + 1], method, int(words[words.index("--seed") + 1]), len(sets) == 2))
    assert made == wanted
    assert len(found.pretraining) == 1


def test_a_complete_learning_experiment_is_written_afresh_with_the_time_it_took(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(learning, "RESULT", tmp_path / "learning.json")
    for seed, minutes in enumerate((9, 18)):
        run = record(tmp_path / learning.run_path("dmc/cheetah_run", "apv", seed))
        played = {"random_policy": {"seeds": [seed], "returns": [2.0]}}
        write_record(run, read_record(run).model_copy(update=played))
        lines = [{"env_steps": 10, "returns": [0.0], "wall_seconds": 1}]
        lines += [{"env_steps": 30, "returns": [seed, 3.0], "wall_seconds": 60 * minutes}]
        (run / "evaluations.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    learning.keep(learning.summary(tmp_path), tmp_path)
    written = json.loads((tmp_path / "learning.json").read_text())
    assert (written["run_minutes"], written["run_hours"]) == ([9.0, 18.0], 0.45)
    assert written["tasks"]["dmc/cheetah_run"]["apv"]["scores"] == [1.5, 2.0]
    before = json.loads((ROOT / "benchmarks/results/learning_before.json").read_text())
    assert "before the mends" in before["about"]
    assert before["run_hours"] == 2.5


def test_one_run_has_no_interval_and_the_summary_is_json() -> None:
    row = miniature_summary.with_interval([3.0])
    assert (row["low"], row["high"], row["mean"]) == (None, None, 3.0)
    json.dumps(row, allow_nan=False)
    assert miniature_summary.ends(row) == ""
    assert miniature_summary.with_interval([1.0, 3.0])["low"] == pytest.approx(1.0)


def test_what_is_kept_is_complete_or_absent_and_the_record_comes_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, goal = tmp_path / "run", tmp_path / "kept" / "run"
    (run / "7").mkdir(parents=True)
    for name in ("run.json", "evaluations.jsonl", "7/model", "7/optimizer"):
        (run / name).write_text(name)
    written: list[str] = []
    write = kept_record.write_bytes
    monkeypatch.setattr(kept_record, "write_bytes", lambda path, data: (written.append(path.name), write(path, data)))
    kept_record.keep_files(run, goal, ("run.json", "evaluations.jsonl"))
    assert written == ["evaluations.jsonl", "run.json"]
    assert (goal / "run.json").read_text() == "run.json"

    def ended(source: str, target: str) -> None:
        Path(target).write_text("hal")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(kept_record.shutil, "copytree", lambda source, target: (target.mkdir(), ended("", target / "x")))
        with pytest.raises(KeyboardInterrupt):
            kept_record.keep_folder(run / "7", goal / "7")
    assert not (goal / "7").exists()
    for text in ("first", "second"):  # over the leftover, then over a whole one
        (run / "7" / "model").write_text(text)
        kept_record.keep_folder(run / "7", goal / "7")
        assert {path.name: path.read_text() for path in (goal / "7").iterdir()} == {
            "model": text, "optimizer": "7/optimizer",
        }  # fmt: skip
    assert {path.name for path in goal.iterdir()} == {"7", "run.json", "evaluations.jsonl"}


def test_the_rehearsed_archive_is_a_tar_as_others_read_it(tmp_path: Path) -> None:
    found = rehearsal_layouts.ssv2_archive(tmp_path / "raw", 0.0005)
    pieces = sorted((tmp_path / "raw").glob(f"{rehearsal_layouts.ARCHIVE}-*"))
    assert len(pieces) == found["pieces"] > 10
    whole = tmp_path / "whole.tgz"
    whole.write_bytes(b"".join(piece.read_bytes() for piece in pieces))
    with tarfile.open(whole, "r:gz") as tar:
        members = {member.name: member.size for member in tar}
        first = tar.extractfile(next(iter(members)))
        assert first is not None
        assert first.read(4) == b"\x1a\x45\xdf\xa3"  # Matroska
    assert len(members) == found["names"]
    listed = list_members(tmp_path / "raw", [piece.name for piece in pieces], ".webm")
    assert {file.path: file.size_bytes for file in listed} == members


@pytest.mark.slow
def test_the_rehearsal_runs() -> None:
    found = quick("rehearsal.py")["releases"]
    assert set(found) == set(rehearsal_layouts.RELEASES)
    for name, release in found.items():
        assert release["killed_job"]["same_files"], name
        assert release["dry_run"]["says"][-1] == "dry run: nothing was written", name
        assert release["inventory"]["items"] > 0, name


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
    assert filmed.scale_of(tmp_path, None).kept == filmed.OTHER_CLIPS
    assert filmed.scale_of(tmp_path / "nothing gathered", None) == filmed.WHOLE
    assert filmed.scale_of(tmp_path / "nothing gathered", tmp_path).kept == filmed.OTHER_CLIPS


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


def test_a_command_tells_its_seconds_its_failure_and_the_end_of_the_minutes(tmp_path: Path) -> None:
    assert command(tmp_path, "--help") > 0
    with pytest.raises(subprocess.CalledProcessError) as failed:
        command(tmp_path, "verify", "nowhere")
    assert failed.value.returncode == 2
    with pytest.raises(OutOfTimeError) as over:
        command(tmp_path, "sample", "raw", "--dataset", "ssv2", end=deadline(0))
    assert not isinstance(over.value, StoppedError)
    assert not (tmp_path / "raw").exists()  # nothing was started
    with pytest.raises(StoppedError) as stopped:
        command(tmp_path, "sample", "raw", "--dataset", "ssv2", "--videos", "100000", end=deadline(0.05))
    assert stopped.value.seconds > 0


def test_who_is_free_begins_what_can_be_begun_and_what_needs_another_waits_for_it() -> None:
    begun, first_may_end = [], threading.Event()

    def first() -> None:
        begun.append("first")
        assert first_may_end.wait(60)  # until the other worker has done all that does not need it

    parent = Step(first)
    orphan = Step(partial(begun.append, "orphan"), Step(len))  # needs what nobody is to do: counts as done
    steps = [parent, Step(partial(begun.append, "child"), parent), Step(partial(begun.append, "other")),
             Step(lambda: (begun.append("last"), first_may_end.set())), orphan]  # fmt: skip
    do_in_order(2, steps)
    assert begun[:3] == ["first", "other", "last"]
    assert sorted(begun) == ["child", "first", "last", "orphan", "other"]
    begun.clear()
    do_in_order(1, [Step(partial(begun.append, number)) for number in range(9)])
    assert begun == list(range(9))

    def fail() -> None:
        raise OutOfTimeError

    broken = Step(fail)
    with pytest.raises(OutOfTimeError):  # and nobody waits for what will never be done
        do_in_order(3, [broken, Step(partial(begun.append, "never"), broken)])
    assert "never" not in begun


def test_what_fails_or_is_interrupted_begins_nothing_more() -> None:
    done: list[int] = []

    def step(number: int) -> None:
        done.append(number)
        if number == 1:
            raise KeyboardInterrupt
        time.sleep(0.05)

    with pytest.raises(KeyboardInterrupt):
        side_by_side(2, [partial(step, number) for number in range(500)])
    assert 1 in done
    assert len(done) < 500
    done.clear()
    side_by_side(3, [partial(done.append, number) for number in range(5)])
    assert sorted(done) == [0, 1, 2, 3, 4]
    side_by_side(0, [partial(done.append, 5)])
    assert done[-1] == 5


@contextmanager
def script_at_work(folder: Path, end: str, prepare: str = "") -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """A script whose command has hours to go, and that command's process; the script is killed in the end."""
    code = (
        f"import signal, sys; {prepare}sys.path[:0] = sys.argv[1:3]; "
        "from pathlib import Path; from one_command import command, deadline; "
        f"command(Path(sys.argv[3]), 'sample', 'raw', '--dataset', 'ssv2', '--videos', '100000', end={end})"
    )
    script = subprocess.Popen([sys.executable, "-c", code, str(ROOT), str(ROOT / "benchmarks"), str(folder)])
    try:
        child = wait_for(lambda: children(script.pid))[0]
        wait_for(lambda: b"100000" in words_of(child))
        yield script, child
    finally:
        script.kill()
        script.wait()


def test_a_killed_script_takes_its_command_with_it(tmp_path: Path) -> None:
    with script_at_work(tmp_path, "None") as (_, child):
        pass
    wait_for(lambda: not words_of(child))


def test_ctrl_c_ends_a_script_whose_minutes_are_far_from_over(tmp_path: Path) -> None:
    heeded = "signal.signal(signal.SIGINT, signal.default_int_handler); "  # also where the tests run in the background
    with script_at_work(tmp_path, "deadline(60)", heeded) as (script, child):
        script.send_signal(signal.SIGINT)
        assert script.wait(timeout=60) != 0
    wait_for(lambda: not words_of(child))


def words_of(pid: int) -> bytes:
    """Command line of a process; empty once it has ended."""
    path = Path(f"/proc/{pid}/cmdline")
    return path.read_bytes() if path.exists() else b""


def children(pid: int) -> list[int]:
    path = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(number) for number in path.read_text().split()] if path.exists() else []


def wait_for(found: Callable[[], Any]) -> Any:
    for _ in range(1200):
        if value := found():
            return value
        time.sleep(0.05)
    raise AssertionError("waited a minute in vain")


def record(folder: Path, status: Literal["running", "finished"] = "finished", **config: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    write_record(folder, RunRecord(kind="finetune", method="m", seed=0, preset="tiny", status=status, config=config))
    return folder


def test_a_run_is_kept_when_it_was_finished_and_a_line_is_made_alike(tmp_path: Path) -> None:
    running, one = record(tmp_path / "a", "running"), record(tmp_path / "b", explore=True, training={"threads": 1})
    assert not kept_record.is_kept(running, ["run.json"])
    assert kept_record.is_kept(one, ["run.json"])
    assert not kept_record.is_kept(one, ["run.json", "evaluations.jsonl"])
    two = record(tmp_path / "c", explore=True, training={"threads": 4})
    kept_record.check_alike([one, two])
    with pytest.raises(SystemExit, match="explore: True → False"):
        kept_record.check_alike([one, two, record(tmp_path / "d", explore=False, training={"threads": 1})])


def test_published_curves_are_averaged_run_by_run_over_the_frames_of_a_score(tmp_path: Path) -> None:
    rows = [(1, 18_000, 900.0), (1, 20_000, 10.0), (2, 20_000, 30.0), (2, 28_000, 50.0), (2, 30_000, 900.0)]
    lines = [f"{i},DrQ-v2,walker_walk,{seed},{frame},{score},0.1" for i, (seed, frame, score) in enumerate(rows)]
    path = tmp_path / "dmc_walker_walk.csv"
    path.write_text("\n".join([",agent,task,seed,frame,episode_reward,hour", *lines]))
    assert public_curves.published(path) == [10.0, 40.0]


def test_the_public_curves_need_five_seeds_of_the_tasks_that_no_other_experiment_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(public_curves, "RESULTS", tmp_path)
    assert len(public_curves.remaining()) == 10
    kept = tmp_path / "runs" / "dmc" / "walker_walk" / "dreamerv2" / "seed0"
    record(kept)
    (kept / "evaluations.jsonl").write_text("")
    assert ("dmc/walker_walk", 0) not in public_curves.remaining()
    assert len(public_curves.remaining()) == 9
