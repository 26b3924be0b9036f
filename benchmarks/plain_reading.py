"""The plain reading of the world model's and the behaviour's equations: the published order of operations.

The same parameters as `models/` computed step by step: every product of the RSSM inside the loop over time, the prior
head and a prior sample too, the 50 action columns multiplied even when they are zero, attention of every frame with its
own copy of the context, all weights materialised, imagination that forms world-model gradients as well, distances by
broadcasting, torch's default Adam. It is the reference of the tests and the baseline of the benchmarks; nothing else
uses it.

Maps lie in memory as the weights of the convolutions do (`in_layout_of`): the benchmarks on a CPU have both with
channels last, in which torch computes the published operations as fast as the published code does. With channels first
the small model takes 1.14 to 1.18 times as long, which would flatter whatever is measured against it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.agents.behavior import ActorCritic, BehaviorDraws
from models.nets.cross_attention import FusionDraws
from models.nets.resnet import ResidualLayer
from models.nets.rssm import RSSM
from models.training.optimizer import OptimizerConfig
from models.world_models.image_model import ImageModel
from models.world_models.stacked import StackedDraws, StackedWorldModel
from models.world_models.video import VideoDraws, VideoWorldModel

Step = tuple[Tensor, Tensor, Tensor]  # stoch (B, S, K), deter (B, D), logit (B, S, K)


def one_hot_sample(logit: Tensor, forced: Tensor | None) -> Tensor:
    """Forced one-hots, or a draw of torch's multinomial; straight-through gradient."""
    p = logit.softmax(-1)
    if forced is None:
        index = torch.multinomial(p.flatten(0, -2), 1).reshape(p.shape[:-1])
        forced = F.one_hot(index, p.shape[-1]).to(p.dtype)
    return forced + p - p.detach()


def prior_step(rssm: RSSM, stoch: Tensor, deter: Tensor, action: Tensor, forced: Tensor | None) -> Step:
    """One step of the prior, with all 50 action columns."""
    x = F.elu(rssm.img_in(torch.cat([stoch.flatten(-2), action], -1)))
    parts = rssm.gru.norm(rssm.gru.linear(torch.cat([x, deter], -1)))
    reset, candidate, update = parts.chunk(3, -1)
    candidate = torch.tanh(torch.sigmoid(reset) * candidate)
    update = torch.sigmoid(update - 1)
    deter = update * candidate + (1 - update) * deter
    logit = rssm.img_logit(F.elu(rssm.img_out(deter)))
    logit = logit.reshape(*logit.shape[:-1], rssm.config.stoch, rssm.config.discrete)
    return one_hot_sample(logit, forced), deter, logit


