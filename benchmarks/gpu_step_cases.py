"""The updates that gpu_step.py measures: models of ours and their plain reading, with batches of the real shapes."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from plain_reading import PlainOptimizer, behavior_losses, stacked_loss, video_loss
from torch import Tensor

from models.agents.agent import Agent
from models.finetune import build_agent
from models.pretrain import build_training

PRETRAIN = {
    "pretrain_contextwm_16x25": ("contextwm", 16, 25),
    "pretrain_apv_16x25": ("apv", 16, 25),
    "pretrain_contextwm_64x25": ("contextwm", 64, 25),
    "pretrain_apv_64x25": ("apv", 64, 25),
}
"""Method, segments, frames of each."""
FINETUNE = {"finetune_metaworld_50x50": ("metaworld", 50, 50, 4), "finetune_dmcr_16x50": ("dmcr", 16, 50, 6)}
"""Suite, windows, steps, action size."""
CASES = (
    "pretrain_contextwm_16x25", "finetune_dmcr_16x50", "pretrain_apv_16x25", "finetune_metaworld_50x50",
    "pretrain_contextwm_64x25", "pretrain_apv_64x25",
)  # fmt: skip
TINY = {
    "encoder.cnn_depth": 8, "decoder.cnn_depth": 8, "rssm.deter": 32, "rssm.hidden": 32, "rssm.stoch": 4,
    "rssm.discrete": 4,
}  # fmt: skip
TINY_AGENT = TINY | {
    "intrinsic.queue_size": 64, "reward.units": 32, "behavior.units": 32, "behavior.horizon": 4,
}  # fmt: skip


class Case:
    """One batch size of one update: the batches, and the update in any form.

    Args:
        name: of CASES.
        device: where it computes.
        quick: tiny sizes.
    """

    def __init__(self, name: str, device: torch.device, *, quick: bool) -> None:
        self.name, self.device, self.quick = name, device, quick
        self.pretraining = name in PRETRAIN
        if self.pretraining:
            self.part, batch, length = PRETRAIN[name]
        else:
            self.part, batch, length, self.actions = FINETUNE[name]
        self.shape = (2, 6) if quick else (batch, length)
        self.batches = [self._batch(seed) for seed in range(4)]

    @property
    def frames(self) -> int:
        """Of one update."""
        return self.shape[0] * self.shape[1]

    def _batch(self, seed: int) -> dict[str, Tensor]:
        g = torch.Generator().manual_seed(seed)
        # Smooth pictures in slow motion: noise would make the loss a constant that no error can move.
        coarse = torch.rand(*self.shape[:1], 3, 8, 8, generator=g)
        picture = F.interpolate(coarse, 96, mode="bilinear", align_corners=False)
        shown = [picture[..., t % 32 : t % 32 + 64, :64] for t in range(self.shape[1])]
        image = (torch.stack(shown, 1) * 255).to(torch.uint8).movedim(2, -1).contiguous()  # (B, T, 64, 64, 3)
        if self.pretraining:
            return {"image": image.to(self.device)}
        found = {
            "image": image,
            "action": torch.rand(*self.shape, self.actions, generator=g) * 2 - 1,
            "reward": torch.rand(*self.shape, generator=g),
            "is_first": F.pad(torch.zeros(self.shape[0], self.shape[1] - 1), (1, 0), value=1.0),
        }
        return {key: value.to(self.device) for key, value in found.items()}

    def ours(self, form: dict[str, Any]) -> Any:
        """The trainer in one form, with the weights that every form starts from."""
        tf32 = bool(form.get("tf32"))
        values = {f"training.{key}": value for key, value in form.items() if key not in ("tf32", "round")}
        values = {"training.cuda_graph": False, "training.compile": False} | values
        values |= {"training.device": str(self.device), "training.threads": 0}
        if self.pretraining:
            sizes = TINY if self.quick else {}
            made: Any = build_training("paper", values | sizes | {"method": self.part})
        else:
            # Everything is trained from the first update on, as in all but the first hundred of a run.
            sizes = TINY_AGENT if self.quick else {}
            values |= sizes | {"training.encoder_frozen_updates": 0}
            made = build_agent(f"paper/{self.part}", values, None, self.actions)
        if self.device.type == "cuda":
            torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32
            torch.backends.cudnn.benchmark = True
        return made

    def update(self, made: Any, number: int) -> float:
        """Make update `number`; returns the loss."""
        batch = self.batches[number % len(self.batches)]
        if self.pretraining:
            told = made.step(batch["image"])
            return float(told.get("loss", float("nan")))
        told = made.update(batch)
        return float(told.get("model_loss", float("nan")))

    def plain(self) -> Callable[[int], None]:
        """The baseline's update: the published order of operations in fp16 (without autocast on the CPU)."""
        made = self.ours({"precision": "fp32"})
        if self.pretraining:
            return self._plain_pretraining(made.model)
        return self._plain_finetuning(made)

    def _plain_pretraining(self, model: Any) -> Callable[[int], None]:
        model = copy.deepcopy(model).to(memory_format=torch.contiguous_format)
        optimizer = PlainOptimizer(list(model.parameters()), model.config.optimizer)
        is_first = F.pad(torch.zeros(self.shape[0], self.shape[1] - 1), (1, 0), value=1.0).to(self.device)
        scaler = self._scaler()

        def update(number: int) -> None:
            image = self.batches[number % len(self.batches)]["image"]
            with self._half():
                loss = video_loss(model, image, is_first, None, model.config.context.dropout)
            torch.autograd.backward(scaler.scale(loss))
            scaled_step(scaler, [optimizer])

        return update

    def _plain_finetuning(self, agent: Agent) -> Callable[[int], None]:
        networks = copy.deepcopy(agent.networks).train().to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
        model, behavior, config = networks["model"], networks["behavior"], agent.config
        held = ("vision.encoder.", "vision.context_encoder.", "action_free_rssm.")
        named = dict(model.named_parameters())
        groups = [
            PlainOptimizer([p for n, p in named.items() if n.startswith(held)], config.optimizer),
            PlainOptimizer([p for n, p in named.items() if not n.startswith(held)], config.optimizer),
        ]
        both = [
            PlainOptimizer(list(behavior.actor.parameters()), config.behavior.actor_optimizer),
            PlainOptimizer(list(behavior.critic.parameters()), config.behavior.critic_optimizer),
        ]
        queue = torch.zeros(config.intrinsic.queue_size, config.intrinsic.queue_dim, device=self.device)
        scalers = [self._scaler(), self._scaler()]

        def update(number: int) -> None:
            batch = self.batches[number % len(self.batches)]
            fields = (batch["image"], batch["action"], batch["reward"], batch["is_first"])
            with self._half():
                loss, states = stacked_loss(model, fields, queue, None, config.context.dropout)
            torch.autograd.backward(scalers[0].scale(loss))
            scaled_step(scalers[0], groups)
            start = [value.detach().flatten(0, 1) for value in states[:2]]
            with self._half():
                actor_loss, critic_loss = behavior_losses(behavior, model, start, None)
            torch.autograd.backward(scalers[1].scale(actor_loss + critic_loss))
            scaled_step(scalers[1], both)
            model.zero_grad()

        return update

    def _scaler(self) -> torch.amp.GradScaler:
        return torch.amp.GradScaler(self.device.type, enabled=self.device.type == "cuda")

    def _half(self) -> Any:
        return torch.autocast(self.device.type, torch.float16, enabled=self.device.type == "cuda")


def scaled_step(scaler: torch.amp.GradScaler, optimizers: list[PlainOptimizer]) -> None:
    """Unscale, clip and step, as fp16 training does."""
    for optimizer in optimizers:
        scaler.unscale_(optimizer.adam)
        torch.nn.utils.clip_grad_norm_(optimizer.parameters, optimizer.clip)
        scaler.step(optimizer.adam)
        optimizer.adam.zero_grad()
    scaler.update()
