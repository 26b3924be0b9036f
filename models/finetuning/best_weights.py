"""The weights of a run's best evaluation, kept beside those that training goes on from.

For use and for looking at: scores in reports are those of the protocol, whatever stands here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ipv_bench.checkpoint_index import BEST, FOLDER
from ipv_bench.errors import CheckpointError
from ipv_bench.run_record import RunRecord, read_record, write_record
from models.finetuning.counters import Counters
from models.methods.base import Agent
from models.training.checkpoint import count_of, read_state, remove_best, save_checkpoint
from models.world_models.weight_facts import FACTS, weight_facts


def keep_best(folder: Path, agent: Agent, counters: Counters, line: Mapping[str, Any]) -> RunRecord | None:
    """Keep the agent's weights if an evaluation is the best so far.

    Args:
        folder: of the run.
        agent: that was evaluated.
        counters: of the run; they learn of the best score.
        line: of `evaluations.jsonl`.

    Returns:
        The run's record, which now names these weights; None where they are not kept.
    """
    successes = [success for success in line["successes"] if success is not None]
    found = successes or line["returns"]
    score = float(sum(found) / len(found))
    if counters.best_score is not None and score <= counters.best_score:
        return None
    counters.best_score = score
    record = read_record(folder)
    state = {"counters": asdict(counters), "agent": agent.state(), FACTS: weight_facts(record.config)}
    save_checkpoint(folder, counters.agent_steps, agent.model_tensors(), {}, state, name=BEST)
    best = {
        "checkpoint": f"{FOLDER}/{BEST}", "env_steps": counters.env_steps,
        "success_rate" if successes else "mean_return": score,
    }  # fmt: skip
    return _noted(folder, record, best)


def drop_cut_best(folder: Path, counters: Counters) -> RunRecord | None:
    """Forget the weights of an evaluation that the run does not know any more, for it goes on from before that.

    On a CPU it comes again, the same to the bit. On a GPU it may come out otherwise: then `checkpoints/best` would be
    of a score that stands nowhere. The best of those that come is kept instead; older weights are gone.

    Returns:
        The run's record without them; None where they stay, or there are none.
    """
    try:
        kept = count_of(read_state(folder / FOLDER / BEST)["counters"]["env_steps"])
    except (CheckpointError, LookupError, TypeError, ValueError):  # there is none, or nobody can take it
        return None
    if kept <= counters.evaluated_at:  # a checkpoint at its step may be from before it
        return None
    counters.best_score = None
    record = _noted(folder, read_record(folder), None)
    remove_best(folder)
    return record


def _noted(folder: Path, record: RunRecord, best: Mapping[str, Any] | None) -> RunRecord:
    changed = record.model_copy(update={"best_evaluation": best})
    write_record(folder, changed)
    return changed
