"""Fields that a data set cannot heed are refused: what the manifest says was done, was done."""

from __future__ import annotations

from pathlib import Path

import pytest

from ipv_bench.cli import run
from ipv_bench.errors import ConfigError
from pipelines.datasets.base import SourceRow, VideoFile, data_set
from pipelines.datasets.youtube_driving import YoutubeDriving
from pipelines.prepare import resolve_config
from tests.pipelines.decoding.test_selection import write_pictures
from tests.pipelines.ssv2_maker import prepare


@pytest.mark.parametrize("field", ["fps=5", "frame_stride=2", "skip_frames=3", "crop=centre-square", "decoder=decord"])
def test_human36m_takes_each_picture_with_its_box(field: str) -> None:
    release = data_set("human36m")
    with pytest.raises(ConfigError, match=field.partition("=")[0]):
        release.refuse_unheeded(resolve_config(release, "paper", [field]))


def test_driving_by_file_numbers_has_no_times(tmp_path: Path) -> None:
    release = data_set("youtube-driving")
    fields = ["fps=6", "frame_stride=1"]
    with pytest.raises(ConfigError, match="file-number"):
        release.refuse_unheeded(resolve_config(release, "official-code", fields))
    (tmp_path / "dir-1.mp4").write_bytes(b"1")
    config = resolve_config(release, "paper", fields)
    release.refuse_unheeded(config)
    inventory = release.inventory(tmp_path, config)
    assert inventory.items[0].frames == VideoFile("dir-1.mp4")
    row = SourceRow("dir-1", "dir-1.mp4", "written", num_frames_decoded=500, fps=30.0)
    (count,) = release.counts(inventory, [row], config)  # none of frames: it would count each of the 400
    assert "6 frames per second from frame 100 on" in count.rule


@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("ssv2", "splits=[val]"),
        ("ssv2", "splits=[]"),
        ("ssv2", "splits=[labels]"),
        ("youtube-driving", "frame_stride=0"),
        ("youtube-driving", "skip_frames=-1"),
        ("ego4d", "fps=0"),
        ("ego4d", "fps=-5"),
        ("folder", "source_fps=0"),
    ],
)
def test_values_that_mean_nothing_are_refused_by_name(name: str, field: str) -> None:
    with pytest.raises(ConfigError) as caught:
        resolve_config(data_set(name), "paper", [field])
    assert field.partition("=")[0] in str(caught.value)


@pytest.mark.parametrize("name", ["rlbench", "episodes"])
def test_episode_files_hold_no_coded_video(name: str) -> None:
    release = data_set(name)
    with pytest.raises(ConfigError, match="decoder"):
        release.refuse_unheeded(resolve_config(release, "paper", ["decoder=decord"]))


def test_sets_made_with_fields_that_were_ignored_can_still_be_verified(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = tmp_path / "raw", tmp_path / "set"
    write_pictures(source / "dir-1")
    options = ["--profile", "official-code", "--set", "skip_frames=0", "--set", "frame_stride=1", "--set", "fps=6"]
    with monkeypatch.context() as patch:  # as it was made before these fields were refused
        patch.setattr(YoutubeDriving, "refuse_unheeded", lambda self, config: None)
        assert prepare(source, out, *options, name="youtube-driving") == 0
    capsys.readouterr()
    assert run(["verify", str(out), "--source", str(source)]) == 0
    assert "1 source items decoded again" in capsys.readouterr().out
    assert prepare(source, tmp_path / "other", *options, name="youtube-driving") == 2
    assert "fps=6" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("fields", "field"),
    [(["encoding=raw", "jpeg_quality=90"], "jpeg_quality"), (["size=native", "scaling=bilinear-plain"], "scaling")],
)
def test_fields_that_another_leaves_without_effect_are_refused(fields: list[str], field: str) -> None:
    with pytest.raises(ConfigError, match=f"{field} is set, and {fields[0]}"):
        resolve_config(data_set("folder"), "paper", fields)
    resolve_config(data_set("folder"), "paper", fields[1:])
    resolve_config(data_set("folder"), "paper", fields[:1])


def test_folder_says_which_of_its_fields_are_about_nothing(tmp_path: Path) -> None:
    write_pictures(tmp_path / "pictures" / "dir-1")
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "a.mp4").write_bytes(b"1")
    release = data_set("folder")

    def warnings(place: str, *fields: str) -> str:
        return " ".join(release.inventory(tmp_path / place, resolve_config(release, "paper", fields)).warnings)

    assert "source_fps=5 is for folders of numbered pictures" in warnings("videos", "source_fps=5")
    assert "source_fps" not in warnings("pictures", "source_fps=5") + warnings("videos")
    assert "video_column=v is for Parquet files" in warnings("pictures", "video_column=v")
