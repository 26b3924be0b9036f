"""`export` of runs: a snapshot that `finetune --init` and `evaluate` take back, and a replay as a LeRobot data set."""

from __future__ import annotations

import json
import shlex
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from ipv_bench.checkpoint_index import checkpoint_sha256
from ipv_bench.cli import run
from ipv_bench.exports.card import plain, run_card
from ipv_bench.exports.hf_run import run_facts
from ipv_bench.exports.run_usage import run_usage
from ipv_bench.run_record import RunRecord, read_record, write_record
from models.finetune import build_agent
from models.finetuning.plan import plan_finetuning
from models.pretraining.config import resolve_pretraining
from models.training.checkpoint import load_checkpoint, save_checkpoint
from models.world_models.weight_facts import FACTS, weight_facts
from tests.models.finetuning.finetune_runs import SMALL, TASK, command_line
from tests.models.finetuning.test_finetune_cli import video_model_run

SHORT = ("--set", "training.env_steps=480", "--set", "evaluation.every=480", "--set", "evaluation.episodes=3")


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished pre-training run, as its machine left it."""
    folder = video_model_run(tmp_path_factory.mktemp("pre") / "run")
    record = read_record(folder)
    sets = [{"name": "ssv2", "path": "/home/somebody/data/shards/ssv2", "manifest_sha256": "ab" * 32}]
    write_record(folder, record.model_copy(update={"status": "finished", "shard_sets": sets}))
    return folder


@pytest.fixture(scope="module")
def snapshot(pretrained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("hub") / "model"
    assert run(["export", str(pretrained), "--to", "hf", "--out", str(out), "--set", "licence=mit", "--quiet"]) == 0
    return out


@pytest.fixture(scope="module")
def finished(snapshot: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fine-tuning run that started from the snapshot."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("finetuned") / "run"
    assert run([*command_line(folder, *SHORT, init=str(snapshot)), "--quiet"]) == 0
    return folder


def test_finetune_takes_the_snapshot_of_a_pretrained_model(pretrained: Path, snapshot: Path, finished: Path) -> None:
    before, after = (load_checkpoint(folder / "checkpoints/5") for folder in (pretrained, snapshot))
    assert all(torch.equal(before.model[name], after.model[name]) for name in before.model)
    record = read_record(finished)
    assert record.parent["checkpoint_sha256"] == checkpoint_sha256(pretrained / "checkpoints/5")  # of the original
    assert record.pretraining["data"] == ["ssv2"]
    card = (snapshot / "README.md").read_text()
    top = yaml.safe_load(card.split("---\n")[1])
    assert (top["license"], top["library_name"]) == ("mit", "ipv-bench")
    assert "ab" * 32 in card
    assert "Trained on ssv2" in card
    assert not any("/home/somebody" in path.read_text() for path in (snapshot / "README.md", snapshot / "run.json"))


def test_a_finetuned_agent_with_its_scores(finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "agent"
    command = ["export", str(finished), "--to", "hf", "--out", str(out)]
    assert run([*command, "--quiet"]) == 2
    assert "without a licence" in capsys.readouterr().err
    assert run([*command, "--set", "private=true"]) == 0
    assert "hf upload" in capsys.readouterr().out
    card = (out / "README.md").read_text()
    last = [json.loads(line) for line in (finished / "evaluations.jsonl").read_text().splitlines()][-1]
    mean = np.mean(last["returns"])
    assert f"mean return {mean:.4g} [" in card
    low, high = card.split(f"mean return {mean:.4g} [")[1].split("]")[0].split(", ")
    assert min(last["returns"]) - 1e-2 <= float(low) <= mean <= float(high) <= max(last["returns"]) + 1e-2
    assert read_record(finished).parent["checkpoint_sha256"] in card
    assert "dmc/cartpole" in card
    steps = shutil.copytree(finished, tmp_path / "steps")  # a log that lost what it says of its steps
    lines = [json.loads(line) for line in (steps / "evaluations.jsonl").read_text().splitlines()]
    (steps / "evaluations.jsonl").write_text("".join(json.dumps(line | {"env_steps": None}) + "\n" for line in lines))
    again = ["export", str(steps), "--to", "hf", "--out", str(tmp_path / "steps-out"), "--set", "private=true"]
    assert run([*again, "--quiet"]) == 0
    capsys.readouterr()
    assert "At an unknown step, " in (tmp_path / "steps-out" / "README.md").read_text()
    newest = max((path.name for path in (out / "checkpoints").iterdir()), key=int)
    assert checkpoint_sha256(out / "checkpoints" / newest) in card
    scores = []
    for folder in (finished, out):
        assert run(["evaluate", str(folder), "--episodes", "1", "--seed", "3"]) == 0
        scores.append(json.loads(capsys.readouterr().out)["returns"])
    assert scores[0] == scores[1]
    # its model is a start too, and the new run never counts as one that starts from videos
    values = {**SMALL, "method": "contextwm"}
    record = plan_finetuning("tiny", TASK, overrides=values, init=out, root=tmp_path).record
    assert record.variant.endswith("init=dmc-cartpole_balance")
    assert (record.pretraining["kind"], record.pretraining["task"]) == ("finetuned", "dmc/cartpole_balance")
    agent = build_agent("tiny", read_record(finished).config | {"init_parts": "all"}, None, 1)
    agent.load_pretrained(load_checkpoint(out / "checkpoints" / newest))
    kept = load_checkpoint(out / "checkpoints" / newest).model
    name = next(name for name in kept if name.startswith("model.vision.encoder.") and name.endswith("weight"))
    assert torch.equal(agent.model_tensors()[name], kept[name])


def test_nothing_in_an_exported_run_tells_of_the_machine(
    snapshot: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Hosts, programs, users, private addresses and places, wherever they stand; what it was made from stays."""
    source = shutil.copytree(snapshot, tmp_path / "source")
    record = read_record(source)
    carla = {"host": "gpu7.lab.internal", "server_command": "bash /home/karla/carla/run.sh", "port": 2000}
    changes = {
        "config": record.config | {"env": carla, "data": {"cache": "/scratch/karla/cache"}},
        "overrides": {"env.host": "gpu7.lab.internal", "env.server_command": "bash /home/karla/carla/run.sh"},
        "hardware": {"host": "gpu7", "cpu": "Some Processor"},
        "parent": {"files": {"/home/karla/weights/variables_600000.pt": "cd" * 32}},
        "shard_sets": [
            {"name": "one", "path": "http://store.lab.internal:9000/one", "manifest_sha256": "ab" * 32},
            {"name": "two", "path": "http://10.0.0.7/two"}, {"name": "three", "path": "https://hub.example.org/three"},
        ],
        "inexact_because": ["the replay file /home/karla/runs/dmc/x/seed0/replay/1.npy is damaged"],
    }  # fmt: skip
    write_record(source, record.model_copy(update=changes))
    out = tmp_path / "out"
    command = ["export", str(source), "--to", "hf", "--out", str(out), "--set", "licence=mit"]
    assert run(command) == 0
    assert "of this machine" not in capsys.readouterr().err
    texts = [path.read_text() for path in out.rglob("*") if path.suffix in (".md", ".json", ".jsonl")]
    assert len(texts) >= 4
    told = [word for word in ("karla", "gpu7", "lab.internal", "10.0.0.7", "scratch") for t in texts if word in t]
    assert not told
    public = read_record(out)
    assert public.parent == {"files": {"variables_600000.pt": "cd" * 32}}
    assert [one["path"] for one in public.shard_sets] == ["one", "two", "https://hub.example.org/three"]
    assert public.config["env"] == {"port": 2000}
    assert public.inexact_because == ["the replay file runs/dmc/x/seed0/replay/1.npy is damaged"]
    assert public.hardware == {"cpu": "Some Processor"}


