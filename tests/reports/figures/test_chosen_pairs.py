"""Which runs stand in UWM's figures: variants are told apart, repeats are counted, and titles say which is which."""

from __future__ import annotations

from pathlib import Path

from ipv_bench.analysis_record import AnalysedRun, AnalysisRecord
from reports.figures.chosen_pairs import MOST, choose
from reports.readers.analyses import Analysis


def pairs(data_set: str, variant: str = "", seed: int = 0, step: int = 400) -> Analysis:
    run = AnalysedRun(
        label="UWM", line="UWM", run="runs/x", kind="pretrain", method="uwm", display_name="UWM", variant=variant,
        seed=seed, step=step, checkpoint_sha256="",
    )  # fmt: skip
    record = AnalysisRecord(kind="pairs", seed=seed, config={}, models=[run], shard_sets=[{"name": data_set}])
    return Analysis(Path(data_set) / variant / f"seed{seed}-{step}" / "pairs", record)


def test_one_run_stands_under_the_name_of_its_data() -> None:
    chosen = choose([pairs("ego4d", "loss=ficc")])
    assert list(chosen.shown) == ["Ego4D"]
    assert chosen.words() == "Ego4D: UWM loss=ficc, seed 0, 400 updates."  # the caption says what the title does not


def test_a_variant_never_stands_for_another_one_however_long_it_was_trained() -> None:
    plain, ficc = pairs("ssv2", "x=1"), pairs("ssv2", "loss=ficc,x=1", step=9000)
    chosen = choose([ficc, plain])
    assert chosen.shown == {
        "Something-Something v2, as it is": plain, "Something-Something v2, loss=ficc": ficc,
    }  # fmt: skip
    assert (chosen.repeats, chosen.more) == (0, 0)


def test_of_repeats_the_longest_of_the_lowest_seed_is_shown_and_the_others_are_counted() -> None:
    kept = pairs("blob", seed=1, step=800)
    chosen = choose([pairs("blob"), pairs("blob", seed=2, step=800), kept, pairs("other")])
    assert chosen.shown["blob"] is kept
    assert chosen.repeats == 2
    assert "Left out: 2 of the same data and variant" in chosen.words()
    assert "blob: UWM, seed 1, 800 updates." in chosen.words()


def test_a_figure_has_room_for_so_many_and_the_plainest_come_first() -> None:
    many = [pairs("blob", f"extractor.layers={n},long.name={'x' * 90}") for n in range(MOST)]
    chosen = choose([*many, pairs("blob")])
    assert len(chosen.shown) == MOST
    assert next(iter(chosen.shown.values())).record.models[0].variant == ""
    assert all(len(title) < 80 for title in chosen.shown)
    assert chosen.more == 1
    assert "for want of room: 1 other variants" in chosen.words()


def test_sets_of_one_name_and_other_contents_are_told_apart() -> None:
    one, other = (
        Analysis(
            found.folder,
            found.record.model_copy(update={"shard_sets": [{"name": "episodes", "inventory_sha256": sha}]}),
        )
        for found, sha in ((pairs("walker"), "aa"), (pairs("cheetah"), "bb"))
    )
    chosen = choose([one, other, one])
    assert chosen.shown == {"episodes": one, "episodes (2, other contents)": other}
    assert chosen.repeats == 1
