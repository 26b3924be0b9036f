"""Replay on disk: contents, the published sampling, capacity, resume, damage, memory."""

from __future__ import annotations

import hashlib
import json
import os
import resource
import signal
from pathlib import Path

import numpy as np
import pytest

from ipv_bench.errors import ConfigError, OutputError, RunError, TrainingError
from ipv_bench.file_names import shown
from models.finetuning.episode import EpisodeBuilder
from models.finetuning.replay import Replay, ReplayConfig, read_index
from tests.failing_disk import fail
from tests.hostile_files import HOSTILE_ARRAYS, HOSTILE_NAMES

ACTION_DIM = 2


def config(**changes) -> ReplayConfig:
    return ReplayConfig(**({"capacity": 1000, "batch_size": 4, "length": 5, "prioritize_ends": False} | changes))


def counting_episode(number: int, num_steps: int, side: int = 4):
    """An episode that carries its own answer: every number in it says which episode and which step it is."""
    builder = EpisodeBuilder(np.full((side, side, 3), 0, np.uint8), ACTION_DIM)
    for step in range(1, num_steps + 1):
        action = np.array([number, step], np.float32)
        builder.add(np.full((side, side, 3), step % 256, np.uint8), action, number + step / 1000, step == num_steps)
    return builder.arrays()


def filled(folder: Path, lengths, **changes) -> Replay:
    replay = Replay(folder, config(**changes), ACTION_DIM)
    for number, num_steps in enumerate(lengths, start=1):
        replay.add(counting_episode(number, num_steps), number, {"seed": number})
    return replay


def test_a_window_counts_up_and_starts_with_is_first(tmp_path):
    batch = filled(tmp_path, [9, 20, 7]).sample(np.random.default_rng(0))
    assert batch["image"].shape == (4, 5, 4, 4, 3)
    assert batch["image"].dtype == np.uint8
    steps = batch["image"][:, :, 0, 0, 0].astype(int)
    assert (np.diff(steps, axis=1) == 1).all()
    assert (batch["is_first"] == (np.arange(5) == 0)).all()
    moved = steps > 0
    np.testing.assert_array_equal(batch["action"][..., 1][moved], steps[moved])
    numbers = batch["action"][..., 0].max(axis=1, keepdims=True)
    np.testing.assert_allclose(batch["reward"][moved], (numbers + steps / 1000)[moved], rtol=1e-6)


def test_the_end_of_an_episode_is_terminal_only_where_the_environment_said_so(tmp_path):
    replay = filled(tmp_path, [4])
    batch = replay.sample(np.random.default_rng(0))
    assert batch["is_terminal"].tolist() == [[False, False, False, False, True]] * 4


def test_episodes_are_drawn_uniformly_whatever_their_length(tmp_path):
    replay = filled(tmp_path, [200, 5], batch_size=1000)
    numbers = replay.sample(np.random.default_rng(1))["action"][:, -1, 0]
    assert np.mean(numbers == 2) == pytest.approx(0.5, abs=0.06)


def test_prioritize_ends_draws_the_last_window_as_published(tmp_path):
    replay = filled(tmp_path, [24], batch_size=1500, prioritize_ends=True)  # 25 records, 21 starts
    starts = replay.sample(np.random.default_rng(2))["image"][:, 0, 0, 0, 0]
    assert np.mean(starts == 20) == pytest.approx(6 / 26, abs=0.05)
    assert np.mean(starts == 3) == pytest.approx(1 / 26, abs=0.02)


def test_equal_generators_draw_equal_batches(tmp_path):
    replay = filled(tmp_path, [30, 12])
    first, again = (replay.sample(np.random.default_rng(7)) for _ in range(2))
    assert all(np.array_equal(first[name], again[name]) for name in first)


def test_capacity_drops_the_oldest_and_keeps_its_file_until_the_next_checkpoint(tmp_path):
    replay = filled(tmp_path, [10, 10, 10], capacity=20)
    assert (replay.num_episodes, replay.num_steps) == (2, 20)
    assert replay.sample(np.random.default_rng(0))["action"][:, -1, 0].min() >= 2
    assert (tmp_path / "00000001-10.npy").exists()
    replay.forget_evicted()
    assert not (tmp_path / "00000001-10.npy").exists()


def test_short_episodes_are_counted_and_not_stored(tmp_path):
    replay = filled(tmp_path, [3, 8])
    assert (replay.num_episodes, replay.short) == (1, 1)


