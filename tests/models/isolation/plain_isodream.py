"""Iso-Dream's losses, read plainly from the equations: step by step, by torch's own distributions and layers."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import Independent, Normal, kl_divergence


def dense(head: Any, x: Tensor) -> Tensor:
    for layer in head.mlp.layers:
        x = F.elu(layer(x))
    return head.out(x)


def gru(cell: Any, x: Tensor, h: Tensor) -> Tensor:
    parts = F.layer_norm(
        cell.linear(torch.cat([x, h], -1)), (3 * h.shape[-1],), cell.norm.weight, cell.norm.bias, cell.norm.eps
    )
    reset, candidate, update = parts.split(h.shape[-1], -1)
    update = torch.sigmoid(update - 1)
    return update * torch.tanh(torch.sigmoid(reset) * candidate) + (1 - update) * h


def gaussian(stats: Tensor, min_std: float) -> Independent:
    mean, raw = stats.split(stats.shape[-1] // 2, -1)
    return Independent(Normal(mean, 2 * torch.sigmoid(raw / 2) + min_std), 1)


def prior(branch: Any, h: Tensor) -> Independent:
    return gaussian(branch.img_stats(F.elu(branch.img_out(h))), branch.config.min_std)


def drawn(belief: Independent, noise: Tensor) -> Tensor:
    return belief.base_dist.loc + belief.base_dist.scale * noise


def frame_of(decoder: Any, feat: Tensor) -> Tensor:
    x = decoder.dense(feat)[..., None, None]
    for conv in decoder.convs[:-1]:
        x = F.elu(F.conv_transpose2d(x, conv.weight, conv.bias, stride=2))
    return F.conv_transpose2d(x, decoder.convs[-1].weight, decoder.convs[-1].bias, stride=2)


def policy(actor: Any, feat: Tensor) -> tuple[Tensor, Tensor]:
    """Location and spread of the actions: a normal that is cut to [-1, 1]."""
    x = feat
    for layer in actor.mlp.layers:
        x = F.elu(layer(x))
    return torch.tanh(actor.out(x)), 2 * torch.sigmoid(actor.std(x) / 2) + actor.min_std


def action_of(loc: Tensor, scale: Tensor, uniform: Tensor) -> Tensor:
    """By the inverse of the cut normal's cumulative distribution."""
    whole = Normal(loc, scale)
    low, high = whole.cdf(torch.tensor(-1.0)), whole.cdf(torch.tensor(1.0))
    return whole.icdf(low + uniform * (high - low))


def entropy_of(loc: Tensor, scale: Tensor) -> Tensor:
    """-E[ln p] = ln σ + ln(mass √2π) + E[z²] / 2 with E[z²] = 1 + (a φ(a) - b φ(b)) / mass, summed over the actions."""
    unit = Normal(torch.tensor(0.0), torch.tensor(1.0))
    a, b = (-1 - loc) / scale, (1 - loc) / scale
    mass = unit.cdf(b) - unit.cdf(a)
    second = 1 + (a * unit.log_prob(a).exp() - b * unit.log_prob(b).exp()) / mass
    return (scale.log() + mass.log() + 0.5 * math.log(2 * math.pi) + second / 2).sum(-1)


def embedding(shared: Any, own: Any, image: Tensor) -> Tensor:
    x = image
    for conv in (*shared, *own):
        x = F.elu(F.conv2d(x, conv.weight, conv.bias, stride=2))
    return x.flatten(1)


def kl_of(posterior: Independent, prior: Independent, balance: float, free: float) -> Tensor:
    """Per state: balance max(KL(sg q ‖ p), free) + (1 - balance) max(KL(q ‖ sg p), free)."""

    def held(belief: Independent) -> Independent:
        return Independent(Normal(belief.base_dist.loc.detach(), belief.base_dist.scale.detach()), 1)

    to_prior, to_posterior = kl_divergence(held(posterior), prior), kl_divergence(posterior, held(prior))
    return balance * to_prior.clamp_min(free) + (1 - balance) * to_posterior.clamp_min(free)