def test_a_checkpoint_that_tells_of_the_machine_is_told(
    pretrained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = shutil.copytree(pretrained, tmp_path / "source")
    kept = load_checkpoint(source / "checkpoints/5")
    state = kept.state | {"imported": {"/home/karla/weights.pt": "ab" * 32}}
    save_checkpoint(source, 5, kept.model, kept.optimizer, state, parts=kept.parts)
    command = ["export", str(source), "--to", "hf", "--out", str(tmp_path / "out"), "--set", "licence=mit"]
    assert run(command) == 0
    message = capsys.readouterr().err
    assert "checkpoints/5/state.json is copied as it is" in message
    assert "in imported:" in message


def test_unfinished_and_damaged_runs_are_refused(
    snapshot: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(folder: Path, *words: str) -> None:
        out = tmp_path / "out"
        assert run(["export", str(folder), "--to", "hf", "--out", str(out), "--set", "licence=mit", "--quiet"]) == 2
        message = capsys.readouterr().err
        assert all(word in message for word in words), message
        assert not out.exists()

    copy = shutil.copytree(snapshot, tmp_path / "copy")
    write_record(copy, read_record(copy).model_copy(update={"status": "interrupted"}))
    refused(copy, "interrupted", "finished")
    write_record(copy, read_record(copy).model_copy(update={"status": "finished"}))
    weights = copy / "checkpoints/5/model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    refused(copy, "model.safetensors")
    shutil.rmtree(copy / "checkpoints")
    refused(copy, "holds no checkpoint")


def test_a_replay_becomes_a_lerobot_data_set(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "replay"
    command = ["export", str(finished), "--to", "lerobot", "--out", str(out)]
    assert run(command) == 2
    assert "fps=" in capsys.readouterr().err
    lost = shutil.copytree(finished, tmp_path / "lost")
    files = sorted((lost / "replay").glob("*.npy"))
    data = files[-1].read_bytes()
    files[-1].write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    assert run(["export", str(lost), "--to", "lerobot", "--out", str(out), "--set", "fps=20"]) == 0
    assert f"1 replay files are damaged: {files[-1].name}" in capsys.readouterr().out
    back = tmp_path / "set"
    arguments = ["--source", str(out), "--out", str(back), "--workers", "1", "--set", "size=native", "--quiet"]
    assert run(["prepare", "lerobot", *arguments, "--strict"]) == 0
    from ipv_bench.segment_source import SegmentSource
    from ipv_bench.shard_store import LocalStore

    source = SegmentSource(LocalStore(back))
    assert len(source.index.video_frames) == len(files) - 1
    records = np.load(files[0])
    tracks = source.tracks(0, 0, len(records), ("action", "reward", "is_first", "is_terminal"))
    for name, values in tracks.items():
        assert np.array_equal(values, records[name]), name
    assert source.index.label(0) == "dmc/cartpole_balance"
    assert np.abs(source.frames(0, 0, len(records)).astype(int) - records["image"]).mean() < 4


def test_a_pretrained_model_has_no_replay(snapshot: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["export", str(snapshot), "--to", "lerobot", "--out", str(tmp_path / "out")]) == 2
    assert "has no replay" in capsys.readouterr().err


def commands_of(folder: Path, method: str, preset: str, changes: dict[str, Any], **fields: Any) -> list[list[str]]:
    """What the card of a run without tensors says to do with it, as arguments of `ipv-bench`, for its real folder."""
    config = resolve_pretraining(preset, overrides={"method": method, **changes}).config.model_dump(mode="json")
    checkpoint = save_checkpoint(folder, 9, {}, {}, {FACTS: weight_facts(config)})
    record = RunRecord(kind="pretrain", method=method, seed=0, preset=preset, config=config, status="finished")
    record = RunRecord.model_validate(
        record.model_dump() | {"pretraining": {"kind": "video", "data": ["ssv2"]}} | fields
    )
    write_record(folder, record)
    words = [shlex.split(line) for line in run_usage(record, checkpoint).splitlines()[1:] if "<" not in line]
    return [[str(folder) if word == "model" else word for word in line[1:]] for line in words]


@pytest.mark.parametrize(
    ("method", "preset", "changes"),
    [
        ("contextwm", "tiny", {}),
        ("apv", "sample", {}),  # `finetune` has no preset of that name
        ("prelar", "tiny", {"image.size": 32}),
        ("contextwm", "paper", {"context.heads": 2, "rssm.stoch": 16, "encoder.norm": "none"}),
        ("prelar", "small", {"latent_action.posterior": "deterministic"}),
    ],
)
def test_the_card_of_a_pretrained_model_has_a_command_that_starts_from_it(
    method: str, preset: str, changes: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (finetune,) = commands_of(tmp_path / "start", method, preset, changes)
    assert finetune[:3] == ["finetune", "--init", str(tmp_path / "start")]
    assert run([*finetune, "--dry-run"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["config"]["method"] == method
    assert all(plan["overrides"].get(key) == value for key, value in changes.items())


def test_cards_name_no_command_that_is_refused(tmp_path: Path) -> None:
    assert commands_of(tmp_path / "uwm", "uwm", "tiny", {}) == []  # no agent; `adapt` wants a set with actions
    facts = {"data": ["cheetah"], "parts": "world_model", "updates": 9, "action_dim": 6}
    assert commands_of(tmp_path / "adapted", "apv", "tiny", {}, kind="adapt", adaptation=facts) == []
    record = read_record(tmp_path / "adapted")
    said = run_usage(record, tmp_path / "adapted/checkpoints/9")
    assert "ipv-bench adapt model" in said
    assert "ipv-bench analyze predict model" in said
    card = run_card(run_facts(record, tmp_path / "adapted/checkpoints/9", [], []), "mit", False)
    assert ", adapted to actions" in card
    assert plain("world_model: cheetah (all videos), 9 updates") in card
    assert len(run_usage(record.model_copy(update={"method": "of-nobody"}), tmp_path).splitlines()) == 2
    few = record.model_copy(update={"adaptation": facts | {"num_segments": 2000}})
    card = run_card(run_facts(few, tmp_path / "adapted/checkpoints/9", [], []), "mit", False)
    assert plain("world_model: cheetah (2000 fixed segments of all videos), 9 updates") in card
