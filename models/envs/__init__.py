"""Environments of every task suite behind one protocol (`models.envs.base`), and the processes that host them.

Where Gymnasium is installed, importing this and Gymnasium, in any order, registers our tasks there:
`gymnasium.make("ipv_bench/dmc-cheetah_run-v0")`.
"""

import contextlib

from models.envs.base import Env, EnvConfig, Observation
from models.envs.on_import import when_imported
from models.envs.registry import make_env, task_names

__all__ = ["Env", "EnvConfig", "Observation", "make_env", "task_names"]


def _register_in_gymnasium() -> None:
    with contextlib.suppress(ImportError):  # of a Gymnasium that is too old or not whole
        import models.envs.gymnasium_tasks  # noqa: F401  (registers them)


when_imported("gymnasium", _register_in_gymnasium)