def observe(
    rssm: RSSM, embed: Tensor, action: Tensor | None, is_first: Tensor, forced: Tensor | None
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Posterior stoch, deter and logit, and prior logit, each (B, T, ...). `forced`: (T, B, S, K) posterior latents."""
    batch, length = embed.shape[:2]
    c, found = rssm.config, []
    stoch, deter = embed.new_zeros(batch, c.stoch, c.discrete), embed.new_zeros(batch, c.deter)
    padded = embed.new_zeros(batch, length, c.action_dim)
    if action is not None:
        padded = F.pad(action, (0, c.action_dim - action.shape[-1]))
    for t in range(length):
        keep = 1 - is_first[:, t : t + 1]
        stoch, deter, step_action = stoch * keep[..., None], deter * keep, padded[:, t] * keep
        _, deter, prior_logit = prior_step(rssm, stoch, deter, step_action, None)
        x = F.elu(rssm.obs_out(torch.cat([deter, embed[:, t]], -1)))
        logit = rssm.obs_logit(x).reshape(batch, c.stoch, c.discrete)
        stoch = one_hot_sample(logit, None if forced is None else forced[t])
        found.append((stoch, deter, logit, prior_logit))
    stochs, deters, logits, priors = (torch.stack(values, 1) for values in zip(*found, strict=True))
    return stochs, deters, logits, priors


def kl_loss(posterior: Tensor, prior: Tensor, balance: float, free: float) -> Tensor:
    """Balanced KL with the free nats on the mean."""

    def kl(a: Tensor, b: Tensor) -> Tensor:
        return (a.softmax(-1) * (a.log_softmax(-1) - b.log_softmax(-1))).sum((-2, -1)).mean()

    to_posterior = kl(posterior, prior.detach()).clamp(min=free)
    return (1 - balance) * to_posterior + balance * kl(posterior.detach(), prior).clamp(min=free)


def entropy(logit: Tensor) -> Tensor:
    """Mean entropy, as the published step logs it."""
    return -(logit.softmax(-1) * logit.log_softmax(-1)).sum((-2, -1)).mean()


def attend(layer: ResidualLayer, x: Tensor, context: Tensor, draws: FusionDraws, dropout: float) -> Tensor:
    """relu(x + norm(attention)), every frame with its own copy of the context (N, C, H, W)."""
    assert layer.fusion is not None
    assert layer.fusion.attention is not None
    a = layer.fusion.attention
    query = x.flatten(2).transpose(1, 2) + a.query_position  # (N, L, C)
    tokens = context.flatten(2).transpose(1, 2) + a.context_position
    if draws.kept is not None:
        tokens = torch.gather(tokens, 1, draws.kept[..., None].expand(-1, -1, tokens.shape[-1]))  # (N, M, C)
    out, _ = F.multi_head_attention_forward(
        query.transpose(0, 1), tokens.transpose(0, 1), tokens.transpose(0, 1), x.shape[1], a.heads,
        a.in_proj.weight, a.in_proj.bias, None, None, False, dropout, a.out_proj.weight, a.out_proj.bias,
        training=True, need_weights=True,
    )  # fmt: skip
    out = F.dropout(out.transpose(0, 1), dropout).transpose(1, 2).reshape(x.shape)
    return F.relu(x + layer.fusion.norm(out))


def decode(
    vision: ImageModel, feat: Tensor, maps: dict[int, Tensor], fusion: dict[int, FusionDraws], dropout: float
) -> Tensor:
    """Features (B, T, F) to frames (B * T, 3, H, W)."""
    decoder, frames = vision.decoder, feat.shape[0] * feat.shape[1]
    x = decoder.dense(feat.flatten(0, 1)).reshape(frames, -1, decoder.side, decoder.side)
    x = in_layout_of(decoder.conv_out.weight, x)
    for i, stage in enumerate(decoder.stages):
        x = F.interpolate(x, scale_factor=2.0)
        for layer in stage.layers:
            skip = layer.skip_norm(layer.skip_conv(x))
            if layer.fusion is not None:
                context = maps[3 - i].repeat_interleave(feat.shape[1], 0)
                x = attend(layer, x, context, fusion.get(3 - i, FusionDraws()), dropout)
            x = F.relu(layer.norm1(layer.conv1(x)))
            x = F.relu(skip + layer.norm2(layer.conv2(x)))
    return decoder.conv_out(x)


def encode(encoder: nn.Module, image: Tensor) -> tuple[Tensor, dict[int, Tensor]]:
    """Frames (N, 3, H, W) to embeddings (N, E), and the maps before pooling."""
    x, maps = F.elu(encoder.conv_in(image)), {}
    for i, stage in enumerate(encoder.stages):
        for layer in stage.layers:
            skip = layer.skip_norm(layer.skip_conv(x))
            x = F.relu(skip + layer.norm2(layer.conv2(F.relu(layer.norm1(layer.conv1(x))))))
        maps[i + 1] = x
        x = F.avg_pool2d(x, 2)
    return x.flatten(1), maps


def in_layout_of(weight: Tensor, x: Tensor) -> Tensor:
    """Maps (N, C, H, W) in the memory layout of a convolution's weight: channels first or last."""
    last = weight.is_contiguous(memory_format=torch.channels_last)
    return x.contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)