def test_resume_forgets_newer_episodes_and_gets_back_those_dropped_since(tmp_path):
    replay = filled(tmp_path, [10, 11], capacity=25)
    state = replay.state()
    expected = replay.sample(np.random.default_rng(3))
    replay.add(counting_episode(3, 12), 3, {})  # episode 1 leaves: 33 steps are too many
    assert replay.num_episodes == 2
    replay.close()
    (tmp_path / ".00000004-9.npy.123.tmp").write_bytes(b"half")

    again = Replay(tmp_path, config(capacity=25), ACTION_DIM, state)
    assert (again.num_episodes, again.dropped, again.damaged) == (2, 1, [])
    assert [path.name for path in (tmp_path / "dropped").iterdir()] == ["00000003-12.npy"]
    found = again.sample(np.random.default_rng(3))
    assert all(np.array_equal(found[name], expected[name]) for name in found)
    assert not list(tmp_path.glob(".*.tmp"))
    assert [line["seed"] for line in read_index(tmp_path)] == [1, 2]


def test_resume_deletes_what_left_before_the_checkpoint(tmp_path):
    replay = filled(tmp_path, [10, 10, 10], capacity=20)
    state = replay.state()
    replay.close()
    again = Replay(tmp_path, config(capacity=20), ACTION_DIM, state)
    assert (again.num_episodes, again.dropped) == (2, 0)
    assert not (tmp_path / "00000001-10.npy").exists()
    again.add(counting_episode(4, 10), 4, {})
    assert Replay(tmp_path, config(capacity=20), ACTION_DIM, again.state()).num_episodes == 2


def test_a_truncated_file_is_skipped_and_named(tmp_path):
    replay = filled(tmp_path, [10, 11, 12])
    state = replay.state()
    replay.close()
    os.truncate(tmp_path / "00000002-11.npy", 300)
    again = Replay(tmp_path, config(), ACTION_DIM, state)
    assert again.damaged == ["00000002-11.npy"]
    assert again.num_episodes == 2
    assert set(again.sample(np.random.default_rng(0))["action"][:, -1, 0]) <= {1.0, 3.0}


def test_a_file_that_is_cut_while_in_use_is_an_error_that_names_it(tmp_path):
    replay = filled(tmp_path, [10])
    os.truncate(tmp_path / "00000001-10.npy", 300)
    with pytest.raises(RunError, match=r"00000001-10\.npy"):
        replay.sample(np.random.default_rng(0))


def test_another_action_size_is_refused(tmp_path):
    replay = filled(tmp_path, [10])
    state = replay.state()
    replay.close()
    with pytest.raises(ConfigError, match="size 2"):
        Replay(tmp_path, config(), 4, state)


def test_a_shortened_index_is_refused(tmp_path):
    replay = filled(tmp_path, [10])
    state = replay.state()
    replay.close()
    os.truncate(tmp_path / "index.jsonl", 5)
    with pytest.raises(RunError, match="at least"):
        Replay(tmp_path, config(), ACTION_DIM, state)


def reopened(folder: Path, replay: Replay) -> Replay:
    state = replay.state()
    replay.close()
    return Replay(folder, config(), ACTION_DIM, state)


def test_contents_that_changed_at_equal_size_are_found_and_counted(tmp_path):
    replay = filled(tmp_path, [10, 11, 12])
    path = tmp_path / "00000002-11.npy"
    data = bytearray(path.read_bytes())
    data[-20] ^= 1
    path.write_bytes(data)
    again = reopened(tmp_path, replay)
    assert (again.changed, again.damaged, again.num_episodes) == (["00000002-11.npy"], [], 2)
    assert again.losses() == [
        "1 replay files are not what was written (other contents at the same size): 00000002-11.npy"
    ]
    assert path.read_bytes() == data  # left for whoever wants to know


