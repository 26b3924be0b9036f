"""What is said of training episodes that are shorter than a window."""

from __future__ import annotations

from models.finetuning.short_episodes import short_episodes, short_episodes_told


def test_few_are_told_and_more_than_a_tenth_are_a_warning_with_what_to_set() -> None:
    assert short_episodes(0, 40, 50, "replay.length") == {}
    assert short_episodes_told({}) == []
    few = short_episodes(4, 40, 50, "replay.length")
    assert few == {"episodes": 4, "played": 40}
    assert short_episodes_told(few) == [
        "4 of 40 training episodes were shorter than a window and are not in the replay"
    ]
    (many,) = short_episodes_told(short_episodes(5, 40, 4, "drqv2.n_step"))
    assert many.startswith("warning: 5 of 40 training episodes")
    assert "replay.length 4, that is 3 agent steps" in many
    assert many.endswith("set a smaller drqv2.n_step")