def model_losses(model: Any, batch: dict[str, Tensor], draws: Any) -> tuple[dict[str, Tensor], list[tuple]]:
    """Each loss without its weight, and the states (action z, h, free z, h) of each step."""
    config, vision, rssm = model.config, model.vision, model.rssm
    c, steps, predictive = config.isolation, batch["image"].shape[1], config.isolation.free_branch == "predictive"
    offset, gain = vision.scaling.offset, config.image.gain
    frames = [(batch["image"][:, t].movedim(-1, 1) / 255 - offset) * gain for t in range(steps)]
    encoder = vision.encoder
    e_action = [embedding(encoder.shared, encoder.action, frame) for frame in frames]
    e_free = [embedding(encoder.shared, encoder.free, frame) for frame in frames]
    first = [embedding(encoder.shared, encoder.background, frame) for frame in frames[: c.background_frames]]
    black, white = (0 - offset) * gain, (1 - offset) * gain

    def clip(frame: Tensor) -> Tensor:
        return torch.minimum(torch.maximum(frame, black), white)

    still = clip(frame_of(vision.background_decoder, torch.cat(first, -1)))
    count = len(frames[0])
    z, h = torch.zeros(count, config.rssm.stoch), torch.zeros(count, config.rssm.deter)
    z_free, h_free = z, h
    before = torch.zeros_like(e_free[0])
    images, kls, free_kls, rewards, discounts, inverses, states = [], [], [], [], [], [], []
    for t in range(steps):
        keep = (1 - batch["is_first"][:, t].double())[:, None]
        z, h, z_free, h_free, before = z * keep, h * keep, z_free * keep, h_free * keep, before * keep
        branch = rssm.action
        h = gru(branch.gru, F.elu(branch.img_in(torch.cat([z, batch["action"][:, t] * keep], -1))), h)
        p = prior(branch, h)
        stats = branch.obs_stats(F.elu(branch.obs_out(torch.cat([h, e_action[t]], -1))))
        q = gaussian(stats, config.rssm.min_std)
        z = drawn(q, draws.action[:, t])
        kls.append(kl_of(q, p, config.loss.kl_balance, config.loss.free_nats))
        other = rssm.free
        h_free = gru(other.gru, F.elu(other.img_in(before if predictive else z_free)), h_free)
        p_free = prior(other, h_free)
        if predictive:
            z_free = drawn(p_free, draws.free[:, t])
            entering = c.free_steps is None or t < c.free_steps
            before = e_free[t] if entering else torch.zeros_like(e_free[t])
        else:
            stats = other.obs_stats(F.elu(other.obs_out(torch.cat([h_free, e_free[t]], -1))))
            q_free = gaussian(stats, config.rssm.min_std)
            z_free = drawn(q_free, draws.free[:, t])
            free_kls.append(kl_of(q_free, p_free, config.loss.kl_balance, config.loss.free_nats))
        states.append((z, h, z_free, h_free))
        ours = z if c.action_steps is None or t < c.action_steps else drawn(p, draws.action_prior[:, t])
        theirs = z_free
        if not predictive and c.free_steps is not None and t >= c.free_steps:
            theirs = drawn(p_free, draws.free_prior[:, t])
        a = frame_of(vision.action_decoder, torch.cat([ours, h], -1))
        b = frame_of(vision.free_decoder, torch.cat([theirs, h_free], -1))
        total = a[:, 3:].exp() + b[:, 3:].exp() + 1
        mixed = (a[:, 3:].exp() * clip(a[:, :3]) + b[:, 3:].exp() * clip(b[:, :3]) + still) / total
        error = 0.5 * (mixed - frames[t]).square().flatten(1).sum(-1)
        counted = keep[:, 0] if predictive and t else torch.zeros(count) if predictive else torch.ones(count)
        images.append(error[counted > 0])
        feat = torch.cat([z, h, z_free, h_free] if c.use_free else [z, h], -1)
        reward = dense(model.reward_head, feat)[:, 0]
        rewards.append(0.5 * (reward - config.reward.gain * batch["reward"][:, t]).square())
        if model.discount_head is not None:
            goes_on = torch.sigmoid(dense(model.discount_head, feat)[:, 0])
            told = model.discount * (1 - batch["is_terminal"][:, t])
            discounts.append(-(told * goes_on.log() + (1 - told) * (1 - goes_on).log()))
        if t:
            guess = dense(model.inverse_dynamics, e_action[t] - e_action[t - 1])
            wrong = 0.5 * (guess - batch["action"][:, t]).square().sum(-1)
            inverses.append(wrong[keep[:, 0] > 0])
    found = {
        "image_loss": torch.cat(images).mean(),
        "kl_loss": torch.cat(kls).mean(),
        "reward_loss": torch.cat(rewards).mean(),
        "inverse_loss": torch.cat(inverses).mean(),
    }
    if free_kls:
        found["free_kl_loss"] = torch.cat(free_kls).mean()
    if discounts:
        found["discount_loss"] = torch.cat(discounts).mean()
    return found, states