def rewrite_index(folder: Path, number: int, **changes) -> None:
    """Change a line of the index as somebody would who wants his file to be used."""
    lines = [json.loads(line) for line in (folder / "index.jsonl").read_text().splitlines()]
    lines[number] |= changes
    (folder / "index.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


@pytest.mark.parametrize("field", ["action", "reward"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_numbers_that_are_not_finite_are_refused_and_counted(tmp_path, field, value):
    replay = filled(tmp_path, [10, 11])
    path = tmp_path / "00000001-10.npy"
    records = np.load(path)
    records[field][7] = value
    np.save(path, records)
    rewrite_index(tmp_path, 0, sha256=hashlib.sha256(path.read_bytes()).hexdigest())
    again = reopened(tmp_path, replay)
    assert (again.not_finite, again.changed, again.num_episodes) == (["00000001-10.npy"], [], 1)
    episode = counting_episode(3, 9)
    episode[field][2] = value
    with pytest.raises(TrainingError, match="episode 3 has an action or a reward that is not finite"):
        again.add(episode, 3, {})
    assert len(read_index(tmp_path)) == 2


@pytest.mark.parametrize("name", [*HOSTILE_NAMES, "index.jsonl", "00000001-10.txt"], ids=lambda name: shown(name, 20))
def test_an_index_with_foreign_names_is_refused_and_nothing_is_touched(tmp_path, name):
    folder = tmp_path / "seed0" / "replay"
    replay = filled(folder, [10, 11])
    state = replay.state() | {"first_line": 1}  # line 0 is to be deleted
    replay.close()
    rewrite_index(folder, 0, file=name)
    state["index_bytes"] = (folder / "index.jsonl").stat().st_size
    for path in (tmp_path / "evil", tmp_path / "evil.pth", folder.parent / "evil"):
        path.write_text("mine")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(RunError, match=r"index\.jsonl line 1"):
        Replay(folder, config(), ACTION_DIM, state)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_replay_folder_that_leads_elsewhere_is_refused(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "00000009-9.npy").write_text("mine")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "replay").symlink_to(tmp_path / "mine")
    with pytest.raises(RunError, match="leads out of its folder"):
        Replay(tmp_path / "run" / "replay", config(), ACTION_DIM)
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["00000009-9.npy"]


def test_files_that_are_not_the_replays_stay(tmp_path):
    for name in ("notes.npy", ".notes.tmp", "00000001-5.npy.bak"):
        (tmp_path / name).write_text("mine")
    (tmp_path / ".00000001-5.npy.7.tmp").write_text("half")
    (tmp_path / "00000001-5.npy").write_text("newer")
    replay = Replay(tmp_path, config(), ACTION_DIM)
    assert replay.dropped == 1
    assert {path.name for path in tmp_path.iterdir()} == {
        "notes.npy", ".notes.tmp", "00000001-5.npy.bak", "dropped", "index.jsonl",
    }  # fmt: skip


@pytest.mark.parametrize("kind", HOSTILE_ARRAYS)
def test_files_that_are_no_episodes_are_left_out(tmp_path, kind):
    replay = filled(tmp_path, [10, 11])
    (tmp_path / "00000001-10.npy").write_bytes(HOSTILE_ARRAYS[kind])
    rewrite_index(tmp_path, 0, size_bytes=len(HOSTILE_ARRAYS[kind]), sha256="")
    state = {"index_bytes": (tmp_path / "index.jsonl").stat().st_size, "first_line": 0, "short": 0}
    again = Replay(tmp_path, config(), ACTION_DIM, state)
    assert (again.changed, again.num_episodes) == (["00000001-10.npy"], 1)
    replay.close()


def test_an_empty_replay_says_so(tmp_path):
    with pytest.raises(RunError, match="is empty"):
        Replay(tmp_path, config(), ACTION_DIM).sample(np.random.default_rng(0))


def test_a_full_disk_leaves_no_half_written_episode(tmp_path):
    """A file that may not grow further stands for the full disk: what the kernel says goes through numpy and all."""
    replay = filled(tmp_path, [10])
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
        with pytest.raises(OutputError, match=r"cannot write .*00000002-20\.npy: File too large"):
            replay.add(counting_episode(2, 20), 2, {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["00000001-10.npy", "index.jsonl"]
    assert (replay.num_episodes, len(read_index(tmp_path))) == (1, 1)


def test_a_million_steps_need_little_memory(tmp_path):
    """2,000 names of one file of 500 steps stand for 10⁶ steps (180 MB): each is read once, a batch maps 50 windows."""
    replay = Replay(tmp_path, config(capacity=10**6, length=50, batch_size=50), ACTION_DIM)
    replay.add(counting_episode(0, 500, side=5), 0, {})
    line = (tmp_path / "index.jsonl").read_text()
    lines = [line]
    for number in range(1, 2000):
        name = f"{number:08d}-500.npy"
        os.link(tmp_path / "00000000-500.npy", tmp_path / name)
        lines.append(line.replace("00000000-500.npy", name))
    text = "".join(lines)
    (tmp_path / "index.jsonl").write_text(text)
    before = _resident_bytes()
    big = Replay(
        tmp_path,
        config(capacity=10**6, length=50, batch_size=50),
        ACTION_DIM,
        {"index_bytes": len(text), "first_line": 0, "short": 0},
    )
    assert big.num_steps == 10**6
    for index in range(4):
        big.sample(np.random.default_rng(index))
    assert _resident_bytes() - before < 90e6


def _resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize("what", ["looked at", "opened"])
def test_an_episode_that_cannot_be_read_at_this_moment_is_not_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """A run that went on without it would not be exact, although nothing is lost."""
    replay = filled(tmp_path, [10, 11])
    state = replay.state()
    replay.close()
    with monkeypatch.context() as patch:
        fail(patch, tmp_path / "00000001-10.npy", what=(what,))
        with pytest.raises(RunError, match=r"00000001-10\.npy cannot be read: Input/output error") as caught:
            Replay(tmp_path, config(), ACTION_DIM, state)
    assert caught.value.expected == "a disk that can be read"
    assert Replay(tmp_path, config(), ACTION_DIM, state).num_episodes == 2
