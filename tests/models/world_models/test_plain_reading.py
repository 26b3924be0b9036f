"""The fast order of operations gives the losses and gradients of the plain reading of the equations."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks import plain_reading as plain
from ipv_bench.config import build
from models.agents.behavior import ActorCritic, BehaviorDraws
from models.finetuning.config import finetune_config_class
from models.nets.cross_attention import FusionDraws, kept_tokens
from models.nets.distributions import gumbel_noise
from models.nets.rssm import Latents
from models.world_models.context import ContextDraws
from models.world_models.stacked import StackedDraws, StackedWorldModel
from models.world_models.video import VideoDraws, VideoWorldModel

BATCH, LENGTH, ACTIONS = 2, 6, 3


def small(method: str = "contextwm", **values: object) -> Any:
    base: dict[str, object] = {
        "method": method,
        "encoder": {"cnn_depth": 4},
        "decoder": {"cnn_depth": 4},
        "rssm": {"deter": 16, "hidden": 16, "stoch": 4, "discrete": 4},
        "context": {"dropout": 0.0},
        "reward": {"units": 16},
        "behavior": {"units": 16, "horizon": 4},
        "intrinsic": {"queue_size": 30, "queue_dim": 8, "neighbours": 4},
    }
    return build(finetune_config_class(method), base | values)


@pytest.fixture
def generator() -> torch.Generator:
    torch.set_num_threads(1)
    torch.manual_seed(3)
    return torch.Generator().manual_seed(5)


def forced(generator: torch.Generator, *shape: int) -> Tensor:
    """Random one-hot latents."""
    return F.one_hot(gumbel_noise((*shape, 4, 4), generator).argmax(-1), 4).double()


def context_draws(generator: torch.Generator, method: str) -> ContextDraws | None:
    if method != "contextwm":
        return None
    masks = {
        scale: FusionDraws(kept_tokens(torch.rand(BATCH * LENGTH, tokens, generator=generator), 0.75))
        for scale, tokens in ((3, 64), (2, 256))
    }
    return ContextDraws(torch.tensor([1, 4]), None, masks)


def inputs(generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    image = torch.randint(256, (BATCH, LENGTH, 64, 64, 3), dtype=torch.uint8, generator=generator)
    action = torch.rand(BATCH, LENGTH, ACTIONS, generator=generator).double() * 2 - 1
    is_first = torch.zeros(BATCH, LENGTH, dtype=torch.float64)
    is_first[:, 0] = is_first[1, 3] = 1
    return image, action, torch.rand(BATCH, LENGTH, generator=generator).double(), is_first


def assert_same_gradients(one: torch.nn.Module, other: torch.nn.Module) -> None:
    for (name, a), (_, b) in zip(one.named_parameters(), other.named_parameters(), strict=True):
        found, expected = (torch.zeros_like(p) if p.grad is None else p.grad for p in (a, b))
        torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-8, msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.parametrize("method", ["contextwm", "apv"])
def test_pretraining_loss_and_gradients(method: str, generator: torch.Generator) -> None:
    model = VideoWorldModel(small(method)).double()
    reference = copy.deepcopy(model)
    image, _, _, is_first = inputs(generator)
    draws = VideoDraws(Latents(forced=forced(generator, LENGTH, BATCH)), context_draws(generator, method))
    loss, _ = model(image, draws, is_first)
    expected = plain.video_loss(reference, image, is_first, draws, 0.0)
    torch.testing.assert_close(loss, expected, rtol=1e-10, atol=0)
    loss.backward()
    expected.backward()
    assert_same_gradients(model, reference)


@pytest.mark.parametrize("method", ["contextwm", "apv"])
@pytest.mark.parametrize("concat_embed", [False, True])
def test_finetuning_loss_and_gradients(method: str, concat_embed: bool, generator: torch.Generator) -> None:
    model = StackedWorldModel(small(method, concat_embed=concat_embed), ACTIONS).double()
    reference = copy.deepcopy(model)
    image, action, reward, is_first = inputs(generator)
    latents = [Latents(forced=forced(generator, LENGTH, BATCH)) for _ in range(2)]
    draws = StackedDraws(latents[0], latents[1], context_draws(generator, method))
    queue = torch.zeros(0, 8, dtype=torch.float64)
    loss, _, _ = model(image, action, reward, is_first, draws)
    expected, _ = plain.stacked_loss(reference, (image, action, reward, is_first), queue, draws, 0.0)
    torch.testing.assert_close(loss, expected, rtol=1e-10, atol=0)
    loss.backward()
    expected.backward()
    assert_same_gradients(model, reference)


def test_behavior_losses_and_gradients(generator: torch.Generator) -> None:
    config = small("apv")
    model = StackedWorldModel(config, ACTIONS).double()
    behavior = ActorCritic(config.behavior, config.rssm.feat_size, ACTIONS).double()
    start = model.rssm.initial(5)
    start = start._replace(deter=torch.randn(5, 16, generator=generator).double(), stoch=forced(generator, 5))
    uniform = torch.rand(4, 5, ACTIONS, generator=generator).double()
    draws = BehaviorDraws(uniform, Latents(forced=forced(generator, 4, 5)))
    actor_loss, critic_loss, _ = behavior(model.rssm, model.reward_head, start, draws)
    expected = plain.behavior_losses(behavior, model, (start.stoch, start.deter), draws)
    torch.testing.assert_close(torch.stack([actor_loss, critic_loss]), torch.stack(expected), rtol=1e-10, atol=0)
    for part, loss, other in ((behavior.actor, actor_loss, expected[0]), (behavior.critic, critic_loss, expected[1])):
        ours = torch.autograd.grad(loss, list(part.parameters()), retain_graph=True)
        theirs = torch.autograd.grad(other, list(part.parameters()), retain_graph=True)
        for a, b in zip(ours, theirs, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-10)


def test_two_sequences_through_one_rssm_add_their_gradients(generator: torch.Generator) -> None:
    """The weight gradient that is formed once per sequence is the same as one per step."""
    model = VideoWorldModel(small("apv")).double()
    rssm = model.action_free_rssm
    embeds = [torch.randn(BATCH, LENGTH, model.vision.encoder.embed_size, generator=generator).double() for _ in "ab"]
    latents = Latents(forced=forced(generator, LENGTH, BATCH))
    losses = [rssm.observe(embed, None, None, latents)[0].feat.square().sum() for embed in embeds]
    together = torch.autograd.grad(losses[0] + losses[1], rssm.gru.linear.weight)[0]
    single = []
    for embed in embeds:
        stoch, deter, _, _ = plain.observe(rssm, embed, None, torch.zeros(BATCH, LENGTH).double(), latents.forced)
        feat = torch.cat([stoch.flatten(-2), deter], -1)
        single.append(torch.autograd.grad(feat.square().sum(), rssm.gru.linear.weight)[0])
    torch.testing.assert_close(together, single[0] + single[1], rtol=1e-9, atol=1e-9)
