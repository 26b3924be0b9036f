"""Interrupted jobs: kill -9 at any moment, then the same command gives the bytes of an uninterrupted run."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from ipv_bench.errors import OutputError, ShardSetError, SourceError
from ipv_bench.shard_set import LOG_FILE, MANIFEST_FILE
from pipelines.jobs.ray_executor import _check_folders
from pipelines.jobs.resume import look_at
from pipelines.prepare import Job, plan_job
from pipelines.shards.plan import Plan
from tests.failing_disk import fail
from tests.pipelines.held_job import Hold
from tests.pipelines.ssv2_maker import (
    VIDEO_FOLDER,
    file_hashes,
    numbered_pictures,
    prepare,
    quarantine,
    write_lists,
    write_video,
)

NUM_KILLS = int(os.environ.get("IPV_BENCH_KILLS", "5"))


def command(source: Path, out: Path, *options: str) -> list[str]:
    start = [sys.executable, "-m", "ipv_bench", "prepare", "ssv2", "--quiet", "--workers", "2"]
    return [*start, "--source", str(source), "--out", str(out), *options]


def finished(out: Path) -> int:
    return len(list(out.glob("ssv2-*.json")))


def planned(source: Path, out: Path) -> Plan:
    return plan_job(Job("ssv2", source, out))[1]


def job_events(lines: Iterable[str]) -> list[str]:
    """The jobs in a log, which also notes where the source is, and the times of its files."""
    events = [json.loads(line)["event"] for line in lines]
    return [event for event in events if not event.startswith("source_")]


def test_kill_9_at_random_moments(release: Path, tmp_path: Path) -> None:
    options = ("--set", "shard_videos=1")
    assert prepare(release, tmp_path / "whole", *options) == 0
    out, generator = tmp_path / "killed", random.Random(1)
    num_shards = finished(tmp_path / "whole")
    for kill in range(NUM_KILLS):
        process = subprocess.Popen(command(release, out, *options), start_new_session=True)
        wanted = min(finished(out) + generator.choice((0, 1, 2)), num_shards)
        while process.poll() is None and finished(out) < wanted:
            time.sleep(0.002)
        if not wanted:  # during start-up
            time.sleep(generator.uniform(0, 1.0))
        time.sleep(generator.uniform(0, 0.05))
        kept = {path.name: path.stat().st_mtime_ns for path in out.glob("*.tar")} if out.exists() else {}
        process.kill()
        process.wait()
        with_sidecar = {name: time for name, time in kept.items() if (out / name.replace(".tar", ".json")).exists()}
        assert all((out / name).stat().st_mtime_ns == time for name, time in with_sidecar.items()), kill
    times = {path.name: path.stat().st_mtime_ns for path in out.glob("*.json") if path.name != MANIFEST_FILE}
    assert prepare(release, out, *options) == 0
    assert file_hashes(out) == file_hashes(tmp_path / "whole")
    assert all((out / name).stat().st_mtime_ns == time for name, time in times.items()), "finished shards were redone"


def test_ctrl_c_ends_with_130_and_the_same_command_goes_on(release: Path, tmp_path: Path) -> None:
    options, out = ("--set", "shard_videos=1"), tmp_path / "out"
    process = Hold(tmp_path / "hold").start(command(release, out, *options))
    process.send_signal(signal.SIGINT)
    _, text = process.communicate()
    assert process.returncode == 130, text
    assert "same command" in text
    assert not list(out.glob(".*.tmp"))
    assert prepare(release, out, *options) == 0
    assert (out / MANIFEST_FILE).exists()


def test_what_a_killed_job_left_of_its_tables_goes_at_the_next_run(
    release: Path, prepared: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    shutil.copytree(prepared, out)
    for name in ("sources.parquet", "samples.parquet", "frames.npy", "quarantine.jsonl", "manifest.json"):
        (out / f".{name}.123.tmp").write_text("half")
    (out / ".ssv2-000000.tar.part-0123.tmp").write_text("half")
    (out / ".extracted" / "videos").mkdir(parents=True)
    (out / LOG_FILE).write_bytes((out / LOG_FILE).read_bytes() + b'{"event": "st')
    others = out / ".mine.tmp"
    others.write_text("the user's own")
    assert prepare(release, out) == 0
    others.unlink()
    assert file_hashes(out) == file_hashes(prepared)
    assert not (out / ".extracted").exists()
    (out / MANIFEST_FILE).unlink()
    assert prepare(release, out) == 0
    whole = [line for line in (out / LOG_FILE).read_text().splitlines() if line.endswith("}")]
    assert job_events(whole) == ["start", "end"] * 2


def test_a_manifest_of_a_newer_format_stays_and_a_damaged_one_is_made_anew(
    release: Path, prepared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    shutil.copytree(prepared, out)
    values = json.loads((out / MANIFEST_FILE).read_text())
    newer = json.dumps({**values, "format": values["format"] + 1, "shards": "told otherwise"})
    (out / MANIFEST_FILE).write_text(newer)
    assert prepare(release, out) == 2
    assert f"expected: format {values['format']}" in capsys.readouterr().err
    assert (out / MANIFEST_FILE).read_text() == newer
    for damaged in (json.dumps({**values, "format": "new"}), "[]", '{"format": 1, "sha'):
        (out / MANIFEST_FILE).write_text(damaged)
        assert prepare(release, out) == 0
        assert file_hashes(out) == file_hashes(prepared)


def test_another_plan_is_refused_with_the_difference(
    release: Path, prepared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    shutil.copytree(prepared, out)
    assert prepare(release, out, "--set", "jpeg_quality=80") == 2
    assert "jpeg_quality: 95 → 80" in capsys.readouterr().err
    assert prepare(release, out, "--profile", "official-code") == 2
    assert "profile: 'paper' → 'official-code'" in capsys.readouterr().err
    (out / MANIFEST_FILE).unlink()  # an unfinished set is protected as well
    assert prepare(release, out, "--set", "jpeg_quality=80") == 2
    assert file_hashes(prepared).items() >= file_hashes(out).items()


def test_the_folder_of_another_data_set_is_refused(
    prepared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    shutil.copytree(prepared, out)
    write_video(tmp_path / "videos" / "a.webm", numbered_pictures(5))
    assert prepare(tmp_path / "videos", out, name="folder") == 2
    assert "data_set: 'ssv2' → 'folder'" in capsys.readouterr().err


def test_a_changed_release_is_refused(release: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, out = tmp_path / "raw", tmp_path / "out"
    shutil.copytree(release, source)
    assert prepare(source, out) == 0
    write_video(source / VIDEO_FOLDER / "1000.webm", numbered_pictures(39))
    assert prepare(source, out) == 2
    assert "made from other source items" in capsys.readouterr().err


def test_two_jobs_cannot_write_to_one_folder(release: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, hold = tmp_path / "out", Hold(tmp_path / "hold")
    process = hold.start(command(release, out))
    status = prepare(release, out)
    hold.release()
    assert process.wait() == 0
    assert status == 2
    message = capsys.readouterr().err
    assert "another `prepare` is writing" in message
    assert "one at a time in a folder\n  to do:    wait for it, or choose another --out" in message


def test_a_node_that_does_not_see_a_folder_says_what_to_do(release: Path, tmp_path: Path) -> None:
    task = planned(release, tmp_path / "out").tasks[0]
    with pytest.raises(OutputError, match="does not see") as out:
        _check_folders(task)
    with pytest.raises(SourceError, match="does not see") as source:
        _check_folders(replace(task, source=tmp_path / "away"))
    for caught in (out.value, source.value):
        assert "a folder that all nodes share" in caught.expected
        assert "mount it on that node" in caught.fix


def test_retry_failed_takes_replaced_files_and_gives_the_bytes_of_a_fresh_run(release: Path, tmp_path: Path) -> None:
    source, out = tmp_path / "raw", tmp_path / "out"
    shutil.copytree(release, source)
    broken = source / VIDEO_FOLDER / "1003.webm"
    good = broken.read_bytes()
    broken.write_bytes(good[: len(good) // 2])
    assert prepare(source, out) == 0
    assert quarantine(out)["1003"]["reason"] == "truncated"
    assert quarantine(out)["1003"]["deterministic"] is True
    others = {path.name: path.stat().st_mtime_ns for path in out.glob("*.tar")}
    broken.write_bytes(good)
    assert prepare(source, out, "--retry-failed", "timeout") == 0  # a changed file is tried whatever its reason was
    assert not quarantine(out)
    changed = [name for name, time in others.items() if (out / name).stat().st_mtime_ns != time]
    assert changed == ["ssv2-000000.tar"]
    assert prepare(source, tmp_path / "fresh") == 0
    assert file_hashes(out) == file_hashes(tmp_path / "fresh")


def test_retry_failed_with_an_unknown_reason_names_the_nearest(
    release: Path, prepared: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert prepare(release, prepared, "--retry-failed", "truncate") == 2
    assert "did you mean 'truncated'" in capsys.readouterr().err


def test_a_set_is_not_completed_by_other_versions(
    release: Path, prepared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    shutil.copytree(prepared, out)
    (out / MANIFEST_FILE).unlink()
    (out / "ssv2-000001.tar").unlink()
    sidecar = out / "ssv2-000000.json"
    values = json.loads(sidecar.read_text())
    values["versions"]["av"] = "17.0.0"
    sidecar.write_text(json.dumps(values))
    assert prepare(release, out) == 2
    assert "av: '17.0.0' → " in capsys.readouterr().err


def test_the_log_says_when_and_where_and_is_no_part_of_the_identity(prepared: Path) -> None:
    lines = [json.loads(line) for line in (prepared / LOG_FILE).read_text().splitlines()]
    assert job_events((prepared / LOG_FILE).read_text().splitlines())[:2] == ["start", "end"]
    assert next(line for line in lines if line["event"] == "start")["workers"] == 1


def test_a_release_that_grew_is_refused_wherever_the_new_items_stand(
    release: Path, prepared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Behind the others a new item would have gone to a shard of its own, in front of them it moves every shard."""
    source, out = tmp_path / "raw", tmp_path / "out"
    for added in ("1012", "0999"):
        shutil.copytree(release, source)
        shutil.copytree(prepared, out)
        shutil.copy(source / VIDEO_FOLDER / "1000.webm", source / VIDEO_FOLDER / f"{added}.webm")
        write_lists(source, [*(str(1000 + number) for number in range(12)), added])
        before = file_hashes(out)
        assert prepare(source, out) == 2
        message = capsys.readouterr().err
        assert "begun with 13 source items, the release has 14 now" in message
        assert f"new: {added}" in message
        assert file_hashes(out) == before
        (out / MANIFEST_FILE).unlink()  # as if it had been interrupted
        assert prepare(source, out) == 2
        assert "the release has 14 now" in capsys.readouterr().err
        shutil.rmtree(source)
        shutil.rmtree(out)


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("", "listed"), ("manifest.json", "looked at"), ("manifest.json", "opened"), ("ssv2-000000.json", "opened"),
        ("ssv2-000000.tar", "looked at"), ("ssv2-000000.tar", "opened"), ("frames.npy", "opened"),
    ],
)  # fmt: skip
def test_a_disk_that_answers_with_errors_makes_nothing_anew(
    release: Path, prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, what: str
) -> None:
    """A finished shard that cannot be read at this moment was taken for a damaged one."""
    out = tmp_path / "out"
    shutil.copytree(prepared, out)
    plan = planned(release, out)
    assert look_at(plan, out, None).complete
    before = file_hashes(out)
    with monkeypatch.context() as patch:
        fail(patch, out / name, what=(what,))
        with pytest.raises(ShardSetError, match="cannot be read: Input/output error") as caught:
            look_at(plan, out, None)
    assert (caught.value.expected, caught.value.fix[:14]) == ("a disk that can be read", "check the disk")
    assert file_hashes(out) == before
