"""`trace`: a real chain from a figure to the videos holds, and every way of breaking it is found and named."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ipv_bench.cli import run
from ipv_bench.errors import InputError
from ipv_bench.run_record import read_record, write_record
from ipv_bench.shard_set import read_manifest
from ipv_bench.tracing import set_links
from ipv_bench.tracing.link import Link, all_links, broken_links
from ipv_bench.tracing.places import Place, find
from ipv_bench.tracing.start import trace
from pipelines.samples.drawing import texture
from pipelines.samples.encode_video import write_h264
from tests.models.finetuning.finetune_runs import SMALL as SMALL_FINETUNING
from tests.models.finetuning.finetune_runs import command_line
from tests.models.pretraining.small_pretraining import arguments

MODEL = "runs/pretrain/folder/contextwm/seed0"
AGENT = "runs/dmc/cartpole_balance/contextwm/seed0"
FIGURE = "report/figures/curves_dmc.svg"
SHARED = ("encoder", "decoder", "context", "rssm")


def sizes(values: dict[str, Any]) -> dict[str, Any]:
    """Those of a small config that a pre-trained model and an agent on top of it share."""
    return {key: value for key, value in values.items() if key.partition(".")[0] in SHARED}


def sliding(number: int) -> Iterator[np.ndarray]:
    """Pictures of a texture that slides by."""
    wide = texture(np.random.default_rng(number), 96, 160, 5)
    return (np.ascontiguousarray(wide[:, t : t + 96]) for t in range(28 + number))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace: four drawn videos, their shards, a model, an agent, and a report of both."""
    folder, before = tmp_path_factory.mktemp("chain") / "work", Path.cwd()
    folder.mkdir()
    os.chdir(folder)
    try:
        for number in range(4):
            write_h264(Path(f"data/raw/folder/take {number}.mp4"), sliding(number), 25)
        pretraining = {
            "image.size": 64, "training.updates": 2, "training.log_every": 1, "validation.every": 0,
            **sizes(SMALL_FINETUNING),
        }  # fmt: skip
        agent = [word for value in ("training.env_steps=480", "training.pretrain_updates=1", "evaluation.every=0")
                 for word in ("--set", value)]  # fmt: skip
        for command in (
            ["prepare", "folder", "--workers", "1", "--set", "shard_videos=2"],
            arguments(
                Path("data/shards/folder"), Path(MODEL), **{k.replace(".", "__"): v for k, v in pretraining.items()}
            ),
            command_line(Path(AGENT), *agent, init=MODEL),
            ["report", "runs", "--resamples", "50"],
        ):
            assert run([*command, "--quiet"]) == 0, command
    finally:
        os.chdir(before)
    return folder


