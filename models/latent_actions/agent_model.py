"""World model of an agent that goes on with a model of latent actions: the same RSSM, now under real actions (PreLAR).

Legend: `B` batch, `T` time, `C H W` frame, `A` size of a real action, `L` of a latent one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from ipv_bench.errors import CheckpointError
from models.latent_actions.action_encoder import ActionEncoder
from models.latent_actions.config import RealActionModelConfig
from models.latent_actions.gaussian import negative_log_density
from models.latent_actions.real_actions import RealActionRSSM
from models.nets.config import RSSMConfig
from models.nets.distributions import full_precision
from models.nets.rssm import RSSM
from models.world_models.stacked import StackedOutput, StackedWorldModel

_REAL_ACTIONS = "rssm.embedding."
"""What the names of the network of real actions begin with; it starts anew in every run."""
_ACTION_ENCODER = "action_encoder."


class RealActionWorldModel(StackedWorldModel):
    """World model with actions and rewards, whose RSSM was pre-trained under latent actions.

    With `latent_action.align` other than none it keeps the pre-trained action encoder, frozen, to tie the network of
    real actions to it.

    Args:
        config: see `StackedWorldModel`; not `stacked`, `rssm.action_dim` is L.
        action_dim: A.
        discount: see `StackedWorldModel`.
    """

    config: RealActionModelConfig
    rssm: RealActionRSSM

    def __init__(self, config: RealActionModelConfig, action_dim: int, discount: float | None = None) -> None:
        super().__init__(config, action_dim, discount)
        self.action_encoder: ActionEncoder | None = None
        if config.latent_action.align != "none":
            rssm = config.rssm
            assert rssm.action_dim is not None
            self.action_encoder = ActionEncoder(
                config.latent_action, config.encoder, config.image.size, rssm.hidden, rssm.action_dim
            )
            self.action_encoder.requires_grad_(False)
            self.action_encoder.eval()

    @property
    def fewest_frames(self) -> int:
        """See `StackedWorldModel.fewest_frames`: latent actions lie between two frames."""
        return 2 if self.config.latent_action.align == "nll" else 1

    def train(self, mode: bool = True) -> RealActionWorldModel:
        """As `torch.nn.Module.train`; the frozen action encoder keeps its running statistics."""
        super().train(mode)
        if self.action_encoder is not None:
            self.action_encoder.eval()
        return self

    def make_rssm(self, config: RSSMConfig, embed_size: int) -> RSSM:
        """See `StackedWorldModel.make_rssm`; actions of any size fit."""
        return RealActionRSSM(config, embed_size, self.action_dim)

    def bonus_size(self) -> int:
        """See `StackedWorldModel.bonus_size`."""
        if self.config.intrinsic.features == "embed":
            return self.vision.encoder.embed_size
        return self.config.rssm.feat_size

    def bonus_features(self, out: StackedOutput) -> Tensor:
        """See `StackedWorldModel.bonus_features`."""
        return out.embed if self.config.intrinsic.features == "embed" else out.posterior.feat

    def pretrained_parts(self, init_parts: str) -> dict[str, nn.Module]:
        """See `StackedWorldModel.pretrained_parts`; the network of real actions starts anew."""
        chosen = {
            "vision.encoder": self.vision.encoder,
            "vision.decoder": self.vision.decoder,
            "rssm": self.rssm.pretrained() if init_parts == "all" else None,
            "action_encoder": self.action_encoder,
        }
        return {prefix: module for prefix, module in chosen.items() if module is not None}

    def as_pretrained(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """See `StackedWorldModel.as_pretrained`: without the network of that agent's actions.

        Raises:
            CheckpointError: this model is aligned with an action encoder, which that agent had none of.
        """
        found = {name: value for name, value in tensors.items() if not name.startswith(_REAL_ACTIONS)}
        self._check_action_encoder(found, "agent", "--init with")
        return found

    def as_adapted(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """See `StackedWorldModel.as_adapted`: an action encoder that nothing looks at any more is left behind.

        Raises:
            CheckpointError: this model is aligned with an action encoder, which the adapted one had none of.
        """
        self._check_action_encoder(tensors, "adapted model", "start from")
        return {name: value for name, value in tensors.items()
                if self.action_encoder is not None or not name.startswith(_ACTION_ENCODER)}  # fmt: skip

    def _check_action_encoder(self, tensors: Iterable[str], whose: str, begin: str) -> None:
        if self.action_encoder is not None and not any(name.startswith(_ACTION_ENCODER) for name in tensors):
            raise CheckpointError(
                f"the {whose} to start from kept no action encoder (it was trained with latent_action.align=none), and "
                f"this run has latent_action.align={self.config.latent_action.align}",
                expected=f"an {whose} that was aligned, or a pre-training run",
                fix=f"--set latent_action.align=none, or {begin} the pre-training run",
            )

    def is_held(self, name: str) -> bool:
        """See `StackedWorldModel.is_held`; the network of real actions moves at once."""
        if name.startswith(_REAL_ACTIONS):
            return False
        held = ("vision.encoder.", "rssm.") if self.config.latent_action.hold_rssm else ("vision.encoder.",)
        return name.startswith(held)

    def more_losses(self, target: Tensor, action: Tensor, is_first: Tensor | None) -> dict[str, tuple[float, Tensor]]:
        """See `StackedWorldModel.more_losses`."""
        if self.config.latent_action.align != "nll":
            return {}
        return {"alignment_loss": (self.config.latent_action.align_scale, self.alignment(target, action, is_first))}

    def alignment(self, target: Tensor, action: Tensor, is_first: Tensor | None) -> Tensor:
        """How far embedded real actions are from the latent ones that the pre-trained encoder infers.

        Squared distance to the mean, or with align=nll the negative log density, where directions that the latent
        action does not use cost little: summed over L, averaged over the pairs of frames of one episode.

        Args:
            target: (B, T, C, H, W) scaled frames.
            action: (B, T, A) action that led to each frame.
            is_first: (B, T), 1 where an episode starts: no action led there. None: nowhere.
        """
        assert self.action_encoder is not None
        with torch.no_grad():
            inferred = self.action_encoder(target)  # (B, T - 1, L)
        embedded = full_precision(self.rssm.embedding(action[:, 1:]))  # (B, T - 1, L)
        mean = full_precision(inferred.mean)
        if self.config.latent_action.align == "nll":
            assert inferred.std is not None
            distance = negative_log_density(embedded, mean, inferred.std)  # (B, T - 1)
        else:
            distance = (embedded - mean).square().sum(-1)
        if is_first is None:
            return distance.mean()
        inside = 1 - is_first[:, 1:].to(distance.dtype)
        return (distance * inside).sum() / inside.sum().clamp_min(1)
