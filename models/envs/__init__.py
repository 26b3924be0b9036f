"""Environments of every task suite behind one protocol (`models.envs.base`), and the processes that host them.

Where Gymnasium is installed, importing this registers our tasks there:
`gymnasium.make("ipv_bench/dmc-cheetah_run-v0")`.
"""

from models.envs.base import Env, EnvConfig, Observation
from models.envs.registry import make_env, task_names

__all__ = ["Env", "EnvConfig", "Observation", "make_env", "task_names"]


def _register_in_gymnasium() -> None:
    try:
        from models.envs.gymnasium_tasks import register_our_suites
    except ImportError:  # Gymnasium is no part of the base, nor of every suite
        return
    register_our_suites()


_register_in_gymnasium()
