"""LPIPS against a plain reading of its equation, its published values where weights are at hand, and files that lie."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ipv_bench.errors import InputError
from models.metrics.lpips import LPIPS, SMALLEST
from models.metrics.lpips_files import FILES, find_weights, missing_words
from models.metrics.lpips_weights import named_tensors, read_weights, safe_unpickle

WEIGHTS = os.environ.get("IPV_BENCH_LPIPS", "")
ALEX = [(3, 64, 11, 4, 2), (64, 192, 5, 1, 2), (192, 384, 3, 1, 1), (384, 256, 3, 1, 1), (256, 256, 3, 1, 1)]


def file_contents(layers: list[tuple[int, int, int, int, int]], name: str, seed: int = 0) -> dict[str, Any]:
    """Nested arrays as the published file has them, with random numbers."""
    rng = np.random.default_rng(seed)
    convolutions: dict[str, Any] = {}
    for number, (inputs, outputs, kernel, *_) in enumerate(layers):
        scale = (inputs * kernel**2) ** -0.5
        weights = rng.normal(size=(kernel, kernel, inputs, outputs)) * scale
        convolutions[f"Conv_{number}"] = {
            "kernel": weights.astype(np.float32), "bias": rng.normal(size=outputs).astype(np.float32) * 0.1,
        }  # fmt: skip
    heads = {
        f"NetLinLayer_{number}": {"Conv_0": {"kernel": rng.random((1, 1, layer[1], 1)).astype(np.float32)}}
        for number, layer in enumerate(layers)
    }
    return {"params": {name: convolutions, **heads}}


def plain_convolution(x: np.ndarray, layer: dict[str, np.ndarray], stride: int, padding: int) -> np.ndarray:
    """(C, H, W) to (O, H', W'), position by position, then ReLU."""
    kernel, bias = layer["kernel"], layer["bias"]
    size = kernel.shape[0]
    x = np.pad(x, ((0, 0), (padding, padding), (padding, padding)))
    side = (x.shape[1] - size) // stride + 1
    out = np.zeros((kernel.shape[3], side, side))
    for i in range(side):
        for j in range(side):
            patch = x[:, i * stride : i * stride + size, j * stride : j * stride + size]
            out[:, i, j] = np.einsum("chw,hwco->o", patch, kernel) + bias
    return np.maximum(out, 0)


def plain_pool(x: np.ndarray) -> np.ndarray:
    side = (x.shape[1] - 3) // 2 + 1
    return np.stack(
        [[x[:, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3].max((1, 2)) for j in range(side)] for i in range(side)]
    ).transpose(2, 0, 1)


def plain_distance(first: np.ndarray, second: np.ndarray, contents: dict[str, Any]) -> float:
    shift, scale = np.array([-0.030, -0.088, -0.188]), np.array([0.458, 0.448, 0.450])
    maps = [((2 * image - 1) - shift[:, None, None]) / scale[:, None, None] for image in (first, second)]
    total = 0.0
    for number, (_, _, _, stride, padding) in enumerate(ALEX):
        if number in (1, 2):
            maps = [plain_pool(x) for x in maps]
        layer = contents["params"]["AlexNet_0"][f"Conv_{number}"]
        maps = [plain_convolution(x, layer, stride, padding) for x in maps]
        a, b = (x / np.sqrt((x**2).sum(0) + 1e-20) for x in maps)
        head = contents["params"][f"NetLinLayer_{number}"]["Conv_0"]["kernel"].reshape(-1)
        total += float(np.einsum("chw,c->hw", (a - b) ** 2, head).mean())
    return total


def test_lpips_follows_its_equation() -> None:
    contents = file_contents(ALEX, "AlexNet_0")
    model = LPIPS("alex", named_tensors(contents, "alex"))
    images = torch.rand(2, 3, 63, 63, generator=torch.Generator().manual_seed(1))
    found = model(images[:1], images[1:])
    assert found.shape == (1,)
    assert found.item() == pytest.approx(plain_distance(*images.double().numpy(), contents), rel=1e-4)
    assert model(images, images).abs().max() == 0
    with pytest.raises(ValueError, match="31 pixels"):
        model(images[..., :30, :30], images[..., :30, :30])
    assert model(images[..., :31, :31], images[..., :31, :31]).shape == (2,)
    assert SMALLEST["alex"] == 31


def pictures() -> torch.Tensor:
    """Three drawn pictures (3, 3, 64, 64): one, the same moved by four pixels, and the same with stripes."""
    y, x = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    disc = ((x - 32) ** 2 + (y - 32) ** 2 < 300).float()
    first = torch.stack([0.5 + 0.5 * torch.sin(x / 5), 0.5 + 0.5 * torch.cos(y / 7), disc])
    return torch.stack([first, first.roll(4, -1), (first + 0.25 * torch.sin(2.1 * x + 1.3 * y)).clamp(0, 1)])


@pytest.mark.skipif(not WEIGHTS, reason="IPV_BENCH_LPIPS names no folder with the published weights")
@pytest.mark.parametrize(("backbone", "moved", "striped"), [("alex", 0.05065, 0.15004), ("vgg", 0.14900, 0.51579)])
def test_published_weights_give_the_values_they_gave_when_the_example_pictures_gave_the_published_ones(
    backbone: Any, moved: float, striped: float
) -> None:
    """With them ex_ref against ex_p0, ex_p1 of the LPIPS repository gave 0.7219 and 0.1376 (alex), and 0.5686
    and 0.4217 (vgg), as is known. Those pictures are not ours, so drawn ones stand here."""
    path = find_weights(backbone, WEIGHTS)
    assert path is not None
    first, second, third = pictures()[:, None]
    model = LPIPS.load(path, backbone)
    assert model(first, second).item() == pytest.approx(moved, abs=2e-4)
    assert model(first, third).item() == pytest.approx(striped, abs=2e-4)


def test_what_is_missing_is_said_with_the_command_that_fetches_it(tmp_path: Path) -> None:
    assert find_weights("alex", tmp_path) is None
    words = missing_words("alex", tmp_path)
    assert "alexnet.ckpt" in words
    assert str(tmp_path) in words
    assert "python -m models.metrics.fetch_lpips" in words


def test_weights_of_another_hash_are_refused_before_they_are_read(tmp_path: Path) -> None:
    path = tmp_path / FILES["alex"][0]
    path.write_bytes(pickle.dumps(file_contents(ALEX[:1], "AlexNet_0")))
    with pytest.raises(InputError, match="not the published file") as found:
        read_weights(path, "alex")
    assert "fetch_lpips" in str(found.value)


class _Command:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("made-by-a-pickle",)


@pytest.mark.parametrize("bad", [_Command(), {"a": np.array([_Command()], dtype=object)}, {1, 2}.union, Path("x")])
def test_a_pickle_can_name_nothing_but_arrays(bad: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(pickle.UnpicklingError):
        safe_unpickle(pickle.dumps(bad, protocol=3))
    assert not list(tmp_path.iterdir())


def test_arrays_of_old_and_new_numpy_are_read() -> None:
    contents = {"a": np.arange(6, dtype=np.float32).reshape(2, 3)}
    data = pickle.dumps(contents, protocol=3)
    for text in (data, data.replace(b"numpy._core.multiarray", b"numpy.core.multiarray")):
        np.testing.assert_array_equal(safe_unpickle(text)["a"], contents["a"])


def test_a_file_without_some_weights_names_what_is_absent() -> None:
    contents = file_contents(ALEX, "AlexNet_0")
    del contents["params"]["NetLinLayer_3"]
    with pytest.raises(KeyError, match="NetLinLayer_3"):
        named_tensors(contents, "alex")