def looked(attention: Any, feat: Tensor, future: list[Tensor]) -> Tensor:
    """softmax(q k / sqrt(2 F)) v W + feat, over the states of the window."""
    query = attention.query(feat)
    score = torch.stack([(query * attention.key(state)).sum(-1) for state in future], -1) / query.shape[-1] ** 0.5
    share = score.softmax(-1)
    mixed = sum(share[:, i : i + 1] * attention.value(state) for i, state in enumerate(future))
    return feat + attention.out(mixed)


def behavior_losses(behavior: Any, model: Any, start: Any, draws: Any, ended: Tensor) -> tuple[Tensor, Tensor]:
    """Actor's and critic's loss of imaginations from the states `start`, each with the gradients that are its own.

    `ended`: 1 where the start is a terminal state; only a discount head heeds it.
    """
    config, rssm, c = behavior.config, model.rssm, model.config.isolation
    free = []
    if c.use_free or c.window:
        z, h = start.free.stoch, start.free.deter
        free.append(torch.cat([z, h], -1))
        for step in range(config.horizon + max(c.window, 1) - 1):
            h = gru(rssm.free.gru, F.elu(rssm.free.img_in(z)), h)
            z = drawn(prior(rssm.free, h), draws.free[:, step])
            free.append(torch.cat([z, h], -1).detach())

    def see(feat: Tensor, step: int) -> Tensor:
        return looked(behavior.attention, feat, free[step : step + c.window]) if c.window else feat

    z, h, sequence = start.action.stoch, start.action.deter, []
    for step in range(config.horizon + 1):
        feat = torch.cat([z, h], -1)
        sequence.append(feat)
        if step == config.horizon:
            break
        action = action_of(*policy(behavior.actor, see(feat, step).detach()), draws.uniform[step])
        h = gru(rssm.action.gru, F.elu(rssm.action.img_in(torch.cat([z, action], -1))), h)
        z = drawn(prior(rssm.action, h), draws.action[:, step])
    seen = [see(feat, step) for step, feat in enumerate(sequence)]
    heads = [torch.cat([feat, free[i]], -1) if c.use_free else feat for i, feat in enumerate(sequence)]
    reward = [dense(model.reward_head, feat)[:, 0] for feat in heads]
    value = [dense(behavior.slow_critic, feat)[:, 0] for feat in seen]
    discount = [torch.full_like(reward[0], config.discount)] * len(reward)
    if model.discount_head is not None:
        foreseen = [torch.sigmoid(dense(model.discount_head, feat)[:, 0]) for feat in heads[1:]]
        discount = [config.discount * (1 - ended), *foreseen]
    returns, last = [], value[-1]
    for t in reversed(range(config.horizon)):
        last = reward[t] + discount[t] * ((1 - config.lam) * value[t + 1] + config.lam * last)
        returns.insert(0, last)
    actor, critic, weight = [], [], torch.ones_like(reward[0])
    for t in range(config.horizon):
        if t < config.horizon - 1:
            entropy = entropy_of(*policy(behavior.actor, seen[t].detach()))
            actor.append(-weight * (returns[t + 1] + config.entropy * entropy))
        guess = dense(behavior.critic, see(sequence[t].detach(), t))[:, 0]
        critic.append(0.5 * weight * (guess - returns[t].detach()).square())
        weight = weight * discount[t].detach()
    return torch.stack(actor).mean(), torch.stack(critic).mean()
