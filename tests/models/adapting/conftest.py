"""Small labelled and unlabelled sets, and models pre-trained on the latter."""

from __future__ import annotations

from pathlib import Path

import pytest

from ipv_bench.cli import run
from tests.models.pretraining import small_pretraining
from tests.models.pretraining.small_pretraining import small_labelled_set, small_shard_set


@pytest.fixture(scope="package")
def labelled(tmp_path_factory) -> Path:
    """Sixteen labelled videos, 32 x 32, with actions of two components."""
    return small_labelled_set(tmp_path_factory.mktemp("labelled"))


@pytest.fixture(scope="package")
def unlabelled(tmp_path_factory) -> Path:
    return small_shard_set(tmp_path_factory.mktemp("unlabelled") / "set")


@pytest.fixture(scope="package")
def parents(unlabelled, tmp_path_factory) -> dict[str, Path]:
    """A pre-training run of each of our methods that has one."""
    root = tmp_path_factory.mktemp("pretrained")
    for method in ("apv", "contextwm", "prelar"):
        changes = {"rssm__action_dim": 8} if method == "prelar" else {}
        command = small_pretraining.arguments(unlabelled, root / method, method=method, training__updates=2, **changes)
        assert run([*command, "--quiet"]) == 0
    return {path.name: path for path in root.iterdir()}
