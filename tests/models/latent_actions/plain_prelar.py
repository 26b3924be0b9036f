"""The plain reading of PreLAR's losses, step by step, with the parameters of our model; the reference of its tests."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks import plain_reading as plain
from models.latent_actions.agent_model import RealActionWorldModel
from models.latent_actions.video import LatentActionDraws, LatentActionVideoModel


def action_distribution(model: LatentActionVideoModel, before: Tensor, after: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (B, L) of the action between two scaled frames (B, 3, H, W)."""
    net = model.action_encoder
    embedded = plain.encode(net.encoder, torch.cat([before, after], 1))[0]
    value = net.out(F.elu(net.hidden(embedded)))
    size = value.shape[-1] // 2
    return value[:, :size], 2 / (1 + torch.exp(-value[:, size:] / 2))


def pretraining_losses(model: LatentActionVideoModel, image: Tensor, draws: LatentActionDraws) -> dict[str, Tensor]:
    """Image loss, KL loss, action KL and their weighted sum of uint8 frames (B, T, H, W, 3), in evaluation mode."""
    vision, c = model.vision, model.config.loss
    target, embed, _ = plain.see(vision, image, None)
    batch, length = target.shape[:2]
    actions, kls = [torch.zeros(batch, model.action_encoder.size, dtype=target.dtype)], []
    for t in range(length - 1):
        mean, std = action_distribution(model, target[:, t], target[:, t + 1])
        assert draws.action is not None
        actions.append(mean + std * draws.action[:, t])
        own, prior = torch.distributions.Normal(mean, std), torch.distributions.Normal(0.0, 1.0)
        kls.append(torch.distributions.kl_divergence(own, prior).sum(-1))
    action_kl = torch.stack(kls).mean()
    nowhere = torch.zeros(batch, length, dtype=target.dtype)
    action = torch.stack(actions, 1)
    stoch, deter, logit, prior_logit = plain.observe(model.rssm, embed, action, nowhere, draws.latents.forced)
    feat = torch.cat([stoch.flatten(-2), deter], -1)
    mean = plain.decode(vision, feat, {}, {}, 0.0).reshape(target.shape)
    image_loss = 0.5 * (mean - target).square().sum((2, 3, 4)).mean()
    kl = plain.kl_loss(logit, prior_logit, c.kl_balance, c.free_nats)
    beta_a = 3 * model.config.image.size**2 / 12288
    total = c.kl_scale * kl + c.image_scale * image_loss + beta_a * action_kl
    return {"loss": total, "image_loss": image_loss, "kl_loss": kl, "action_kl": action_kl}


def finetuning_loss(
    model: RealActionWorldModel, batch: tuple[Tensor, Tensor, Tensor, Tensor], queue: Tensor, forced: Tensor
) -> Tensor:
    """World-model loss with both reward heads and the bonus on the embedding; the magnitude stays.

    `batch`: image uint8, action, reward, is_first; `queue`: rows that the bonus remembers.
    """
    image, action, reward, is_first = batch
    c = model.config
    target, embed, _ = plain.see(model.vision, image, None)
    mlp = model.rssm.embedding
    embedded = mlp.out(F.elu(mlp.hidden(action)))
    stoch, deter, logit, prior = plain.observe(model.rssm, embed, embedded, is_first, forced)
    feat = torch.cat([stoch.flatten(-2), deter], -1)
    mean = plain.decode(model.vision, feat, {}, {}, 0.0).reshape(target.shape)
    loss = plain.kl_loss(logit, prior, c.loss.kl_balance, c.loss.free_nats)
    loss = loss + 0.5 * (mean - target).square().sum((2, 3, 4)).mean()
    with torch.no_grad():
        raw = plain.bonus(model, embed, queue)
        magnitude = 0.99 * 1.0 + 0.01 * raw.abs().mean()
        learned = reward[:, : raw.shape[1]] + c.intrinsic.beta * raw / (magnitude + c.intrinsic.norm_eps)
    loss = loss + 0.5 * (model.reward_head(feat)[:, : learned.shape[1]] - learned).square().mean()
    assert model.aux_reward_head is not None
    return loss + 0.5 * (model.aux_reward_head(feat) - reward).square().mean()
