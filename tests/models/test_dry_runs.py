"""A dry run is quick because of what it does not import; the modules that it loads are counted, no time is."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from ipv_bench.cli import run
from models.training.checkpoint import save_checkpoint

HEAVY = ("torch", "safetensors", "gymnasium", "mujoco", "dm_control", "metaworld", "scipy", "pandas", "av")

CODE = """
import json, sys
from ipv_bench.cli import run
for command in json.loads(sys.argv[1]):
    status = run([*command, "--dry-run"])
    print("\\nLOADED", json.dumps([status, [name for name in sys.argv[2:] if name in sys.modules]]))
"""


def loaded(*commands: list[str]) -> tuple[list[list[object]], str]:
    """(Exit status, heavy modules loaded so far) after each dry run, all in one fresh process; and what was printed."""
    words = [sys.executable, "-c", CODE, json.dumps(commands), *HEAVY]
    done = subprocess.run(words, capture_output=True, text=True, timeout=600, check=True)
    lines = [line.removeprefix("LOADED ") for line in done.stdout.splitlines() if line.startswith("LOADED ")]
    return [json.loads(line) for line in lines], done.stdout + done.stderr


def finetune(method: str, task: str, *words: str) -> list[str]:
    return ["finetune", "--preset", "tiny", "--set", f"method={method}", "--task", task, *words]


def test_no_dry_run_imports_torch_or_a_simulator(tmp_path: Path) -> None:
    checkpoint = save_checkpoint(tmp_path / "parent", 3, {"x": torch.zeros(1)}, {}, {})
    commands = [
        finetune("contextwm", "metaworld/drawer_open", "--init", "none"),
        finetune("contextwm", "dmc/cheetah_run", "--init", str(checkpoint)),
        finetune("apv", "dmcr/cheetah_run", "--init", "none"),
        finetune("prelar", "metaworld-remastered/drawer_open", "--init", "none"),
        finetune("dreamerv2", "dmc/cheetah_run"),
        finetune("drqv2", "dmc/cheetah_run"),
        finetune("isodream", "dmc/cheetah_run"),
        *(["pretrain", "--set", f"method={method}"] for method in ("contextwm", "apv", "prelar", "uwm")),
        ["adapt", "none", "--set", "method=apv", "--set", "preset=tiny", "--data", str(tmp_path / "set")],
    ]
    results, text = loaded(*commands)
    assert results == [[0, []]] * len(commands)
    assert str(checkpoint) in text


TASK = "dmc/cheetah_run"  # 1,000 control steps; `tiny` repeats each action four times
SIXTY_FOUR = "expected: image.size=64, the only size"
TOO_LONG = "an episode of dmc/cheetah_run has at most 250 agent steps (1000 control steps at env.action_repeat=4)"

REFUSED: dict[str, tuple[str, list[str], tuple[str, str, str]]] = {
    "a replay below a window": (
        "drqv2", ["replay.capacity=2"],
        ("replay.capacity 2 is less", "expected: replay.capacity of at least 3", "set it to 3 or more"),
    ),
    "a number below its bound": (
        "drqv2", ["drqv2.noise.steps=-1"],
        ("drqv2.noise.steps is -1", "expected: a whole number, at least 0", "give drqv2.noise.steps such a value"),
    ),
    "one of two sizes": (
        "drqv2", ["image.size=96"],
        ("env.image_size is 64", "expected: the same for both", "set image.size and env.image_size to one number"),
    ),
    "frames that no kernel of Iso-Dream fits": (
        "isodream", ["image.size=80", "env.image_size=80"],
        ("image.size is 80", SIXTY_FOUR, "leave image.size and env.image_size out"),
    ),
    "the same, no multiple of 16": (
        "isodream", ["image.size=84"], ("image.size is 84", SIXTY_FOUR, "leave image.size and env.image_size out"),
    ),
    "frames that no kernel of DreamerV2 fits": (
        "dreamerv2", ["image.size=80", "env.image_size=80"],
        ("image.size is 80, with plain convolutions", SIXTY_FOUR, "set encoder.kind=residual decoder.kind=residual"),
    ),
    "half of its networks": (
        "dreamerv2", ["image.size=80", "env.image_size=80", "encoder.kind=residual"],
        ("plain convolutions (decoder.kind)", SIXTY_FOUR, "decoder.kind=residual"),
    ),
    "a fusion into plain networks": (
        "dreamerv2", ["context.fusion=concat"],
        ("with context.fusion=concat", "expected: residual ones", "or context.fusion=none"),
    ),
    "heads that divide nothing": (
        "contextwm", ["context.heads=3"], ("context.heads=3", "expected: a divisor", "set context.heads=1"),
    ),
    "depths that differ": (
        "contextwm", ["encoder.cnn_depth=4"],
        ("encoder.cnn_depth is 4, decoder.cnn_depth is 8", "expected: equal depths", "decoder.cnn_depth=4"),
    ),
    "a future that the branch has not": (
        "isodream", ["isolation.window=5"],
        ("isolation.window=5", "expected: isolation.free_branch=posterior", "set isolation.free_branch=posterior"),
    ),
    "returns longer than an episode": (
        "drqv2", ["drqv2.n_step=251"],
        (f"drqv2.n_step is 251, and {TOO_LONG}", "expected: drqv2.n_step of at most 250", "set drqv2.n_step=250"),
    ),
    "windows longer than an episode": (
        "dreamerv2", ["replay.length=252"],
        (f"replay.length is 252, and {TOO_LONG}", "expected: replay.length of at most 251", "set replay.length=251"),
    ),
    "windows longer than a shortened episode": (
        "dreamerv2", ["replay.length=22", "env.time_limit=80"],
        ("has at most 20 agent steps", "expected: replay.length of at most 21", "set replay.length=21"),
    ),
    "a limit behind the suite's own": (
        "dreamerv2", ["env.time_limit=1001"],
        ("dmc/cheetah_run ends after 1000", "expected: at most 1000", "leave env.time_limit out"),
    ),
}  # fmt: skip


def told(capsys: pytest.CaptureFixture[str], command: list[str]) -> list[str]:
    """What is said of a command that is refused: found, expected, to do."""
    assert run([*command, "--dry-run"]) == 2
    said = capsys.readouterr()
    assert not said.out
    lines = said.err.splitlines()
    assert [line.split()[0] for line in lines] == ["error:", "expected:", "to"]
    return lines


@pytest.mark.parametrize("case", REFUSED)
def test_a_dry_run_refuses_what_the_run_would_and_says_what_to_set(
    case: str, capsys: pytest.CaptureFixture[str]
) -> None:
    method, changes, words = REFUSED[case]
    sets = [word for change in changes for word in ("--set", change)]
    init = ["--init", "none"] if method == "contextwm" else []
    for line, word in zip(told(capsys, finetune(method, TASK, *sets, *init)), words, strict=True):
        assert word in line


@pytest.mark.parametrize(
    ("method", "change", "words"),
    [
        (
            "apv",
            "rssm.action_dim=null",
            ("rssm.action_dim is null", "expected: the width", "leave rssm.action_dim out"),
        ),
        ("uwm", "features.own.patch=7", ("does not divide image.size 64", "expected: a divisor", "patch=8")),
        ("uwm", "extractor.width=33", ("extractor.width 33", "expected: heads that divide", "set extractor.width=36")),
        ("uwm", "features.kind=mae", ("features.name is not set", "a local folder", "set features.name=")),
        ("contextwm", "data.weights=[1, 2]", ("2 weights, and data.sets 1", "a weight for each", "for equal shares")),
        ("contextwm", "validation.warmup=12", ("nothing to predict", "below 12", "set validation.warmup=11 or less")),
    ],
)
def test_so_does_one_of_pre_training(
    method: str, change: str, words: tuple[str, str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["pretrain", "--preset", "tiny", "--set", f"method={method}", "--set", change]
    for line, word in zip(told(capsys, command), words, strict=True):
        assert word in line


@pytest.mark.parametrize(
    ("method", "change"),
    [("drqv2", "drqv2.n_step=250"), ("dreamerv2", "replay.length=251"), ("isodream", "image.size=64")],
)
def test_the_last_value_that_fits_is_taken(method: str, change: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*finetune(method, TASK, "--set", change), "--dry-run"]) == 0
    assert json.loads(capsys.readouterr().out)["task"] == TASK


def test_torch_comes_where_a_network_is_shown() -> None:
    """The paper's Table 1 is read off an encoder that was built: the counter-example of the test above."""
    ((status, modules),), text = loaded(["pretrain", "--preset", "paper"])
    assert (status, modules) == (0, ["torch"])
    assert "Image encoder, as built" in text
