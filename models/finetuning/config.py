"""Config of `ipv-bench finetune`; each section's class stands beside its component."""

from __future__ import annotations

from pydantic import Field, model_validator

from ipv_bench.config import Config
from models.agents.config import AgentConfig, AgentTrainingConfig
from models.envs.base import EnvConfig
from models.finetuning.replay import ReplayConfig


class EnvsConfig(Config):
    """How many environments play at once, and where they run."""

    count: int = Field(1, ge=1)
    """Training environments stepped in lockstep. Part of the algorithm: it changes which episodes are seen when."""
    workers: int = Field(1, ge=0)
    """Processes that host the environments; 0 runs them in this process. Never changes a result."""
    step_timeout_seconds: float = Field(120.0, gt=0)
    """An environment that takes longer for one step is killed and started again; its episode is dropped."""


class EvaluationConfig(Config):
    """Scores while training, by the protocol of the task suite."""

    every: int = Field(10_000, ge=0)
    """Environment steps between evaluations; the first follows the prefill, the last ends the run. 0: the last only."""
    episodes: int = Field(10, ge=1)
    """Episodes of each evaluation."""
    parallel: int = Field(1, ge=1)
    """Episodes played at the same time, in lockstep. Part of the config: sums of another batch size round otherwise."""
    video_episodes: int = Field(1, ge=0)
    """Episodes of each evaluation that are kept as a video in the run's `videos/`."""
    random_episodes: int = Field(20, ge=0)
    """Episodes of the uniform random policy, played once per run (without rendering) for the figures' random line."""


class FinetuneTrainingConfig(AgentTrainingConfig):
    """The loop around environment steps and updates."""

    env_steps: int = Field(255_000, ge=1)
    """Simulator control steps (agent steps × action repeat), prefill included; the run ends with the episode that
    reaches them."""
    prefill: int = Field(5000, ge=1)
    """Agent steps of the uniform random policy before the first update; at least one episode is stored."""
    pretrain_updates: int = Field(100, ge=0)
    """Updates between the prefill and the first step of the agent."""
    train_every: int = Field(5, ge=1)
    """Agent steps between two trainings."""
    updates_per_train: int = Field(1, ge=1)
    """Updates of each training."""
    checkpoint_minutes: float = Field(5.0, gt=0, le=10)
    """A checkpoint is taken at the end of an episode when the last one is older than this."""
    checkpoint_episodes: int = Field(0, ge=0)
    """A checkpoint is also taken after every so many episodes; 0: by time alone."""
    keep_last: int = Field(1, ge=1)
    """Newest checkpoints that are kept."""
    stop_grace_seconds: float = Field(20.0, ge=0)
    """How long a stopped run (SIGTERM, Ctrl-C) may go on to finish its episode, so that nothing is lost."""


class FinetuneConfig(AgentConfig):
    """Everything that `ipv-bench finetune` needs."""

    replay: ReplayConfig = ReplayConfig()
    env: EnvConfig = EnvConfig()
    envs: EnvsConfig = EnvsConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    training: FinetuneTrainingConfig = FinetuneTrainingConfig()

    @model_validator(mode="after")
    def _consistent(self) -> FinetuneConfig:
        if self.env.image_size != self.image.size:
            raise ValueError(
                f"env.image_size is {self.env.image_size}, but the model takes image.size {self.image.size}"
            )
        if self.replay.length < self.intrinsic.window:
            raise ValueError(
                f"replay.length {self.replay.length} is shorter than intrinsic.window {self.intrinsic.window}"
            )
        return self


RESOURCE_KEYS = (
    "envs.workers", "envs.step_timeout_seconds", "training.checkpoint_minutes", "training.checkpoint_episodes",
    "training.keep_last", "training.stop_grace_seconds", "training.tensorboard", "training.wandb", "training.device",
    "training.threads",
)  # fmt: skip
"""Keys that may change when a run is continued, and that never change what is learned."""

UNNAMED_KEYS = (*RESOURCE_KEYS, "training.log_every", "evaluation")
"""Keys that give a run no variant name."""
