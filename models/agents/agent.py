"""The agent: stacked world model, actor and critic, their optimisers, and the update that trains them all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ipv_bench.seeding import derive_seed
from models.agents.behavior import ActorCritic, BehaviorDraws
from models.agents.config import AgentConfig
from models.agents.diagnosis import examine_episode
from models.agents.own_policy import OwnPolicy
from models.nets.distributions import TruncatedNormal
from models.nets.rssm import State
from models.training.checkpoint import Checkpoint
from models.training.compiled import compiled
from models.training.entry_check import check_update_batch, to_tensor
from models.training.hardware import autocast, check_cuda_graph, settled
from models.training.kept_values import KeptValues
from models.training.mode import Mode
from models.training.module_tensors import load_tensors
from models.training.optimizer import OptimizerGroup, apply_on_device, apply_update, assign_gradients
from models.training.recorded_update import RecordedUpdate
from models.training.skipped_updates import SkippedUpdates
from models.world_models.stacked import StackedWorldModel

BATCH_FIELDS = ("image", "action", "reward", "is_first")
_MODEL = "model."
"""What comes before the names of the model's tensors in an agent's checkpoint."""


class Agent:
    """An agent and everything that its training needs.

    All random numbers of update `u` come from generators seeded by (seed, u, purpose), those of acting from
    (seed, call, purpose): nothing of them has to be saved.

    Args:
        config: the run's, an `AgentConfig` or of a subclass's own kind.
        action_dim: size A of the environment's actions.
        seed: of the run; decides the first weights too, without touching torch's global generator.
        device: where it computes.

    Attributes:
        updates: updates so far, skipped ones included.
        skips: how many of them were skipped.
    """

    def __init__(self, config: Any, action_dim: int, seed: int, device: torch.device) -> None:
        self.action_dim, self.seed, self.device = action_dim, seed, device
        asked = config.training.cuda_graph
        config = settled(config, device)
        self.config: AgentConfig = config
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive_seed(seed, 0, "agent parameters"))
            predicted = config.behavior.discount if config.behavior.discount_head else None
            model = self.make_model(config, action_dim, predicted)
            behavior = self.make_behavior(config, action_dim)
        self.networks = nn.ModuleDict({"model": model, "behavior": behavior}).to(device)
        if device.type == "cuda":
            self.networks = self.networks.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.mode = Mode(self.networks)
        self.model, self.behavior = model, behavior
        self._model_groups, self._behavior_groups = model.groups(), behavior.groups()
        self._model_forward, self._behavior_forward = model, behavior
        if config.training.compile:
            self._model_forward, self._behavior_forward = compiled(model), compiled(behavior)
        fp16 = config.training.precision == "fp16"
        self._scalers = [torch.amp.GradScaler(device.type) for _ in range(2)] if fp16 else [None, None]
        self._buffers = KeptValues(model.buffers())
        if config.training.cuda_graph:
            check_cuda_graph(device, config.training.precision)
        self._recorded: RecordedUpdate | None = None
        if config.training.cuda_graph:
            self._recorded = RecordedUpdate(self.whole_update, self._buffers, optional=asked == "auto")
        self._metric_names: list[str] = []
        """Of the numbers that `whole_update` returns after the first."""
        self.updates, self.skips = 0, SkippedUpdates()
        self._first_update = 0
        """The update that the held ones are counted from."""
        self._own = OwnPolicy()

    def video_model(self) -> StackedWorldModel:
        """The world model, which predicts frames from actions (`open_loop`)."""
        return self.model

    def make_model(self, config: Any, action_dim: int, discount: float | None) -> StackedWorldModel:
        """The world model, with random weights; see `StackedWorldModel`."""
        return StackedWorldModel(config, action_dim, discount)

    def make_behavior(self, config: Any, action_dim: int) -> ActorCritic:
        """Actor and critic, with random weights; see `ActorCritic`."""
        return ActorCritic(config.behavior, config.rssm.feat_size, action_dim)

    def choose(self, state: Any, generator: torch.Generator) -> TruncatedNormal:
        """The policy at latent states (N, ...) that `model.observe_step` gave."""
        policy: TruncatedNormal = self.behavior.actor(state.upper.feat)
        return policy

    def shortest_window(self) -> int:
        """The fewest steps of a batch's windows."""
        window = self.config.intrinsic.window if self.model.intrinsic_bonus is not None else 1
        return max(window, self.model.fewest_frames)

    def update(self, batch: Mapping[str, NDArray[Any] | Tensor]) -> dict[str, float]:
        """One update of the world model, then one of actor and critic from that batch's posterior states.

        Args:
            batch: image uint8 (B, T, H, W, 3), action (B, T, A), reward (B, T), is_first (B, T) and, with a
                discount head, is_terminal (B, T); others are ignored.

        Returns:
            Losses and norms; only `skipped_updates` (1) when something was not finite. Where it was the model's loss or
            a gradient of it, nothing was changed. Where it was the actor's or the critic's, neither of the two was
            changed, and the model's step stays: imagination goes through the model as this update left it.

        Raises:
            ConfigError: a field of the batch is absent, or has another shape, dtype or range.
            TrainingError: ten updates in a row were skipped.
        """
        window = self.shortest_window()
        predicts_end = self.model.discount_head is not None
        check_update_batch(batch, self.config.image.size, self.action_dim, window, terminal=predicts_end)
        terminal = self._tensor(batch["is_terminal"]) if predicts_end else None
        image, action, reward, is_first = (self._tensor(batch[name]) for name in BATCH_FIELDS)
        self.mode.set(training=True)
        frozen = self.updates - self._first_update < self.config.training.encoder_frozen_updates
        if len(self._model_groups) > 1:
            self._model_groups[0].set_lr_scale(0.0 if frozen else 1.0)
        draws = self.model.draw(image.shape[0], image.shape[1], self._generator("world model"))
        seen = (image, action.float(), reward.float(), is_first, draws, terminal)
        found = self._recorded_update(*seen) if self._recorded is not None else self._stepwise_update(*seen)
        self.updates += 1
        self._count(found is not None)
        return {"skipped_updates": 1.0} if found is None else found | {"skipped_updates": 0.0}

    def _stepwise_update(self, *seen: Any) -> dict[str, float] | None:
        """One update, in which the host looks at the numbers before it applies them; None: it was skipped."""
        self._buffers.keep()  # the forward pass changes them: a skipped update must not leave its NaN there
        loss, metrics, posterior = self._model_loss(*seen)
        scaler = self._scalers[0]
        assign_gradients(loss if scaler is None else scaler.scale(loss), self._model_groups)
        model_step = apply_update(self._model_groups, [loss], scaler)
        if not model_step.applied:
            self._buffers.restore()
            return None
        actor_loss, critic_loss, more = self._behavior_losses(posterior, seen[-1], self._behavior_draws(seen[0]))
        scaler = self._scalers[1]
        # Neither loss reaches the other's network, so their sum has each one's gradients; a compiled graph, which
        # both came from, can be walked back only once.
        both = actor_loss + critic_loss
        assign_gradients(both if scaler is None else scaler.scale(both), self._behavior_groups)
        behavior_step = apply_update(self._behavior_groups, [actor_loss, critic_loss], scaler)
        if not behavior_step.applied:
            return None  # the model's step stands, and its statistics, bonus queue and magnitudes belong to it
        self.behavior.count_update()
        metrics, norms = metrics | more, model_step.norms | behavior_step.norms
        values = torch.stack([value.detach().float() for value in metrics.values()]).tolist()
        return dict(zip(metrics, values, strict=True)) | {f"{name}_norm": value for name, value in norms.items()}

    def _recorded_update(self, *seen: Any) -> dict[str, float] | None:
        """As `_stepwise_update`, by replaying recorded kernels."""
        assert self._recorded is not None
        values = self._recorded(*seen, self._behavior_draws(seen[0])).tolist()
        if not values[0]:
            return None
        self.behavior.count_update()
        return dict(zip(self._metric_names, values[1:], strict=True))

    def whole_update(self, allowed: Tensor, *inputs: Any) -> Tensor:
        """The update without a decision of the host: 1 where all of it was applied, then metrics and gradient norms.

        Args:
            allowed: bool scalar; where it is false nothing is applied.
            inputs: what the world model takes, and the draws of the behaviour.
        """
        *seen, behavior_draws = inputs
        for group in (*self._model_groups, *self._behavior_groups):
            group.make_recordable()
        self._buffers.keep()
        loss, metrics, posterior = self._model_loss(*seen)
        assign_gradients(loss, self._model_groups)
        first = apply_on_device(self._model_groups, [loss], allowed)
        actor_loss, critic_loss, more = self._behavior_losses(posterior, seen[-1], behavior_draws)
        assign_gradients(actor_loss + critic_loss, self._behavior_groups)
        second = apply_on_device(self._behavior_groups, [actor_loss, critic_loss], first.applied)
        self._buffers.restore_unless(first.applied)
        told = metrics | more | {f"{name}_norm": value for name, value in (first.norms | second.norms).items()}
        self._metric_names = list(told)
        return torch.stack([second.applied.float(), *(value.detach().float() for value in told.values())])

    def _model_loss(self, *seen: Any) -> tuple[Tensor, dict[str, Tensor], State]:
        with autocast(self.device, self.config.training.precision):
            result: tuple[Tensor, dict[str, Tensor], State] = self._model_forward(*seen)
        return result

    def _behavior_draws(self, image: Tensor) -> BehaviorDraws:
        return self.behavior.draw(image.shape[0] * image.shape[1], self.model.rssm, self._generator("behavior"))

    def _behavior_losses(
        self, posterior: State, terminal: Tensor | None, draws: BehaviorDraws
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Actor loss, critic loss and metrics of imagination from every posterior state (B, T, ...)."""
        start = posterior.map(lambda value: value.flatten(0, 1))  # (B * T, ...)
        ended = None if terminal is None else terminal.flatten(0, 1)
        model = self.model
        with autocast(self.device, self.config.training.precision):
            result: tuple[Tensor, Tensor, dict[str, Tensor]] = self._behavior_forward(
                model.rssm, model.reward_head, start, draws, model.discount_head, ended
            )
        return result

    def act(self, obs: Mapping[str, Any]) -> NDArray[np.float32]:
        """Action for one observation, or for a batch of them; the state is carried from call to call.

        Args:
            obs: image uint8 (H, W, 3) or (N, H, W, 3); is_first, bool or (N,): true where an episode starts.

        Returns:
            (A,) or (N, A) in [-1, 1], sampled from the policy.

        Raises:
            ConfigError: a field is absent or has another shape or dtype, or N changed in the middle of episodes.
        """
        return self._own.act(
            obs, self.config.image.size, lambda count: self.policy(count, self.seed, "act", explore=True)
        )

    def policy(self, count: int, seed: int, purpose: str, *, explore: bool) -> AgentPolicy:
        """A policy with a state of its own for `count` environments; see `AgentPolicy`."""
        return AgentPolicy(self, count, seed, purpose, explore=explore)

    def examine(self, episode: Mapping[str, NDArray[Any]], number: int) -> dict[str, float]:
        """What the agent expected of an episode beside what it brought, and its model's errors there.

        Nothing of the training is touched. See `models.agents.diagnosis.examine_episode`; `number` names the draws.
        """
        generator = torch.Generator(self.device).manual_seed(derive_seed(self.seed, number, "examine"))
        self.mode.set(training=False)
        return examine_episode(self.model, self.behavior, self.config, episode, generator)

    def see_prefill(self, frames: NDArray[np.uint8]) -> None:
        """Take the mean of the prefill's frames (N, H, W, 3) as the image offset, where the config asks for that."""
        self.model.vision.scaling.set_mean_image(to_tensor(frames).to(self.device))

    def load_pretrained(self, checkpoint: Checkpoint) -> None:
        """Take over a pre-trained model: encoders, decoder and, with `init_parts=all`, the RSSM.

        The checkpoint may be that of an agent too, whose model was fine-tuned. The image scaling stays this run's own.

        Raises:
            CheckpointError: the checkpoint is of another model size, or has no context path where this model has one.
        """
        of_agent = any(name.startswith(_MODEL) for name in checkpoint.model)
        found = {name.removeprefix(_MODEL): value for name, value in checkpoint.model.items()}
        if of_agent:
            found = self.model.as_pretrained(found)
        for prefix, module in self.model.pretrained_parts(self.config.init_parts).items():
            start = f"{prefix}."
            tensors = {name.removeprefix(start): value for name, value in found.items() if name.startswith(start)}
            load_tensors(module, tensors, f"{checkpoint.path} ({prefix})")

    def model_tensors(self) -> dict[str, Tensor]:
        """Parameters and buffers (statistics, bonus queue with its fill, magnitudes), for a checkpoint."""
        return dict(self.networks.state_dict())

    def optimizer_tensors(self) -> dict[str, Tensor]:
        """Moments and step counts of all groups, for a checkpoint."""
        return {name: value for group in self._groups for name, value in group.state_tensors().items()}

    def state(self) -> dict[str, Any]:
        """Counters, for a checkpoint."""
        state: dict[str, Any] = {
            "action_dim": self.action_dim,
            "updates": self.updates,
            **self.skips.state(),
        }
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
        self.updates, self.skips = int(state["updates"]), SkippedUpdates.of(state)
        if self._recorded is not None:
            self._recorded.forget()  # the moments are other tensors now
        for scaler, saved in zip(self._scalers, state.get("loss_scales", []), strict=False):
            if scaler is not None:
                scaler.load_state_dict(saved)

    @property
    def _groups(self) -> list[OptimizerGroup]:
        return [*self._model_groups, *self._behavior_groups]

    def _generator(self, purpose: str) -> torch.Generator:
        return torch.Generator(self.device).manual_seed(derive_seed(self.seed, self.updates, purpose))

    def _tensor(self, value: NDArray[Any] | Tensor) -> Tensor:
        return to_tensor(value).to(self.device, non_blocking=True)

    def _count(self, applied: bool) -> None:
        self.skips.count(applied, self._scalers, self.updates)


class AgentPolicy:
    """The agent's policy for `count` environments, with their latent states.

    Latents are sampled, also for scores (as published); the action is sampled with `explore`, else the mode.

    Args:
        agent: whose networks decide; later updates take effect at the next call.
        count: number N of environments.
        seed: of the random draws.
        purpose: names the random draws.
        explore: sample actions.
    """

    def __init__(self, agent: Agent, count: int, seed: int, purpose: str, *, explore: bool) -> None:
        self.count = count
        self._agent, self._seed, self._purpose, self._explore = agent, seed, purpose, explore
        self._state: Any = None
        self._action = torch.zeros(count, agent.action_dim, device=agent.device)

    @torch.inference_mode()
    def act(self, image: NDArray[np.uint8], is_first: NDArray[np.bool_], index: int) -> NDArray[np.float32]:
        """See `models.finetuning.rollout.Policy.act`; states are reset where `is_first` is true.

        Fewer frames than `count` are allowed when all of them are first ones.
        """
        agent = self._agent
        if len(image) != len(self._action):
            self._state, self._action = None, torch.zeros(len(image), agent.action_dim, device=agent.device)
        generator = torch.Generator(agent.device).manual_seed(derive_seed(self._seed, index, self._purpose))
        agent.mode.set(training=False)
        first = to_tensor(np.asarray(is_first, bool)).to(agent.device)
        frames = to_tensor(image).to(agent.device)
        with autocast(agent.device, agent.config.training.precision):
            self._state = agent.model.observe_step(frames, self._action, first, self._state, generator)
            policy = agent.choose(self._state, generator)
        if self._explore:
            uniform = torch.rand(policy.loc.shape, generator=generator, device=agent.device)
            self._action = policy.sample(uniform)
        else:
            self._action = policy.loc
        return self._action.float().cpu().numpy().astype(np.float32)
