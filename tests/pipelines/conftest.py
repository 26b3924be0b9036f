"""Releases that several tests read; none of them changes these folders."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.pipelines.ssv2_maker import make_release, prepare

LENGTHS = (30, 25, 24, 40, 8, 33, 61, 26, 29, 31, 27, 12)


@pytest.fixture(scope="session")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SSv2 release of 12 videos with `LENGTHS` frames."""
    source = tmp_path_factory.mktemp("ssv2")
    make_release(source, LENGTHS)
    return source


@pytest.fixture(scope="session")
def prepared(release: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its shard set, made by one worker without interruption."""
    out = tmp_path_factory.mktemp("shards") / "ssv2"
    assert prepare(release, out) == 0
    return out
