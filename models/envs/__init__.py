"""Environments of every task suite behind one protocol (`models.envs.base`), and the processes that host them."""

from models.envs.base import Env, EnvConfig, Observation
from models.envs.registry import make_env, task_names

__all__ = ["Env", "EnvConfig", "Observation", "make_env", "task_names"]
