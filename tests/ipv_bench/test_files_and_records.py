"""Files that are complete or absent, run records, logs, and seeds."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ipv_bench import atomic_file, run_record, seeding, shard_set
from ipv_bench.errors import OutputError, RunError, ShardSetError, UnknownNameError
from ipv_bench.run_lock import run_lock


def test_a_write_that_fails_leaves_the_old_file_and_no_temporary_one(tmp_path: Path) -> None:
    target = tmp_path / "a" / "value.json"
    atomic_file.write_json(target, {"b": 1, "a": 2})
    before = target.read_bytes()
    with pytest.raises(ZeroDivisionError), atomic_file.atomic_writer(target) as file:
        file.write(b"half")
        raise ZeroDivisionError
    assert target.read_bytes() == before
    assert os.listdir(target.parent) == ["value.json"]


@pytest.mark.parametrize(("number", "words"), [(errno.ENOSPC, "disk is full"), (errno.EROFS, "cannot write")])
def test_a_full_or_read_only_disk_is_an_output_error(tmp_path: Path, number: int, words: str) -> None:
    with pytest.raises(OutputError, match=words), atomic_file.atomic_writer(tmp_path / "x") as file:
        file.write(b"half")
        raise OSError(number, os.strerror(number))
    assert os.listdir(tmp_path) == []


def test_a_device_without_room_is_an_output_error() -> None:
    with pytest.raises(OutputError, match="disk is full"), atomic_file.disk_errors("/dev/full"):
        with open("/dev/full", "wb", buffering=0) as file:
            file.write(b"x")


HOLDER = """
import sys, time
from pathlib import Path
from ipv_bench.run_lock import run_lock
with run_lock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(3600)
"""


def test_a_run_folder_is_held_by_one_process_until_that_ends_however_it_ends(tmp_path: Path) -> None:
    folder = tmp_path / "seed0"
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(folder)], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(RunError, match="another process is training") as caught, run_lock(folder):
            pass
        assert "--run" in str(caught.value)
        assert caught.value.exit_status == 2
        with run_lock(tmp_path / "seed1"):
            pass
    finally:
        holder.kill()
        holder.wait()
    with run_lock(folder):
        pass
    with run_lock(folder):
        assert os.listdir(folder) == []


def make_record(**changes: object) -> run_record.RunRecord:
    values = {"kind": "finetune", "method": "apv", "seed": 3, "suite": "dmc", "task": "cartpole_balance"}
    return run_record.RunRecord(**(values | {"preset": "tiny", "config": {"a": {"b": 1}}} | changes))


def test_a_run_that_went_on_on_another_machine_names_both_renderers(tmp_path: Path) -> None:
    run_record.write_record(tmp_path, make_record(hardware={"cpu": "x"}))
    assert run_record.note_renderers(tmp_path, []).renderers == []
    for names in (["Mesa"], ["Mesa"], ["a card", "Mesa", "a card"]):
        noted = run_record.note_renderers(tmp_path, names)
    assert run_record.read_record(tmp_path) == noted
    assert noted.hardware == {"cpu": "x", "renderers": ["Mesa", "a card"]}
    assert run_record.renderers_of({"renderers": ["Mesa", 3, ""]}) == ["Mesa"]  # somebody else's record


def test_a_record_comes_back_as_written_and_says_where_it_belongs(tmp_path: Path) -> None:
    record = make_record(variant="context.fusion=concat")
    run_record.write_record(tmp_path, record)
    assert run_record.read_record(tmp_path) == record
    folder = run_record.run_folder("runs", record)
    assert folder == Path("runs/dmc/cartpole_balance/apv@context.fusion=concat/seed3")
    pretraining = make_record(kind="pretrain", pretraining={"data": ["ssv2", "human36m"]})
    assert run_record.run_folder("runs", pretraining) == Path("runs/pretrain/ssv2+human36m/apv/seed3")


def test_another_config_in_the_same_folder_is_refused_with_the_difference(tmp_path: Path) -> None:
    run_record.write_record(tmp_path, make_record())
    run_record.check_same_config(tmp_path, make_record())
    with pytest.raises(RunError, match="a.b: 1 → 2"):
        run_record.check_same_config(tmp_path, make_record(config={"a": {"b": 2}}))
    run_record.check_same_config(tmp_path, make_record(config={"a": {"b": 2}}), ignore=("a.b",))


def test_a_run_goes_on_after_an_update_that_brought_fields_which_change_nothing(tmp_path: Path) -> None:
    run_record.write_record(tmp_path, make_record(config={"data": {"flip": False}}))
    later = {"data": {"flip": False, "crop": None, "every_frames": 1}, "training": {"cuda_graph": False}}
    run_record.check_same_config(tmp_path, make_record(config=later))
    with pytest.raises(RunError, match=r"config\.data\.every_frames: 1 → 2\n"):
        run_record.check_same_config(tmp_path, make_record(config=later | {"data": {"flip": False, "every_frames": 2}}))
    with pytest.raises(RunError, match=r"config\.data\.new: '\(absent\)' → 1\n"):
        run_record.check_same_config(tmp_path, make_record(config={"data": {"flip": False, "new": 1}}))


@pytest.mark.parametrize("text", ["", "{", '{"format": 1}', '{"format": 99}', "[]"])
def test_a_damaged_or_newer_record_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(RunError) as caught:
        run_record.read_record(tmp_path)
    assert caught.value.expected
    assert caught.value.fix
    with pytest.raises(RunError, match=r"has no run\.json\n.*the folder of a run\n.*`pretrain`, `adapt`, `finetune`"):
        run_record.read_record(tmp_path / "absent")


def test_a_log_can_be_cut_back_to_a_checkpoint(tmp_path: Path) -> None:
    log = run_record.JsonlLog(tmp_path / "metrics.jsonl")
    log.append({"updates": 1, "loss": 0.5})
    size = log.size_bytes()
    log.append({"updates": 2, "loss": float("nan")})
    assert list(run_record.read_jsonl(log.path))[1] == {"updates": 2, "loss": None}
    cut = log.cut(size)
    assert (cut.dropped, cut.missing_bytes, cut.loss) == (1, 0, "")
    log.append({"updates": 2, "loss": 0.25})
    log.close()
    assert [line["loss"] for line in run_record.read_jsonl(log.path)] == [0.5, 0.25]


@pytest.mark.parametrize(
    ("text", "kept"),
    [("", []), ('{"n": 1}\n', [1]), ('{"n": 1}\n{"n"', [1]), ('{"n": 1}\n{"n": 2, "changed": true}\n', [1])],
)
def test_a_log_that_is_not_what_the_checkpoint_knows_keeps_its_whole_lines(
    tmp_path: Path, text: str, kept: list[int]
) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text(text)
    log = run_record.JsonlLog(path)
    cut = log.cut(18)  # two lines of nine bytes
    assert cut.missing_bytes == 18 - 9 * len(kept)
    assert cut.loss == f"metrics.jsonl lacks {cut.missing_bytes} of the bytes that the checkpoint knows"
    log.append({"n": 3})
    log.close()
    assert [line["n"] for line in run_record.read_jsonl(path)] == [*kept, 3]
    assert b"\0" not in path.read_bytes()


def test_a_long_line_before_the_cut_is_found(tmp_path: Path) -> None:
    log = run_record.JsonlLog(tmp_path / "log.jsonl")
    log.append({"n": 1})
    log.append({"n": "x" * 200_000})
    size = log.size_bytes()
    os.truncate(log.path, size - 1)
    assert log.cut(size).missing_bytes == size - 9
    log.close()
    assert [line["n"] for line in run_record.read_jsonl(log.path)] == [1]


def test_what_a_killed_writer_left_goes_at_the_next_write_and_that_of_a_living_one_stays(tmp_path: Path) -> None:
    left = tmp_path / ".table.parquet.999.tmp"
    others = [tmp_path / name for name in (".table.parquet.x.tmp", ".other.999.tmp", ".table.parquet.999.tmp.bak")]
    for path in (left, *others):
        path.write_text("half")
    alive = tmp_path / ".table.parquet.998.tmp"
    with open(alive, "wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        atomic_file.write_bytes(tmp_path / "table.parquet", b"whole")
        assert alive.exists()
    assert not left.exists()
    assert all(path.exists() for path in others)
    atomic_file.write_bytes(tmp_path / "table.parquet", b"whole")
    assert not alive.exists()
    assert (tmp_path / "table.parquet").read_bytes() == b"whole"


def test_a_line_cut_off_at_the_end_is_left_out_and_one_in_the_middle_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text('{"a": 1}\n{"a": 2}\n{"a"')
    assert [line["a"] for line in run_record.read_jsonl(path)] == [1, 2]
    path.write_text('{"a": 1}\n{"a"\n{"a": 3}\n')
    with pytest.raises(RunError, match="line 2"):
        list(run_record.read_jsonl(path))


def test_long_variant_names_stay_unique_and_safe() -> None:
    first = run_record.variant_name({f"section.key{i}": i for i in range(30)})
    second = run_record.variant_name({f"section.key{i}": i + 1 for i in range(30)})
    assert first != second
    assert len(first) <= 100
    assert run_record.variant_name({"a": "x/y z"}) == "a=x_y_z"
    assert run_record.variant_name({"training.device": "cpu"}, ignore=("training",)) == ""


def test_seeds_depend_on_every_part_and_on_nothing_else() -> None:
    seeds = {seeding.derive_seed(s, i, p) for s in range(3) for i in range(3) for p in ("latents", "context")}
    assert len(seeds) == 18
    first = seeding.numpy_generator(1, 2, "mask").random(4)
    assert np.array_equal(first, seeding.numpy_generator(1, 2, "mask").random(4))


def test_keys_of_ids_that_differ_only_after_a_dot_differ() -> None:
    ids = ["v.1", "v.2", "v_2e1", "folder/ü b", "x" * 120, "x" * 120 + "y"]
    keys = shard_set.sample_keys(ids)
    assert len(set(keys)) == len(ids)
    assert all(map(shard_set.is_key, keys))
    assert keys[1] == "v_2e2"
    assert keys[3] == "folder_2f_c3_bc_20b"


@pytest.mark.parametrize("text", ["{", '{"format": 2}', '{"format": 1}'])
def test_a_damaged_or_newer_manifest_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ShardSetError, match=r"manifest\.json"):
        shard_set.read_manifest(tmp_path)
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(ShardSetError) as caught:
        shard_set.read_manifest(tmp_path)
    assert caught.value.expected
    assert "ipv-bench" in caught.value.fix


def test_errors_cross_processes_with_all_their_parts() -> None:
    error = OutputError("found this", expected="that", fix="do so")
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.exit_status) == (str(error), 2)
    assert "did you mean 'human36m'?" in str(
        pickle.loads(pickle.dumps(UnknownNameError("set", "humn36m", ["human36m"])))
    )
    assert json.dumps(str(error))


def test_two_writers_of_one_file_do_not_meet(tmp_path: Path) -> None:
    """Their processes may have one number: in two containers that share a folder."""
    path = tmp_path / "cache.tar"
    with atomic_file.atomic_writer(path) as slow:
        slow.write(b"slow" * 1000)
        atomic_file.write_bytes(path, b"fast")
        assert path.read_bytes() == b"fast"
    assert path.read_bytes() == b"slow" * 1000
    assert list(tmp_path.iterdir()) == [path]