@pytest.fixture
def work(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the workspace's records without its videos and shards, which take long to check; we are in it."""
    copy = shutil.copytree(made, tmp_path / "work", ignore=shutil.ignore_patterns("data", "replay"))
    monkeypatch.chdir(copy)
    return copy


def of_kind(top: Link, kind: str) -> list[Link]:
    return [link for link in all_links(top) if link.kind == kind]


def problems(top: Link) -> str:
    return "\n".join(f"{link.kind} {link.name}: {link.problem}" for link in broken_links(top))


def flip(path: Path, place: int) -> None:
    """Change one bit, and not the size."""
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


def test_a_figure_leads_to_its_videos_and_every_link_holds(
    made: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(made)
    assert run(["trace", FIGURE, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["ok"]
    links = found["links"]
    assert {link["state"] for link in links} == {"ok"}
    by_kind = {kind: [link for link in links if link["kind"] == kind] for kind in {link["kind"] for link in links}}
    assert {kind: len(of) for kind, of in by_kind.items()} == {
        "figure": 1, "run": 2, "checkpoint": 2, "shard set": 1, "shard": 2, "source": 1
    }  # fmt: skip
    chain = [links[0]]  # the figure; then each link is made from the next one
    for kind, name in (
        ("run", AGENT),
        ("checkpoint", f"{MODEL}/checkpoints/2"),
        ("run", MODEL),
        ("shard set", "folder"),
    ):
        below = [links[number] for number in chain[-1]["made_from"]]
        chain.append(next(link for link in below if link["kind"] == kind and link["name"].endswith(name)))
    assert chain[2]["facts"]["sha256"] == read_record(AGENT).parent["checkpoint_sha256"]
    manifest = read_manifest("data/shards/folder")
    assert [shard["facts"]["sha256"] for shard in by_kind["shard"]] == [shard.sha256 for shard in manifest.shards]
    inside = {name for shard in by_kind["shard"] for name in shard["facts"]["sources"]}
    assert inside
    assert all(Path("data/raw/folder", name).exists() for name in inside)
    source = by_kind["source"][0]
    assert [source["facts"][key] for key in ("num_decoded_again", "num_equal", "not_compared")] == [2, 2, []]
    assert "2 of 2 decoded again are equal to what is stored" in source["words"]


def test_a_video_that_could_not_be_decoded_here_is_not_said_to_be_equal(made: Path, work: Path) -> None:
    """Of two that are looked at, one takes longer than this machine allows: it proves nothing, and breaks nothing."""
    (work / "data").symlink_to(made / "data")
    found = subprocess.run

    def slower(command: Sequence[str], **options: Any) -> subprocess.CompletedProcess[str]:
        done = found(command, **options)
        if "--source" in command:
            values = json.loads(done.stdout)
            values |= {"num_sources_equal": 1, "not_compared": ["a.mp4: timeout here (60 s of the processor)"]}
            done.stdout = json.dumps(values)
        return done

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(subprocess, "run", slower)
        (source,) = of_kind(trace(MODEL), "source")
    assert source.state == "ok"
    assert "1 of 2 decoded again are equal to what is stored; not compared: a.mp4: timeout here" in source.words
    assert source.facts["not_compared"] == ["a.mp4: timeout here (60 s of the processor)"]


def test_a_moved_workspace_keeps_its_chain_and_a_replaced_video_breaks_it(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    moved = shutil.copytree(made, tmp_path / "elsewhere" / "copy", ignore=shutil.ignore_patterns("replay"))
    monkeypatch.chdir(tmp_path)  # paths of the records are relative to another folder
    log = moved / "data/shards/folder/prepare_log.jsonl"
    log.write_text(log.read_text().replace(str(made), "/where/it/was/made"))
    videos = sorted(path for path in (moved / "data/raw/folder").rglob("*.mp4"))
    shutil.copyfile(videos[0], videos[1])  # another video under that name
    assert run(["trace", str(moved / FIGURE)]) == 4
    shown = capsys.readouterr()
    assert "✗ source" in shown.out
    assert str(moved / "data/raw/folder") in shown.out
    assert "restore the release" in shown.out
    assert "1 BROKEN" in shown.out
    assert f"✓ checkpoint  elsewhere/copy/{MODEL}/checkpoints/2" in shown.out
    assert "broken at source" in shown.err


def test_another_release_in_a_guessed_place_is_no_end_of_the_chain(made: Path, work: Path) -> None:
    folder = shutil.copytree(made / "data/shards", work / "data/shards") / "folder"
    raw = work / "data/raw/folder"
    raw.mkdir(parents=True)
    shutil.copyfile(next((made / "data/raw/folder").glob("*.mp4")), raw / "something else.mp4")
    log = folder / "prepare_log.jsonl"
    log.write_text(log.read_text().replace(str(made), "/mnt/unmounted"))
    top = trace(str(folder))
    assert not problems(top)
    (source,) = of_kind(top, "source")
    assert (source.state, source.name) == ("not here", "/mnt/unmounted/data/raw/folder")
    assert f"what lies in {raw} is another" in source.words
    log.write_text(log.read_text().replace("/mnt/unmounted", str(work)))  # where it lay: this is what became of it
    top = trace(str(folder))
    assert [(link.kind, link.name) for link in broken_links(top)] == [("source", str(raw))]


def test_a_log_that_names_the_whole_disk_has_none_of_it_listed(
    made: Path, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shutil.copytree(made / "data/shards", work / "data/shards") / "folder"
    log = folder / "prepare_log.jsonl"
    log.write_text(log.read_text().replace(str(made / "data/raw/folder"), "/"))
    asked: list[tuple[str, ...]] = []
    verify = set_links._verify
    monkeypatch.setattr(set_links, "_verify", lambda one, *options: (asked.append(options), verify(one, *options))[1])
    (source,) = of_kind(trace(str(folder)), "source")
    assert source.state == "broken"
    assert "none of the set's sources lies there" in str(source.problem)
    assert asked == [()]


def test_a_changed_shard_is_named(made: Path, work: Path) -> None:
    shutil.copytree(made / "data/shards", work / "data/shards")
    flip(work / "data/shards/folder/folder-000001.tar", 3000)
    top = trace(MODEL)
    assert [(link.kind, link.name) for link in broken_links(top)] == [("shard", "folder-000001.tar")]
    assert "sha256" in problems(top)
    assert "prepare" in problems(top)
    (source,) = of_kind(top, "source")
    assert source.state == "ok" or source.state == "not here"


def test_another_shard_set_in_its_place_is_no_end_of_the_chain(made: Path, work: Path) -> None:
    folder = shutil.copytree(made / "data/shards", work / "data/shards") / "folder"
    text = (folder / "manifest.json").read_text()
    (folder / "manifest.json").write_text(text.replace('"profile": "paper"', '"profile": "other"'))
    top = trace(AGENT)
    assert [link.kind for link in broken_links(top)] == ["shard set"]
    assert read_record(MODEL).shard_sets[0]["manifest_sha256"] in problems(top)
    assert not of_kind(top, "shard")


def test_what_is_not_here_is_said_and_no_error(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["trace", "curves_dmc"]) == 0  # the report's folder and its working folder are the usual ones
    shown = capsys.readouterr().out
    assert "– shard set  data/shards/folder [not here]" in shown
    assert read_record(MODEL).shard_sets[0]["manifest_sha256"][:12] in shown
    shutil.rmtree(MODEL)
    top = trace("report/curves_dmc.pdf")
    assert not problems(top)
    (agent,) = of_kind(top, "run")
    lost = agent.made_from[1]
    assert (lost.kind, lost.state) == ("checkpoint", "not here")
    assert read_record(AGENT).parent["checkpoint_sha256"] in lost.words
    assert [link.kind for link in lost.made_from] == ["shard set"]  # as the agent's record has it
    shutil.rmtree(AGENT)
    assert [(link.kind, link.state) for link in all_links(trace(FIGURE))] == [("figure", "ok"), ("run", "not here")]


def test_weights_of_another_run_in_a_run_s_folder_are_found(work: Path) -> None:
    """Whole in themselves: only the record of the run that made them tells."""
    for folder in (AGENT, MODEL):
        record = read_record(folder)
        newest = work / folder / "checkpoints" / str(record.checkpoint["step"])
        assert [link.state for link in of_kind(trace(folder), "checkpoint")] == ["ok"] * (1 + (folder == AGENT))
        index = json.loads((newest / "checkpoint.json").read_text())
        (newest / "checkpoint.json").write_text(json.dumps(index | {"of": "another run"}))
        assert f"expected: {record.checkpoint['sha256']}, that of the newest checkpoint" in problems(trace(folder))
        write_record(folder, record.model_copy(update={"checkpoint": {}}))  # a record from before it was kept
        own = next(link for link in of_kind(trace(folder), "checkpoint") if link.words.startswith("of this run"))
        assert (own.state, "names no hash of it" in own.words) == ("not recorded", True)


def test_whatever_is_changed_on_the_way_is_found(work: Path) -> None:
    def broken(path: Path, place: int, kind: str) -> None:
        data = path.read_bytes()
        flip(path, place)
        top = trace(FIGURE)
        assert kind in {link.kind for link in broken_links(top)}
        assert str(path.parent.name) in problems(top)
        assert "to do:" in problems(top)
        path.write_bytes(data)

    broken(work / FIGURE, 500, "figure")
    broken(work / AGENT / "evaluations.jsonl", 30, "run")
    broken(work / AGENT / "run.json", 30, "run")
    broken(work / MODEL / "checkpoints/2/model.safetensors", 900, "checkpoint")
    broken(work / MODEL / "checkpoints/2/checkpoint.json", 30, "checkpoint")
    assert not problems(trace(FIGURE))
    other = read_record(MODEL)
    write_record(MODEL, other.model_copy(update={"seed": 1, "checkpoint": other.checkpoint | {"sha256": "1" * 64}}))
    assert f"{MODEL}/run.json names {'1' * 64} as the run's newest checkpoint" in problems(trace(FIGURE))
    older = other.checkpoint | {"sha256": "1" * 64, "step": 3}  # of another step than the one that is kept here
    write_record(MODEL, other.model_copy(update={"checkpoint": older}))
    assert not problems(trace(FIGURE))
    write_record(MODEL, other.model_copy(update={"shard_sets": [{**other.shard_sets[0], "manifest_sha256": "0" * 64}]}))
    assert f"{MODEL} names the shard sets 000000000000" in problems(trace(FIGURE))
    (work / MODEL / "run.json").write_text("{")
    assert "run.json" in problems(trace(FIGURE))


def test_a_report_of_an_older_version_says_what_it_does_not_know(work: Path) -> None:
    record = json.loads((work / "report/report.json").read_text())
    for key in ("figures", "sha256", "made_from"):
        del record[key]
    (work / "report/report.json").write_text(json.dumps(record))
    top = trace(FIGURE)
    assert top.state == "not recorded"
    assert "older version" in top.words
    assert {Path(link.name).name for link in of_kind(top, "run")} == {"seed0"}
    assert len(of_kind(top, "run")) == 2  # both runs of the report, since nothing says which the figure shows
    assert "2 of them by their recorded place, without proof" in top.words
    assert not problems(top)
    assert [link.state for link in of_kind(trace("report"), "report")] == ["not recorded"]


def test_every_figure_of_a_report_says_what_it_shows(work: Path) -> None:
    figures = {Path(link.name).name: link for link in of_kind(trace("report"), "figure")}
    assert set(figures) == {path.stem for path in (work / "report/figures").iterdir()}
    assert all(link.state == "ok" and link.made_from for link in figures.values())
    assert [link.name for link in figures["pretraining_losses"].made_from] == [str(work.resolve() / MODEL)]
    assert [link.name for link in figures["curves_dmc"].made_from] == [str(work.resolve() / AGENT)]


def test_a_log_of_another_project_ends_the_chain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [f"ours,dmc,walker_walk,{seed},{step},{step}" for seed in range(2) for step in (0, 100)]
    Path("scores.csv").write_text("\n".join(["method,suite,task,seed,step,score", *rows]))
    assert run(["report", "scores.csv", "--resamples", "50", "--quiet"]) == 0
    top = trace("report/figures/curves_dmc.csv")
    assert [(link.kind, link.state) for link in all_links(top)] == [("figure", "ok"), ("log", "ok")]
    Path("scores.csv").write_text(Path("scores.csv").read_text().replace(",100,100", ",100,101"))
    assert "changed since the report" in problems(trace("report/figures/curves_dmc.csv"))


def test_records_of_others_are_never_trusted(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, agent = read_record(MODEL), read_record(AGENT)
    lies = {
        "path": "https://example.invalid/set?key=secret",
        "name": "folder\n✓ run  all is well",
        "manifest_sha256": 7,
    }
    write_record(MODEL, model.model_copy(update={"shard_sets": [lies, {"path": "/dev/zero"}, {"path": "a" * 5000}]}))
    assert run(["trace", MODEL]) == 0  # nothing is opened, and nothing is proved
    shown = capsys.readouterr().out
    assert "secret" not in shown
    assert "\n✓ run  all is well" not in shown
    assert shown.count("[not here]") == 3
    index = work / AGENT / "checkpoints" / "60" / "checkpoint.json"
    values = json.loads(index.read_text())
    values["files"]["../../../run.json"] = values["files"].pop("state.json")
    index.write_text(json.dumps(values))
    assert "'../../../run.json' is no file name" in problems(trace(AGENT))
    values["files"]["state.json"] = values["files"].pop("../../../run.json")
    index.write_text(json.dumps(values))
    (index.parent / "state.json").unlink()
    (index.parent / "state.json").symlink_to(work / AGENT / "run.json")
    assert "leads out of" in problems(trace(AGENT))
    write_record(MODEL, agent.model_copy(update={"parent": {**agent.parent, "run": AGENT}}))
    assert trace(MODEL)  # a circle of records ends


def test_a_report_of_others_opens_no_file_but_its_own(work: Path) -> None:
    secret = work / "secret"
    secret.write_text("nobody else knows")
    sha256 = hashlib.sha256(secret.read_bytes()).hexdigest()
    report = work / "report/report.json"
    record = json.loads(report.read_text())
    hashes = next(value for name, value in record["made_from"].items() if name.endswith(AGENT))

    def refused(name: str, named: str) -> None:
        report.write_text(json.dumps(record))
        top = trace(named)
        assert broken_links(top)
        assert name in problems(top)
        assert sha256 not in problems(top)

    hashes["../../../../../secret"] = "0" * 64
    refused("'../../../../../secret'", FIGURE)
    del hashes["../../../../../secret"]
    (work / AGENT / "metrics.jsonl").unlink()
    (work / AGENT / "metrics.jsonl").symlink_to(secret)
    refused("metrics.jsonl leads out of its folder", FIGURE)
    record["sha256"]["tables/../../secret"] = "0" * 64
    refused("'tables/../../secret'", "report")
    del record["sha256"]["tables/../../secret"]
    (work / "report/report.html").unlink()
    (work / "report/report.html").symlink_to(secret)
    refused("report.html leads out of its folder", "report")


def test_a_path_that_is_too_long_is_looked_for_nowhere(tmp_path: Path) -> None:
    tried: list[Path] = []

    def is_there(path: Path) -> bool:
        tried.append(path)
        return False

    assert find("a/" * 3000, tmp_path, is_there, is_there) == Place(None)
    assert not tried
    assert find("/gone/a/b", tmp_path, is_there, is_there) == Place(None)
    assert tmp_path / "a/b" in tried


def test_a_figure_of_an_older_version_that_was_changed_is_broken(work: Path) -> None:
    record = json.loads((work / "report/report.json").read_text())
    del record["figures"]["curves_dmc"], record["lines"]
    (work / "report/report.json").write_text(json.dumps(record))
    top = trace(FIGURE)
    assert top.state == "not recorded"
    assert "recorded no hash" not in top.words
    flip(work / FIGURE, 500)
    assert trace(FIGURE).state == "broken"


@pytest.mark.parametrize("named", ["nothing/here", "https://example.invalid/run", "report/figures/none.svg"])
def test_what_cannot_be_traced_is_refused(named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"does not exist|is an address"):
        trace(named)
