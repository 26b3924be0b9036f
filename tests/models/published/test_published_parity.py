"""Our models compute what the published code computes: every documented array of every reference file.

Folders: `published_tensors/` beside this file, and the one that `IPV_BENCH_GOLDEN` names.
"""

from __future__ import annotations

import functools
import os
import re
from pathlib import Path

import pytest
import torch
from torch import Tensor

from models.published.published_names import our_name
from models.training.optimizer import OptimizerGroup, apply_update
from tests.models.published import published_arrays as ours
from tests.models.published.published_reference import Reference, array_names, find_references

OWN_FOLDER = Path(__file__).parent / "published_tensors"
FOLDERS = [OWN_FOLDER, *(Path(folder) for folder in [os.environ.get("IPV_BENCH_GOLDEN")] if folder)]
PATHS = find_references(FOLDERS)
SECTIONS = [
    "eval", "train", "sampled", "grad", "after_step", "policy",
    "bonus", "streamnorm", "lambda", "actor", "critic", "ac",
]  # fmt: skip
INPUTS = re.compile(
    r"in:.*|param:.*|eval:mask_rand_.*|sampled:.*_sample|bonus:(feat|reward)\d|streamnorm:.*_in\d|actor:(feat|x|u)|"
    r"lambda:(reward|value|pcont|bootstrap)|ac:(u|stoch_sample)"
)
# Evaluation mode. In train mode the reference's own float32 batch statistics are off by up to 2e-4.
EVAL_TOLERANCE, TRAIN_TOLERANCE = 1e-5, 1e-3
# Of a gradient's norm, with ours in float64. The reference's float32 errors: a rounding that crosses a ReLU's kink
# moves a whole tensor by 3 % at these sizes, while all gradients together stay within 0.1 %.
ONE_GRADIENT, ALL_GRADIENTS = 0.06, 5e-3


@functools.cache
def load(path: Path) -> tuple[Reference, dict[str, Tensor]]:
    """A reference, and our value of each of its arrays."""
    torch.set_num_threads(1)
    reference = Reference(path)
    if reference.stacked:
        agent, found = ours.sampled_finetuning(reference)
        found |= ours.finetuning_pass(reference, "eval") | ours.finetuning_pass(reference, "train")
        found |= ours.policy_actions(reference)
        for section, function in (
            ("bonus:feat0", ours.bonus_arrays),
            ("streamnorm:*", ours.stream_norm_arrays),
            ("lambda:reward", ours.maths_arrays),
            ("ac:u", ours.behavior_arrays),
        ):
            found |= function(reference) if reference.has(section) else {}
    else:
        agent, found = ours.sampled_pretraining(reference)
        found |= ours.pretraining_pass(reference, "eval") | ours.pretraining_pass(reference, "train")
    for name, parameter in agent.named_parameters():
        found[f"grad:{name}"] = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
    return reference, found | stepped(reference)


def stepped(reference: Reference) -> dict[str, Tensor]:
    """`after_step:` arrays: one step of our optimiser with the reference's gradients."""
    gradients = reference.group("grad:")
    agent = reference.agent()
    parameters = dict(agent.world_model.named_parameters(prefix="world_model"))
    if not reference.has("after_step:*") or gradients.keys() != parameters.keys():
        return {}
    for name, parameter in parameters.items():
        parameter.grad = gradients[name]
    group = OptimizerGroup("model", parameters, reference.config_of_ours.optimizer)
    assert apply_update([group]).applied
    return {f"after_step:{name}": value.detach() for name, value in parameters.items()}


def our_key(reference: Reference, key: str) -> str:
    """The key under which `load` has our value: tensors named after parameters get our names."""
    match = re.fullmatch(r"(grad|after_step|train:bn_after2?):(.+)", key)
    if match is not None:
        return f"{match[1]}:{our_name(match[2], stacked=reference.stacked)}"
    match = re.fullmatch(r"ac:grad_(actor|critic):(.+)", key)
    if match is not None:
        return f"ac:grad_{match[1]}:{our_name(f'_task_behavior.{match[1]}.{match[2]}', stacked=True)}"
    return key


def test_there_is_a_reference_in_the_repository() -> None:
    assert any(path.parent == OWN_FOLDER for path in PATHS)


def checked_keys(path: Path, section: str) -> list[str]:
    """Keys of the arrays of a section that our values are held against."""
    return [key for key in array_names(path) if key.startswith(f"{section}:") and not INPUTS.fullmatch(key)]


PARTS = [
    pytest.param(path, section, id=f"{path.parent.name}-{path.stem}-{section}")
    for path in PATHS
    for section in SECTIONS
    if checked_keys(path, section)
]


@pytest.mark.parametrize(("path", "section"), PARTS)
def test_arrays(path: Path, section: str) -> None:
    reference, found = load(path)
    keys = checked_keys(path, section)
    if section == "grad":
        check_gradients(reference, found, keys)
        return
    tolerance = TRAIN_TOLERANCE if section in ("train", "sampled") else EVAL_TOLERANCE
    for key in keys:
        expected = reference.tensor(key)
        value = found[our_key(reference, key)].to(expected.dtype)
        loose = TRAIN_TOLERANCE if key.startswith("ac:start_") else tolerance
        torch.testing.assert_close(value, expected, rtol=loose, atol=loose, msg=lambda text, key=key: f"{key}: {text}")


def check_gradients(reference: Reference, found: dict[str, Tensor], keys: list[str]) -> None:
    """Each gradient against its norm, and all together; what is zero but for rounding is held to the total."""
    pairs = {key: (found[our_key(reference, key)].double(), reference.tensor(key).double()) for key in keys}
    errors = {key: (a - b).norm() for key, (a, b) in pairs.items()}
    norms = {key: b.norm() for key, (_, b) in pairs.items()}
    total = torch.stack(list(norms.values())).norm()
    assert torch.stack(list(errors.values())).norm() < ALL_GRADIENTS * total
    for key in keys:
        assert errors[key] < ONE_GRADIENT * norms[key] + 1e-5 * total, key


@pytest.mark.parametrize("path", PATHS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_every_documented_array_is_checked(path: Path) -> None:
    reference, found = load(path)
    unchecked = [key for key in reference.keys if not INPUTS.fullmatch(key) and our_key(reference, key) not in found]
    # One optimiser step needs all gradients; a reduced file may leave them out, and then documents no step.
    assert not unchecked
    documented = [key for key, entry in reference.documented.items() if isinstance(entry, dict)]
    assert not [key for key in documented if not reference.has(key)]
    known = {key.split("*")[0] for key in documented}
    assert not [key for key in reference.keys if not key.startswith(tuple(known))]