def see(vision: ImageModel, image: Tensor, frame: Tensor | None) -> tuple[Tensor, Tensor, dict[int, Tensor]]:
    """uint8 (B, T, H, W, 3) to scaled frames (B, T, 3, H, W), embeddings, and context maps."""
    frames = image.flatten(0, 1).permute(0, 3, 1, 2).to(vision.scaling.offset.dtype) / 255 - 0.5  # (B * T, 3, H, W)
    frames = in_layout_of(vision.encoder.conv_in.weight, frames)
    target = frames.unflatten(0, image.shape[:2])
    embed = encode(vision.encoder, frames)[0].reshape(*image.shape[:2], -1)
    maps: dict[int, Tensor] = {}
    if vision.context_encoder is not None and frame is not None:
        maps = encode(vision.context_encoder, target[torch.arange(len(frame)), frame])[1]
    return target, embed, maps


def token_masks(vision: ImageModel, frames: int) -> dict[int, FusionDraws]:
    """Fresh token masks for timing, by sorting uniform numbers."""
    ratio, masks, device = vision.context.mask_ratio, {}, vision.scaling.offset.device
    for scale in (3, 2):
        tokens = (vision.size // 2**scale) ** 2
        masks[scale] = FusionDraws(torch.rand(frames, tokens, device=device).argsort(1)[:, : int(tokens * (1 - ratio))])
    return masks


def video_loss(
    model: VideoWorldModel, image: Tensor, is_first: Tensor, draws: VideoDraws | None, dropout: float
) -> Tensor:
    """Pre-training loss; forced `draws`, or random ones from torch's global generator."""
    vision, c = model.vision, model.config.loss
    frame = torch.randint(image.shape[1], (image.shape[0],)) if draws is None else draws.context and draws.context.frame
    target, embed, maps = see(vision, image, frame)
    forced = None if draws is None else draws.latents.forced
    stoch, deter, logit, prior = observe(model.action_free_rssm, embed, None, is_first, forced)
    fusion = dict(draws.context.fusion) if draws is not None and draws.context is not None else {}
    if draws is None and vision.has_context:
        fusion = token_masks(vision, image.shape[0] * image.shape[1])
    feat = torch.cat([stoch.flatten(-2), deter], -1)
    mean = decode(vision, feat, maps, fusion, dropout).reshape(target.shape)
    with torch.no_grad():
        entropy(logit), entropy(prior)
    image_loss = 0.5 * (mean - target).square().sum((2, 3, 4)).mean()
    return c.kl_scale * kl_loss(logit, prior, c.kl_balance, c.free_nats) + c.image_scale * image_loss


def bonus(model: StackedWorldModel, feat: Tensor, queue: Tensor) -> Tensor:
    """Mean distance to the nearest rows, by broadcasting all differences; `queue` (Q, P) has the batch in front."""
    assert model.intrinsic_bonus is not None
    c = model.config.intrinsic
    rows = feat.unfold(1, c.window, 1).mean(-1) @ model.intrinsic_bonus.projection
    flat = rows.flatten(0, 1)
    remembered = torch.cat([flat, queue])[: c.queue_size]
    distance = torch.norm(flat[:, None] - remembered[None], dim=-1)
    near = -(-distance).topk(min(c.neighbours, remembered.shape[0])).values
    return near.mean(1).reshape(rows.shape[:2])


def stacked_loss(
    model: StackedWorldModel,
    batch: tuple[Tensor, Tensor, Tensor, Tensor],
    queue: Tensor,
    draws: StackedDraws | None,
    dropout: float,
) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor]]:
    """Loss of the stacked model, and its posterior (stoch, deter, logit).

    `batch`: image uint8, action, reward, is_first; `queue`: rows that the bonus remembers. The magnitude stays.
    """
    image, action, reward, is_first = batch
    vision, c = model.vision, model.config
    assert model.action_free_rssm is not None
    assert model.intrinsic_bonus is not None
    frame = torch.randint(image.shape[1], (image.shape[0],)) if draws is None else draws.context and draws.context.frame
    target, embed, maps = see(vision, image, frame)
    forced = (None, None) if draws is None else (draws.action_free.forced, draws.latents.forced)
    stoch, deter, lower, lower_prior = observe(model.action_free_rssm, embed, None, is_first, forced[0])
    lower_feat = torch.cat([stoch.flatten(-2), deter], -1)
    seen = torch.cat([embed, lower_feat], -1) if c.concat_embed else lower_feat
    stoch, deter, logit, prior = observe(model.rssm, seen, action, is_first, forced[1])
    feat = torch.cat([stoch.flatten(-2), deter], -1)
    fusion = dict(draws.context.fusion) if draws is not None and draws.context is not None else {}
    if draws is None and vision.has_context:
        fusion = token_masks(vision, image.shape[0] * image.shape[1])
    mean = decode(vision, feat, maps, fusion, dropout).reshape(target.shape)
    with torch.no_grad():
        raw = bonus(model, lower_feat, queue)
        norm = model.intrinsic_bonus.norm
        magnitude = norm.momentum * norm.magnitude + (1 - norm.momentum) * raw.abs().mean().double()
        learned = reward[:, : raw.shape[1]] + c.intrinsic.beta * raw / (magnitude.to(raw.dtype) + norm.eps)
        entropy(logit), entropy(prior)
    loss = kl_loss(logit, prior, c.loss.kl_balance, c.loss.free_nats)
    loss = loss + 0.0 * kl_loss(lower, lower_prior, c.loss.kl_balance, c.loss.free_nats)
    loss = loss + 0.5 * (mean - target).square().sum((2, 3, 4)).mean()
    loss = loss + 0.5 * (model.reward_head(feat)[:, : learned.shape[1]] - learned).square().mean()
    if model.aux_reward_head is not None:
        loss = loss + 0.5 * (model.aux_reward_head(feat) - reward).square().mean()
    return loss, (stoch, deter, logit)


