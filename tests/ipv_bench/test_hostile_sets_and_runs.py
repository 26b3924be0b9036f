"""Shard sets and run records made by somebody hostile: every field that names something, and every number."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ipv_bench.cli import run
from ipv_bench.errors import IpvBenchError, RunError, ShardSetError
from ipv_bench.file_names import shown
from ipv_bench.run_record import RunRecord, check_same_config, read_record, run_folder, write_record
from ipv_bench.segments import open_segments
from ipv_bench.shard_set import file_sha256, read_manifest
from ipv_bench.tracing import set_links
from tests.hostile_files import HOSTILE_ARRAYS, HOSTILE_JSON, HOSTILE_NAMES
from tests.shard_set_maker import Video, make_shard_set


@pytest.fixture
def shard_set(tmp_path: Path) -> Path:
    return make_shard_set(tmp_path / "set", [Video("a", 30), Video("b", 40)])


def rewrite(folder: Path, **changes: object) -> None:
    """Change the manifest as somebody would who wants it to be believed: its checksum fits."""
    values = json.loads((folder / "manifest.json").read_text()) | changes

    def text(checksum: str) -> bytes:
        return (
            json.dumps(values | {"checksum": checksum}, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
        ).encode()

    (folder / "manifest.json").write_bytes(text(hashlib.sha256(text("")).hexdigest()))


def believed(folder: Path, file: str) -> None:
    """Make the manifest believe a changed table."""
    tables = json.loads((folder / "manifest.json").read_text())["tables"]
    rewrite(folder, tables=tables | {file: file_sha256(folder / file)})


TEXT_NAMES = [name for name in HOSTILE_NAMES if isinstance(name, str) and name != "\ud800"]


@pytest.mark.parametrize("field", ["name", "shard", "table"])
@pytest.mark.parametrize("name", TEXT_NAMES, ids=lambda name: shown(name, 20))
def test_a_manifest_names_files_by_names(shard_set: Path, field: str, name: str) -> None:
    values = json.loads((shard_set / "manifest.json").read_text())
    changes = {
        "name": {"name": name},
        "shard": {"shards": [values["shards"][0] | {"file": name}]},
        "table": {"tables": values["tables"] | {name: "0" * 64}},
    }
    rewrite(shard_set, **changes[field])
    with pytest.raises(ShardSetError, match=r"manifest\.json: (name|shards\.0\.file|tables\.)"):
        read_manifest(shard_set)
    with pytest.raises(ShardSetError, match=r"manifest\.json"):
        open_segments(shard_set, 25, 0)


def test_verify_lists_a_hostile_manifest_as_a_finding(shard_set: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rewrite(shard_set, name="../../evil")
    assert run(["verify", str(shard_set)]) == 4
    assert "'../../evil' is no name" in capsys.readouterr().out


@pytest.mark.parametrize("kind", HOSTILE_JSON)
def test_hostile_json_in_a_manifest(shard_set: Path, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    (shard_set / "manifest.json").write_text(HOSTILE_JSON[kind])
    assert run(["inspect", str(shard_set)]) == 2
    assert "manifest.json" in capsys.readouterr().err
    assert run(["verify", str(shard_set)]) == 4


@pytest.mark.parametrize("values", ["null", "[]", "3", '"x"', "{}", '{"format": 1, "shards": null, "name": []}'])
def test_a_manifest_of_another_kind(shard_set: Path, values: str) -> None:
    (shard_set / "manifest.json").write_text(values)
    with pytest.raises(ShardSetError, match=r"manifest\.json"):
        read_manifest(shard_set)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("shard", -1), ("shard", 9), ("clip_index", -1), ("num_frames", 0), ("num_frames", -5), ("height", 0),
        ("width", 10**6), ("stream_offset", -1), ("stream_size", 0), ("frames_start", -1), ("frames_start", 10**9),
    ],
)  # fmt: skip
def test_an_index_whose_numbers_lead_nowhere(shard_set: Path, column: str, value: int) -> None:
    path = shard_set / "samples.parquet"
    table = pq.read_table(path)
    values = table[column].to_pylist()
    values[0] = value
    place = table.schema.get_field_index(column)
    pq.write_table(
        table.set_column(place, table.schema.field(column), pa.array(values, table.schema.types[place])), path
    )
    believed(shard_set, "samples.parquet")
    with pytest.raises(ShardSetError, match=r"samples\.parquet row 0|frame offsets|offsets"):
        open_segments(shard_set, 25, 0)[0]


def test_frame_offsets_that_do_not_divide_the_stream(shard_set: Path) -> None:
    offsets = np.load(shard_set / "frames.npy")
    for changed in (offsets[::-1].copy(), np.full_like(offsets, 2**32 - 1), np.zeros_like(offsets)):
        np.save(shard_set / "frames.npy", changed)
        with pytest.raises(ShardSetError, match="do not divide its stream"):
            open_segments(shard_set, 25, 0)[0]
    np.save(shard_set / "frames.npy", offsets.astype(np.float64))
    with pytest.raises(ShardSetError, match="float64 offsets"):
        open_segments(shard_set, 25, 0)


@pytest.mark.parametrize("kind", HOSTILE_ARRAYS)
def test_frame_offsets_that_are_none(shard_set: Path, kind: str) -> None:
    (shard_set / "frames.npy").write_bytes(HOSTILE_ARRAYS[kind])
    with pytest.raises(ShardSetError, match=r"frames\.npy"):
        open_segments(shard_set, 25, 0)


def test_links_out_of_a_set_are_refused(shard_set: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shard = shard_set / "numbers-000000.tar"
    (shard_set.parent / "elsewhere.tar").write_bytes(shard.read_bytes())
    shard.unlink()
    shard.symlink_to("../elsewhere.tar")
    with pytest.raises(ShardSetError, match="leads out of its folder"):
        open_segments(shard_set, 25, 0)[0]
    assert run(["verify", str(shard_set)]) == 4
    assert "it is a link" in capsys.readouterr().out


NAMESPACED = "a/b"
"""Two folders in a row: right for a task alone, whose environment may have a namespace (`ALE/Pong-v5`)."""


def record(**changes: object) -> RunRecord:
    values = {"kind": "pretrain", "method": "apv", "seed": 0, "preset": "tiny", "config": {}}
    return RunRecord.model_validate(values | changes)


@pytest.mark.parametrize("name", [n for n in TEXT_NAMES if n not in ("a.b.c", "a.", "")], ids=lambda n: shown(n, 20))
def test_no_run_lands_outside_its_folder(name: str) -> None:
    hostile = [
        record(pretraining={"data": [name]}),
        record(method=name),
        record(variant=name) if name not in (".", "..", ".hidden") else record(method=name),
        record(kind="finetune", suite=name, task="a"),
        *([] if name == NAMESPACED else [record(kind="finetune", suite="a", task=name)]),
    ]
    for value in hostile:
        with pytest.raises(RunError, match="the run's"):
            run_folder("runs", value)


def test_a_tasks_namespace_is_a_folder_and_leads_nowhere_else() -> None:
    found = run_folder("runs", record(kind="finetune", suite="gym", task="ALE/Pong-v5"))
    assert found == Path("runs/gym/ALE/Pong-v5/apv/seed0")
    for task in ("ALE/../Pong-v5", "../Pong-v5", "/Pong-v5", "ALE//Pong-v5", "ALE/"):
        with pytest.raises(RunError, match="the run's task"):
            run_folder("runs", record(kind="finetune", suite="gym", task=task))


def test_credentials_never_reach_a_run_record(tmp_path: Path) -> None:
    address = "https://me:secret@host/set?sig=secret"
    raw = record(
        config={"data": {"sets": [address]}},
        overrides={"data.sets": [address]},
        shard_sets=[{"name": "x", "path": address}],
        status="failed",
        failure=f"{address}/manifest.json cannot be read",
    )
    write_record(tmp_path, raw)
    assert "secret" not in (tmp_path / "run.json").read_text()
    assert read_record(tmp_path).config == {"data": {"sets": ["https://host/set"]}}
    check_same_config(tmp_path, raw)  # the command that goes on names the address in full


def test_run_folders_of_ours_are_as_before() -> None:
    values = record(pretraining={"data": ["ssv2", "ego4d"]}, variant="context.fusion=concat,init=none")
    assert run_folder("runs", values) == Path("runs/pretrain/ssv2+ego4d/apv@context.fusion=concat,init=none/seed0")


@pytest.mark.parametrize("kind", HOSTILE_JSON)
def test_hostile_json_in_a_run_record(tmp_path: Path, kind: str) -> None:
    (tmp_path / "run.json").write_text(HOSTILE_JSON[kind])
    with pytest.raises(RunError, match=r"run\.json"):
        read_record(tmp_path)


@pytest.mark.parametrize("values", ["null", "[]", "{}", '{"kind": "pretrain", "method": null}'])
def test_a_run_record_of_another_kind(tmp_path: Path, values: str) -> None:
    (tmp_path / "run.json").write_text(values)
    with pytest.raises(RunError, match=r"run\.json"):
        read_record(tmp_path)
    good = record().model_dump() | {"pretraining": {"data": "ssv2"}}
    (tmp_path / "run.json").write_text(json.dumps(good))
    with pytest.raises(RunError, match="data must be a list of data set names"):
        read_record(tmp_path)


def test_a_command_that_starts_another_imports_nothing_from_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "click.py").write_text("open('ran', 'w')\n")
    monkeypatch.chdir(tmp_path)
    found = set_links._verify(tmp_path / "set")
    assert isinstance(found, IpvBenchError)
    assert "set" in str(found)
    assert not (tmp_path / "ran").exists()


def test_every_process_of_ours_leaves_the_current_folder_out() -> None:
    root = Path(__file__).parents[2]
    files = [path for room in ("ipv_bench", "pipelines", "models", "reports") for path in (root / room).rglob("*.py")]
    started = re.compile(r'sys\.executable,\s*"(-[A-Za-z]+)"')
    assert {option for path in files for option in started.findall(path.read_text())} == {"-P", "-I"}
