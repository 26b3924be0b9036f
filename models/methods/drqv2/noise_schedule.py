"""The standard deviation of exploration noise, falling with the agent's steps."""

from __future__ import annotations

from pydantic import Field, NonNegativeInt

from ipv_bench.config import Config


class NoiseSchedule(Config):
    """Linear from `start` to `end` over `steps`, constant afterwards.

    Source: DrQ-v2 (arXiv:2107.09645), section 3.1, "scheduled exploration noise". The released code counts agent steps,
    of two frames each.
    """

    start: float = Field(1.0, ge=0)
    """Standard deviation at step 0."""
    end: float = Field(0.1, ge=0)
    """Standard deviation from `steps` on."""
    steps: NonNegativeInt = 500_000
    """Agent steps of the descent (easy tasks 100,000, medium 500,000, hard 2,000,000); 0: `end` from the beginning."""

    def at(self, agent_steps: int) -> float:
        """Standard deviation after `agent_steps` of the run."""
        if agent_steps >= self.steps:
            return self.end
        share = agent_steps / self.steps
        return (1 - share) * self.start + share * self.end
