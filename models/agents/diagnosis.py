"""Does the policy still live where its model is right? An agent's predictions held against an episode that was played.

A policy learns in imagination, so it can come to exploit its model: what it expects keeps growing while what it gets
does not, and the model errs on the states that it visits. Three returns of the same states show it: realised (what the
episode brought), the critic's, and the imagination's. Computed apart from training: nothing of the agent changes.

Legend: `T` steps of the episode, `H` horizon.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.agents.behavior import ActorCritic
from models.nets.heads import half_squared_error
from models.training.hardware import autocast
from models.world_models.image_model import image_loss

IMAGINED_EVERY = 5
"""An imagination starts at every so many steps: neighbouring states tell the same."""


@torch.no_grad()
def examine_episode(
    model: Any,
    behavior: ActorCritic,
    config: Any,
    episode: Mapping[str, NDArray[Any]],
    generator: torch.Generator,
) -> dict[str, float]:
    """Returns and model errors of one episode, with states carried through it as in acting.

    All returns are discounted, in the units that the critic learns (`reward.gain` times the environment's reward, plus
    `intrinsic.beta` for the bonus, whose running mean is 1), averaged over the states that imagination starts from. The
    realised return of a state sums the rewards from it to the episode's end, and bootstraps with the critic there
    unless the task ended it.

    Args:
        model: in evaluation mode; has `reconstruct`, as `StackedWorldModel`: what a frame is decoded beside, such as a
            context frame, is from its own window of `replay.length` frames, as in the batches.
        behavior: its actor and critic.
        config: the agent's.
        episode: image (T, H, W, 3), action (T, A), reward (T,), is_first and is_terminal (T,), as the replay stores it.
        generator: of all draws, on the agent's device.

    Returns:
        realised_return, critic_return, imagined_return; value_gap, (imagined - realised) / |realised|;
        episode_image_loss and episode_reward_loss, in the units of image_loss and reward_loss.
    """
    image, action, reward, is_first = (
        torch.from_numpy(np.ascontiguousarray(episode[name]))[None].to(generator.device)
        for name in ("image", "action", "reward", "is_first")
    )
    with autocast(generator.device, config.training.precision):
        states, frames, target, predicted = model.reconstruct(
            image, action.float(), is_first, generator, config.replay.length
        )
        states = states.map(lambda values: values[0])  # (T, ...)
        value = behavior.values(model.rssm, states, generator).float()  # (T,)
        starts = torch.arange(0, image.shape[1] - 1, IMAGINED_EVERY, device=generator.device)
        start = states.map(lambda values: values[starts])  # (N, ...)
        chosen = behavior.draw(len(starts), model.rssm, generator)
        ended = torch.from_numpy(np.ascontiguousarray(episode["is_terminal"])).to(generator.device)[starts]
        trajectories = behavior.imagine(model.rssm, model.reward_head, start, chosen, model.discount_head, ended)
        imagined = behavior.target(trajectories)  # (N, H)
    plain = reward.float() * config.reward.gain  # (1, T)
    bonus = config.intrinsic.beta if model.intrinsic_bonus is not None else 0.0  # of what the critic learned from
    last = plain[0, -1] + bonus if bool(episode["is_terminal"][-1]) else value[-1]
    realised = returns_after(plain[0] + bonus, config.behavior.discount, last)[starts].mean()
    expected = imagined[:, 0].float().mean()
    found = {
        "realised_return": realised,
        "critic_return": value[starts].mean(),
        "imagined_return": expected,
        "value_gap": (expected - realised) / realised.abs().clamp_min(1e-8),
        "episode_image_loss": image_loss(frames, target),
        "episode_reward_loss": half_squared_error(predicted.float(), plain),
    }
    return dict(zip(found, torch.stack([value.float() for value in found.values()]).tolist(), strict=True))


def returns_after(reward: Tensor, discount: float, last: Tensor) -> Tensor:
    """Discounted returns (T,) of rewards (T,), each step's own reward included, given the last step's return.

    Where an episode was cut, `last` is a critic's value, which counts the last step's own reward as well.
    """
    found = [last]
    for step in reversed(range(len(reward) - 1)):
        found.append(reward[step] + discount * found[-1])
    return torch.stack(found[::-1])