def behavior_losses(
    behavior: ActorCritic,
    model: StackedWorldModel,
    start: Sequence[Tensor],
    draws: BehaviorDraws | None,
) -> tuple[Tensor, Tensor]:
    """Actor loss and critic loss of imagination from `start`: stoch (N, S, K) and deter (N, D)."""
    c, (stoch, deter) = behavior.config, start
    feats = [torch.cat([stoch.flatten(-2), deter], -1)]
    for step in range(c.horizon):
        policy = behavior.actor(feats[-1].detach())
        uniform = torch.rand_like(policy.loc) if draws is None else draws.uniform[step]
        action = policy.sample(uniform)
        padded = F.pad(action, (0, model.rssm.config.action_dim - action.shape[-1]))
        forced = None if draws is None or draws.latents.forced is None else draws.latents.forced[step]
        stoch, deter, _ = prior_step(model.rssm, stoch, deter, padded, forced)
        feats.append(torch.cat([stoch.flatten(-2), deter], -1))
    feat = torch.stack(feats)  # (H + 1, N, F)
    reward, value = model.reward_head(feat), behavior.slow_critic(feat)
    weight = c.discount ** torch.arange(c.horizon + 1, dtype=feat.dtype, device=feat.device)[:, None]
    last, targets = value[-1], []
    for t in reversed(range(c.horizon)):
        last = reward[t] + c.discount * ((1 - c.lam) * value[t + 1] + c.lam * last)
        targets.append(last)
    target = torch.stack(targets[::-1])  # (H, N)
    objective = target[1:] + c.entropy * behavior.actor(feat[:-2].detach()).entropy()
    actor_loss = -(weight[:-2] * objective).mean()
    error = behavior.critic(feat[:-1].detach()) - target.detach()
    return actor_loss, 0.5 * (weight[:-1] * error.square()).mean()


class PlainOptimizer:
    """torch's default Adam with clipping of all gradients by one norm."""

    def __init__(self, parameters: Sequence[nn.Parameter], config: OptimizerConfig) -> None:
        self.parameters, self.clip = [p for p in parameters if p.requires_grad], config.clip
        self.adam = torch.optim.Adam(self.parameters, lr=config.lr, eps=config.eps, weight_decay=config.weight_decay)

    def step(self) -> None:
        """Clip, step, and forget the gradients."""
        nn.utils.clip_grad_norm_(self.parameters, self.clip)
        self.adam.step()
        self.adam.zero_grad()
