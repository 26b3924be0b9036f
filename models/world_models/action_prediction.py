"""A world model that is trained to predict frames from real actions alone: no rewards, no behaviour.

It wraps the world model of an agent (`StackedWorldModel`, or one that a method derives from it) and uses its image
networks and RSSMs; reward heads and the novelty bonus are left as they are. Checkpoints hold the world model's own
names.

Legend: `B` batch, `T` time, `A` size of an action.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn

from models.nets.distributions import balanced_kl, categorical_entropy
from models.training.module_tensors import load_tensors
from models.training.optimizer import OptimizerGroup
from models.world_models.image_model import image_loss
from models.world_models.stacked import StackedDraws, StackedWorldModel, starts

Part = Literal["world_model", "dynamics"]
IMAGE_OFFSET = "vision.scaling.offset"
"""Name of the image offset in checkpoints of world models."""
UNUSED = ("reward_head.", "aux_reward_head.", "discount_head.", "intrinsic_bonus.", "action_encoder.")
"""Parameters of an agent's world model that predicting frames does not train."""


class ActionPrediction(nn.Module):
    """Training and open-loop prediction under given actions; see `models.methods.base.ActionModel`.

    Args:
        world_model: of an agent.
        parts: `world_model` trains image networks and RSSMs; `dynamics` the action-conditional RSSM alone, with
            everything else as it came, statistics of norms included.
    """

    def __init__(self, world_model: StackedWorldModel, parts: str) -> None:
        super().__init__()
        self.world_model, self.parts = world_model, parts
        self._has_offset = False
        self._partition = [(group.name, list(group.parameters), group.config) for group in world_model.groups()]
        for name, parameter in world_model.named_parameters():
            moves = not name.startswith(UNUSED) and (parts == "world_model" or name.startswith("rssm."))
            parameter.requires_grad_(moves)

    @property
    def action_dim(self) -> int:
        """A."""
        return self.world_model.action_dim

    @property
    def fewest_frames(self) -> int:
        """See `StackedWorldModel.fewest_frames`."""
        return self.world_model.fewest_frames

    def train(self, mode: bool = True) -> ActionPrediction:
        """As `torch.nn.Module.train`; what is frozen stays in evaluation mode."""
        super().train(mode)
        if self.parts == "dynamics":
            self.world_model.vision.eval()
        return self

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """The world model's."""
        return self.world_model.state_dict(*args, **kwargs)

    def load_state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """The world model's."""
        return self.world_model.load_state_dict(*args, **kwargs)

    def load_adapted(self, tensors: Mapping[str, Tensor], where: Any) -> None:
        """Take over an adapted model, whole.

        Raises:
            CheckpointError: it is of another model.
        """
        load_tensors(self, self.world_model.as_adapted(tensors), where)

    def optimizer_groups(self) -> list[OptimizerGroup]:
        """The world model's groups, without what does not move; `encoder` comes first where there is one."""
        named = {key: value for key, value in self.world_model.named_parameters() if value.requires_grad}
        chosen = [(name, [key for key in keys if key in named], config) for name, keys, config in self._partition]
        return [
            OptimizerGroup(name, {key: named[key] for key in keys}, config) for name, keys, config in chosen if keys
        ]

    def set_mean_image(self, images: Tensor) -> None:
        """Take the mean of uint8 frames (N, H, W, 3) as the image offset, where the config asks for that and no
        pre-trained weights brought theirs (`keep_offset`)."""
        if not self._has_offset:
            self.world_model.vision.scaling.set_mean_image(images)

    def keep_offset(self, offset: Tensor) -> None:
        """Take the image offset (3, H, W) or (1, 1, 1) that pre-trained weights learned beside, and keep it; of another
        kind than this config's `image.offset` (`init_allow`) it is left."""
        own = self.world_model.vision.scaling.offset
        self._has_offset = offset.shape == own.shape
        if self._has_offset:
            own.copy_(offset)

    def draw(self, batch: int, length: int, generator: torch.Generator, observed: int | None = None) -> StackedDraws:
        """All random numbers of a pass over (batch, length) frames."""
        return self.world_model.draw(batch, length, generator, observed)

    def forward(self, image: Tensor, action: Tensor, draws: StackedDraws) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss (scalar) and its parts (detached scalars).

        Each segment starts afresh: the action into its first frame came from a frame that it does not hold, and is
        masked.

        Args:
            image: uint8 (B, T, H, W, 3).
            action: (B, T, A) action that led to each frame.
            draws: from `draw`.
        """
        model, weights = self.world_model, self.world_model.config.loss
        is_first = starts(action)  # (B, T)
        target = model.vision.scaling(image)  # (B, T, 3, H, W)
        maps = model.vision.context_maps(target, draws.context)
        out = model.observe(model.vision.embed(target), action, is_first, draws)
        prediction = model.vision.decode(out.posterior.feat, maps, draws.context)
        kl, kl_value = balanced_kl(out.posterior.logit, out.prior_logit, weights.kl_balance, weights.free_nats)
        reconstruction = image_loss(prediction, target)
        loss = weights.kl_scale * kl + weights.image_scale * reconstruction
        if out.action_free is not None and out.action_free_prior is not None and weights.action_free_kl_scale:
            lower, _ = balanced_kl(
                out.action_free.logit, out.action_free_prior, weights.kl_balance, weights.free_nats
            )  # fmt: skip
            loss = loss + weights.action_free_kl_scale * lower
        metrics = {"kl_loss": kl, "image_loss": reconstruction, "kl": kl_value.mean()}
        for name, (scale, value) in model.more_losses(target, action, is_first).items():
            loss = loss + scale * value
            metrics[name] = value
        with torch.no_grad():
            metrics["posterior_entropy"] = categorical_entropy(out.posterior.logit).mean()
            metrics["prior_entropy"] = categorical_entropy(out.prior_logit).mean()
        return loss, {"loss": loss.detach()} | {key: value.detach() for key, value in metrics.items()}

    def open_loop(self, image: Tensor, action: Tensor, observed: int, generator: torch.Generator) -> Tensor:
        """(B, T, 3, H, W) in [0, 1]: the first `observed` frames are seen, the rest follow from actions alone."""
        return self.world_model.open_loop(image, observed, generator, action)
