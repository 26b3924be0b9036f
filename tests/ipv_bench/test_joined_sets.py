"""Several shard sets in one name."""

from __future__ import annotations

import pytest

from ipv_bench.errors import RunError
from ipv_bench.joined_sets import LONGEST_FOLDER, sets_folder, told_sets
from ipv_bench.run_record import RunRecord, run_folder


def test_sets_of_one_name_are_counted_for_people() -> None:
    assert told_sets([]) == ""
    assert told_sets(["ssv2"]) == "ssv2"
    assert told_sets(["ssv2", "human36m"]) == "ssv2+human36m"
    assert told_sets(["ssv2"] * 25 + ["human36m"]) == "25 x ssv2+human36m"


def test_a_folders_name_is_as_it_was_where_it_is_short_and_never_too_long() -> None:
    assert sets_folder(["ssv2", "ssv2", "human36m"]) == "ssv2+ssv2+human36m"
    assert sets_folder(["ssv2"] * 60 + ["human36m"]) == "60xssv2+human36m"
    kitchens = [f"kitchen-{number:03d}" for number in range(60)]
    found = sets_folder(kitchens)
    assert found.startswith("60-sets-")
    assert len(found) <= LONGEST_FOLDER
    assert found == sets_folder(kitchens) != sets_folder(reversed(kitchens))


def test_a_run_of_a_hundred_sets_has_a_folder() -> None:
    for names in (["ssv2"] * 100, [f"kitchen-{number}" for number in range(100)]):
        record = RunRecord(kind="pretrain", method="apv", seed=0, preset="tiny", config={}, pretraining={"data": names})
        assert len(run_folder("runs", record).parts) == 5
    record = RunRecord(
        kind="pretrain", method="apv", seed=0, preset="tiny", config={}, pretraining={"data": ["../x"] * 100}
    )
    with pytest.raises(RunError, match="the run's data"):  # one that no folder may be called, however many there are
        run_folder("runs", record)
