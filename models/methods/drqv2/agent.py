"""The agent: networks, their optimisers, and the update that trains them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ipv_bench.errors import CheckpointError
from ipv_bench.seeding import derive_seed
from models.agents.own_policy import OwnPolicy
from models.methods.drqv2.augmentation import shifted_stacks
from models.methods.drqv2.config import DrQv2Config
from models.methods.drqv2.losses import DrQv2Networks
from models.methods.drqv2.policy import StackPolicy
from models.methods.drqv2.transitions import check_windows, transitions_of
from models.training.checkpoint import Checkpoint, count_of
from models.training.compiled import compiled
from models.training.entry_check import check_update_batch, to_tensor
from models.training.hardware import autocast
from models.training.mode import Mode
from models.training.module_tensors import load_tensors
from models.training.optimizer import OptimizerGroup, apply_update, assign_gradients
from models.training.skipped_updates import SkippedUpdates

BATCH_FIELDS = ("image", "action", "reward", "is_first", "is_terminal")


class DrQv2Agent:
    """An agent and everything that its training needs; see `models.methods.base.Agent`.

    All random numbers of update `u` come from generators seeded by (seed, u, purpose), those of acting from
    (seed, call, purpose): nothing of them has to be saved.

    Args:
        config: the run's config.
        action_dim: size A of the environment's actions.
        seed: of the run; decides the first weights too, without touching torch's global generator.
        device: where it computes.

    Attributes:
        updates: updates so far, skipped ones included.
        agent_steps: agent steps of the run, which the noise follows; the loop says (`see_steps`).
    """

    def __init__(self, config: DrQv2Config, action_dim: int, seed: int, device: torch.device) -> None:
        self.config, self.action_dim, self.seed, self.device = config, action_dim, seed, device
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive_seed(seed, 0, "agent parameters"))
            networks = DrQv2Networks(config, action_dim)
        self.networks = networks.to(device)
        if device.type == "cuda":
            self.networks = self.networks.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.mode = Mode(self.networks)
        self._encoder, self._actor, self._critic = (
            OptimizerGroup(name, dict(getattr(networks, name).named_parameters()), optimizer)
            for name, optimizer in {
                "encoder": config.drqv2.encoder_optimizer,
                "actor": config.drqv2.actor_optimizer,
                "critic": config.drqv2.critic_optimizer,
            }.items()
        )
        self._critic_loss, self._actor_loss = networks.critic_loss, networks.actor_loss
        if config.training.compile:
            self._critic_loss, self._actor_loss = compiled(networks.critic_loss), compiled(networks.actor_loss)
        fp16 = config.training.precision == "fp16"
        self._scalers = [torch.amp.GradScaler(device.type) for _ in range(2)] if fp16 else [None, None]
        self.updates, self.agent_steps = 0, 0
        self.skips = SkippedUpdates()
        self._own = OwnPolicy()

    @property
    def noise_std(self) -> float:
        """Standard deviation of the noise at the present step."""
        return self.config.drqv2.noise.at(self.agent_steps)

    def see_steps(self, agent_steps: int) -> None:
        """Hear how many agent steps the run has taken."""
        self.agent_steps = agent_steps

    def update(self, batch: Mapping[str, NDArray[Any] | Tensor]) -> dict[str, float]:
        """One update of critics and encoder, then one of the actor on the same maps, then of the target critics.

        Args:
            batch: image uint8 (B, T, H, W, 3), action (B, T, A), reward, is_first and is_terminal (B, T), with
                T = drqv2.frame_stack + drqv2.n_step; others are ignored.

        Returns:
            Losses and norms; only `skipped_updates` (1) when something was not finite. Then nothing was changed by the
            loss that was not finite, nor by what comes after it.

        Raises:
            ConfigError: a field of the batch is absent, or has another shape, dtype or range.
            TrainingError: ten updates in a row were skipped.
        """
        config, own = self.config, self.config.drqv2
        check_update_batch(batch, config.image.size, self.action_dim, 1, terminal=True)
        image, action, reward, is_first, is_terminal = (self._tensor(batch[name]) for name in BATCH_FIELDS)
        check_windows(image.shape[1], batch["is_first"], own.frame_stack, own.n_step)
        self.mode.set(training=True)
        dtype = self.networks.encoder.dtype
        seen = transitions_of(
            action.to(dtype), reward.to(dtype), is_first, is_terminal,
            own.frame_stack, own.n_step, own.discount,
        )  # fmt: skip
        draws = self.networks.draw(len(image), self._generator("update"))
        image = image.contiguous()
        stack = shifted_stacks(image, seen.frames, draws.shift, own.shift_pad)
        next_stack = shifted_stacks(image, seen.next_frames, draws.next_shift, own.shift_pad)
        std = torch.tensor(self.noise_std, dtype=dtype, device=self.device)
        with autocast(self.device, config.training.precision):
            loss, maps, metrics = self._critic_loss(
                stack, next_stack, seen.action, seen.reward, seen.discount, draws.next_normal, std
            )
        applied, norms = self._apply(loss, [self._encoder, self._critic], 0)
        if applied:
            with autocast(self.device, config.training.precision):
                loss, more = self._actor_loss(maps, draws.normal, std)
            metrics |= more
            applied, more_norms = self._apply(loss, [self._actor], 1)
            norms |= more_norms
        if applied:
            self.networks.move_target()
        self.updates += 1
        self.skips.count(applied, self._scalers, self.updates)
        if not applied:
            return {"skipped_updates": 1.0}
        metrics["batch_reward"] = seen.reward.mean()
        values = torch.stack([value.detach().float() for value in metrics.values()]).tolist()
        found = dict(zip(metrics, values, strict=True)) | {f"{name}_norm": value for name, value in norms.items()}
        return found | {"noise_std": self.noise_std, "skipped_updates": 0.0}

    def act(self, obs: Mapping[str, Any]) -> NDArray[np.float32]:
        """Action for one observation, or for a batch of them; the frames before are carried from call to call.

        Each call counts as that many agent steps: without a loop that says otherwise, the noise follows them.

        Args:
            obs: image uint8 (H, W, 3) or (N, H, W, 3); is_first, bool or (N,): true where an episode starts.

        Returns:
            (A,) or (N, A) in [-1, 1], with noise.

        Raises:
            ConfigError: a field is absent or has another shape or dtype, or N changed in the middle of episodes.
        """
        action = self._own.act(
            obs, self.config.image.size, lambda count: self.policy(count, self.seed, "act", explore=True)
        )
        self.agent_steps += 1 if action.ndim == 1 else len(action)
        return action

    def policy(self, count: int, seed: int, purpose: str, *, explore: bool) -> StackPolicy:
        """A policy with frames of its own for `count` environments; see `StackPolicy`."""
        return StackPolicy(self, count, seed, purpose, explore=explore)

    def see_prefill(self, frames: NDArray[np.uint8]) -> None:
        """Nothing is taken from the prefill's frames."""

    def load_pretrained(self, checkpoint: Checkpoint) -> None:
        """Refuse: there is no part that videos train.

        Raises:
            CheckpointError: always.
        """
        raise CheckpointError(
            f"{checkpoint.path} has nothing for this agent",
            expected="an agent that starts from random weights",
            fix="leave --init out, or choose a method that is pre-trained (--set method=...)",
        )

    def model_tensors(self) -> dict[str, Tensor]:
        """Parameters of all networks, for a checkpoint."""
        return dict(self.networks.state_dict())

    def optimizer_tensors(self) -> dict[str, Tensor]:
        """Moments and step counts of all groups, for a checkpoint."""
        return {name: value for group in self._groups for name, value in group.state_tensors().items()}

    def state(self) -> dict[str, Any]:
        """Counters, for a checkpoint."""
        state: dict[str, Any] = {
            "action_dim": self.action_dim, "updates": self.updates, "agent_steps": self.agent_steps,
            **self.skips.state(),
        }  # fmt: skip
        scales = [scaler.state_dict() for scaler in self._scalers if scaler is not None]
        return state | ({"loss_scales": scales} if scales else {})

    def load(self, checkpoint: Checkpoint) -> None:
        """Go on from a checkpoint of a fine-tuning run.

        Raises:
            CheckpointError: it is of another model.
        """
        load_tensors(self.networks, checkpoint.model, checkpoint.path)
        for group in self._groups:
            group.load_state_tensors(checkpoint.optimizer)
        state = checkpoint.state["agent"]
        self.updates, self.agent_steps = count_of(state["updates"]), count_of(state["agent_steps"])
        self.skips = SkippedUpdates.of(state)
        for scaler, saved in zip(self._scalers, state.get("loss_scales", []), strict=False):
            if scaler is not None:
                scaler.load_state_dict(saved)

    @property
    def _groups(self) -> list[OptimizerGroup]:
        return [self._encoder, self._actor, self._critic]

    def _apply(self, loss: Tensor, groups: list[OptimizerGroup], scaler: int) -> tuple[bool, dict[str, float]]:
        """Gradients of `loss` for `groups` alone, and their step; whether it was taken, and the norms."""
        scale = self._scalers[scaler]
        assign_gradients(loss if scale is None else scale.scale(loss), groups)
        return apply_update(groups, [loss], scale)

    def _generator(self, purpose: str) -> torch.Generator:
        return torch.Generator(self.device).manual_seed(derive_seed(self.seed, self.updates, purpose))

    def _tensor(self, value: NDArray[Any] | Tensor) -> Tensor:
        return to_tensor(value).to(self.device, non_blocking=True)
