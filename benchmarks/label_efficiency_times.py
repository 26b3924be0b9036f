"""CPU-seconds of one update of each of label_efficiency.py's models: the only place that its scripts take them from.

`--measure` takes and keeps them; how many updates a pre-training has follows from them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

TIMES_FILE = Path(__file__).parent / "results" / "label_efficiency" / "update_seconds.json"


class Times(NamedTuple):
    """CPU-seconds of one update, one thread.

    Attributes:
        pretrain: method → of pre-training.
        features: method → of the masked autoencoder that is trained first, where there is one.
        adapt: learner → of `adapt`, for the estimate of hours alone.
        settings: method → the settings that were timed, by dotted key; in older files their sha256.
        machine: that it was measured on.
    """

    pretrain: dict[str, float]
    features: dict[str, float]
    adapt: dict[str, float]
    settings: dict[str, dict[str, Any] | str]
    machine: dict[str, Any]


def read_times(file: Path = TIMES_FILE) -> Times:
    """What is kept.

    Raises:
        SystemExit: nothing is.
    """
    if not file.is_file():
        raise SystemExit(f"{file} is not there: `python benchmarks/label_efficiency.py --measure` makes it")
    return Times(**json.loads(file.read_text()))
