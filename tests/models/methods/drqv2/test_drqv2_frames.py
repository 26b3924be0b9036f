"""Stacks of numbered frames: in windows of the replay, in acting, and across the starts of episodes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from ipv_bench.errors import RunError
from models.finetuning.episode import EpisodeBuilder
from models.finetuning.replay import Replay, ReplayConfig
from models.methods.drqv2.augmentation import shifted_stacks
from models.methods.drqv2.policy import channels_of
from models.methods.drqv2.transitions import stack_of, transitions_of
from tests.models.methods.drqv2.small_drqv2 import small_agent

STACK, STEPS, GAMMA = 3, 2, 0.5
SIDE = 2


def numbered(number: int, num_steps: int, *, terminal: bool = False) -> dict[str, np.ndarray]:
    """Frame t of episode e shows 20·e + t, the action that led to it is (e, t) / 100, and the reward 2^t."""
    builder = EpisodeBuilder(np.full((SIDE, SIDE, 3), 20 * number, np.uint8), 2)
    for step in range(1, num_steps + 1):
        frame = np.full((SIDE, SIDE, 3), 20 * number + step, np.uint8)
        action = np.array([number, step], np.float32) / 100
        builder.add(frame, action, 2.0**step, terminal and step == num_steps)
    return builder.arrays()


def replay_of(
    folder: Path, lengths: list[int], *, batch: int = 200, terminal: bool = False, steps: int = STEPS
) -> Replay:
    config = ReplayConfig(capacity=1000, batch_size=batch, length=steps + 1, prioritize_ends=False)
    replay = Replay(folder, config, 2, lead=STACK - 1, beyond=steps - 1)
    for number, length in enumerate(lengths):
        replay.add(numbered(number, length, terminal=terminal), number, {})
    return replay


def transitions(batch: dict[str, np.ndarray], steps: int = STEPS):
    tensors = {name: torch.from_numpy(value) for name, value in batch.items()}
    seen = transitions_of(
        tensors["action"], tensors["reward"], tensors["is_first"], tensors["is_terminal"], STACK, steps, GAMMA
    )
    still = torch.zeros(len(tensors["image"]), 2, dtype=torch.int64)
    stacks = [shifted_stacks(tensors["image"], frames, still, 0) for frames in (seen.frames, seen.next_frames)]
    return seen, [stack[:, ::3, 0, 0].tolist() for stack in stacks]  # the red channel of each frame's corner


def test_every_transition_of_numbered_episodes_is_drawn_and_none_crosses_a_start(tmp_path):
    lengths = [5, 2, 9]
    seen, (now, later) = transitions(replay_of(tmp_path, lengths, batch=600).sample(np.random.default_rng(0)))
    found = set()
    for row, (stack, following) in enumerate(zip(now, later, strict=True)):
        episode, step = divmod(int(stack[-1]), 20)
        first = 20 * episode
        assert stack == [first + max(step - back, 0) for back in (2, 1, 0)]
        assert following == [first + max(step + STEPS - back, 0) for back in (2, 1, 0)]
        np.testing.assert_allclose(seen.action[row] * 100, [episode, step + 1], rtol=1e-6)
        assert float(seen.reward[row]) == pytest.approx(2 ** (step + 1) + GAMMA * 2 ** (step + 2))
        assert float(seen.discount[row]) == GAMMA**STEPS
        found.add((episode, step))
    assert found == {(episode, step) for episode, length in enumerate(lengths) for step in range(length - STEPS + 1)}


def test_nothing_is_added_beyond_an_end_that_the_task_made(tmp_path):
    seen, (now, _) = transitions(replay_of(tmp_path, [4], terminal=True).sample(np.random.default_rng(1)))
    ends = {int(stack[-1]): float(discount) for stack, discount in zip(now, seen.discount, strict=True)}
    assert ends == {0: GAMMA**STEPS, 1: GAMMA**STEPS, 2: 0.0, 3: 0.0}


def test_the_last_steps_before_an_end_that_the_task_made_are_starts_of_shorter_sums(tmp_path):
    """n = 3: frames 0 to 5 of an episode that ends at frame 5; one that is cut there; one that ends with its only step.

    Rewards are 2, 4, 8, 16, 32 and γ = 1/2: each of the summed rewards adds 2^(t + 1) to the return of frame t.
    """
    at_the_end = {0: (6, 1 / 8), 1: (12, 1 / 8), 2: (24, 0), 3: (32, 0), 4: (32, 0)}
    where_cut = {0: (6, 1 / 8), 1: (12, 1 / 8), 2: (24, 1 / 8)}
    replay = replay_of(tmp_path, [5], terminal=True, steps=3)
    replay.add(numbered(1, 5), 1, {})
    assert replay.add(numbered(2, 1, terminal=True), 2, {})
    assert not replay.add(numbered(3, 2), 3, {})
    state = replay.state()
    again = Replay(tmp_path, replay.config, 2, state, lead=STACK - 1, beyond=2)
    found: dict[int, dict[int, tuple[float, float]]] = {0: {}, 1: {}, 2: {}}
    batch = again.sample(np.random.default_rng(0))
    seen, (now, later) = transitions(batch, 3)
    for row, (stack, following) in enumerate(zip(now, later, strict=True)):
        episode, step = divmod(int(stack[-1]), 20)
        assert stack == [20 * episode + max(step - back, 0) for back in (2, 1, 0)]
        assert float(seen.action[row, 1]) * 100 == pytest.approx(step + 1)
        found[episode][step] = (float(seen.reward[row]), float(seen.discount[row]))
        if seen.discount[row]:
            assert following[-1] == 20 * episode + step + 3
    assert found == {0: at_the_end, 1: where_cut, 2: {0: (2, 0)}}
    for name, values in replay.sample(np.random.default_rng(0)).items():
        np.testing.assert_array_equal(values, batch[name])


def test_where_no_task_ends_an_episode_windows_are_those_of_the_release(tmp_path):
    lengths = [5, 3, 9]
    released = Replay(tmp_path / "released", replay_of(tmp_path / "ours", []).config, 2, lead=STACK - 1)
    ours = replay_of(tmp_path / "ours", lengths)
    for number, length in enumerate(lengths):
        released.add(numbered(number, length), number, {})
    batch = ours.sample(np.random.default_rng(3))
    for name, values in released.sample(np.random.default_rng(3)).items():
        np.testing.assert_array_equal(values, batch[name])


def test_rewards_stop_at_an_end_inside_the_steps():
    terminal = torch.tensor([[False, False, False, True, False, False]])
    reward = torch.tensor([[0.0, 0.0, 0.0, 1.0, 10.0, 100.0]])
    seen = transitions_of(torch.zeros(1, 6, 1), reward, torch.zeros(1, 6, dtype=torch.bool), terminal, 3, 3, 0.5)
    assert (float(seen.reward), float(seen.discount)) == (1.0, 0.0)


def test_frames_are_stored_once(tmp_path):
    replay = replay_of(tmp_path, [9])
    (file,) = tmp_path.glob("*.npy")
    record = SIDE * SIDE * 3 + 2 * 4 + 4 + 2  # one frame, action, reward, two flags
    assert np.load(file, allow_pickle=False).nbytes == 10 * record
    assert file.stat().st_size < 20 * record  # with the header of a .npy file
    assert replay.sample(np.random.default_rng(0))["image"].shape == (200, STACK + STEPS, SIDE, SIDE, 3)


def test_an_episode_shorter_than_the_steps_is_counted_and_not_stored(tmp_path):
    replay = replay_of(tmp_path, [1, 2])
    assert (replay.short, replay.num_episodes) == (1, 1)
    _seen, (now, _) = transitions(replay.sample(np.random.default_rng(0)))
    assert {tuple(stack) for stack in now} == {(20, 20, 20)}
    with pytest.raises(RunError, match="empty"):
        replay_of(tmp_path / "other", [1]).sample(np.random.default_rng(0))


def test_a_stack_begins_at_the_newest_start():
    first = torch.zeros(2, 6, dtype=torch.bool)
    first[0, 3] = first[1, :2] = True
    assert stack_of(first, 4, 3).tolist() == [[3, 3, 4], [2, 3, 4]]
    assert stack_of(first, 2, 3).tolist() == [[0, 1, 2], [1, 1, 2]]


def test_acting_sees_the_stacks_that_learning_sees():
    """Frames 1, 2, 3, … in two environments; the second one starts again at the fourth."""
    agent = small_agent()
    policy = agent.policy(2, 0, "test", explore=False)
    seen = []
    for step in range(1, 7):
        image = np.full((2, 32, 32, 3), step, np.uint8)
        first = np.array([step == 1, step in (1, 4)])
        policy.act(image, first, step)
        seen.append(channels_of(policy._frames)[:, ::3, 0, 0].tolist())
    assert [stack[0] for stack in seen] == [[1, 1, 1], [1, 1, 2], [1, 2, 3], [2, 3, 4], [3, 4, 5], [4, 5, 6]]
    assert [stack[1] for stack in seen][3:] == [[4, 4, 4], [4, 4, 5], [4, 5, 6]]
    window = torch.arange(1, 4, dtype=torch.uint8)[None, :, None, None, None].expand(1, 3, 32, 32, 3)
    still = torch.full((1, 2), 4)
    same = shifted_stacks(window.contiguous(), torch.tensor([[0, 1, 2]]), still, 4)
    assert torch.equal(same, channels_of(window))
