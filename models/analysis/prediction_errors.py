"""Errors of predicted frames, batch by batch: what `predict` measures before anything is averaged."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ipv_bench.seeding import derive_seed
from models.analysis.action_sources import ActionDriver, of_other_videos
from models.analysis.context_attention import has_attention, recorded_attention
from models.metrics.frechet import FeatureSums
from models.metrics.image_quality import gaussian_blur, mean_squared_error, peak_signal_to_noise, structural_similarity
from models.metrics.lpips import LPIPS, pooled_features

Arrays = dict[str, NDArray[np.generic]]

QUALITY = ("mse", "psnr", "ssim", "lpips")
"""Measures of a predicted frame against the true one; `lpips` where there are weights."""
BEST, COPY, BLURRED, TOLD, SHUFFLED = "best", "copy", "blurred", "told", "shuffled"
BLUR = 1 / 32
"""Standard deviation of the blurred copy's Gaussian, of the picture's side: 2 pixels of 64."""

_FRAMES_AT_ONCE = {"alex": 64, "vgg": 16}


class FrameErrors:
    """Measures of frames against the true ones.

    Args:
        observed: frames that are seen; the rest is measured.
        lpips: for `lpips` and for features; None leaves both out.
    """

    def __init__(self, observed: int, lpips: LPIPS | None) -> None:
        self.observed, self.lpips = observed, lpips

    def copy(self, images: Tensor, first: int) -> Arrays:
        """Errors of repeating the last frame that was seen, sharp and blurred; feature sums of the true frames.

        Args:
            images: uint8 (B, T, H, W, 3).
            first: number of the batch's first clip: halves are even and odd clips.
        """
        truth, last = self._future(images), _unit(images[:, self.observed - 1 : self.observed])
        found = self._errors(last, truth, COPY)
        blurred = gaussian_blur(last, BLUR * last.shape[-1])
        found[f"{BLURRED}_mse"] = _numbers(mean_squared_error(blurred, truth))
        if self.lpips is not None:
            numbers = first + np.arange(len(images))
            features = self._features(truth)
            for half in (0, 1):
                _add_sums(found, f"truth{half}", features[numbers % 2 == half])
            _add_sums(found, COPY, np.repeat(self._features(last), truth.shape[1], 1))
        return found

    def prediction(self, images: Tensor, predicted: Tensor, prefix: str = "") -> Arrays:
        """Errors of predicted frames (B, T - observed, 3, H, W), and their feature sums (of the first sample alone)."""
        found = self._errors(predicted, self._future(images), prefix)
        if self.lpips is not None and not prefix:
            _add_sums(found, "predicted", self._features(predicted))
        return found

    def mse(self, images: Tensor, predicted: Tensor) -> Tensor:
        """(B, T - observed) of predicted frames (B, T - observed, 3, H, W)."""
        return mean_squared_error(predicted, self._future(images)).double()

    def _future(self, images: Tensor) -> Tensor:
        return _unit(images[:, self.observed :])  # (B, H, 3, h, w)

    def _errors(self, predicted: Tensor, truth: Tensor, prefix: str) -> Arrays:
        mse = mean_squared_error(predicted, truth)  # (B, H)
        found = {"mse": mse, "psnr": peak_signal_to_noise(mse), "ssim": structural_similarity(predicted, truth)}
        if self.lpips is not None:
            found["lpips"] = self._lpips(predicted, truth)
        return {f"{prefix}_{name}".lstrip("_"): _numbers(values) for name, values in found.items()}

    def _lpips(self, predicted: Tensor, truth: Tensor) -> Tensor:
        """(B, H); `predicted` may have one frame per clip, which then stands for all."""
        assert self.lpips is not None
        parts = []
        for clips in self._chunks(truth):
            second = self.lpips.features(truth[clips].flatten(0, 1))
            guess = predicted[clips]
            first = self.lpips.features(guess.flatten(0, 1))
            if guess.shape[1] != truth.shape[1]:
                first = [each.repeat_interleave(truth.shape[1], 0) for each in first]
            parts.append(self.lpips.distance(first, second).reshape(truth[clips].shape[:2]))
        return torch.cat(parts)

    def _features(self, frames: Tensor) -> NDArray[np.float64]:
        """(B, H, D) pooled features."""
        assert self.lpips is not None
        parts = []
        for clips in self._chunks(frames):
            found = pooled_features(self.lpips.features(frames[clips].flatten(0, 1)))
            parts.append(found.reshape(*frames[clips].shape[:2], -1).double().cpu().numpy())
        return np.concatenate(parts)

    def _chunks(self, frames: Tensor) -> Iterator[slice]:
        assert self.lpips is not None
        size = max(1, _FRAMES_AT_ONCE[self.lpips.backbone] // frames.shape[1])
        return (slice(first, first + size) for first in range(0, len(frames), size))


class ModelErrors:
    """Predicts batches with one model and measures them.

    Args:
        driver: the model, and what it predicts under.
        errors: how frames are measured.
        samples: predictions of each clip; with more than one, the best is measured too.
        region: decoder positions whose attention is shown.
        seed: of the draws.
    """

    def __init__(
        self, driver: ActionDriver, errors: FrameErrors, samples: int, region: Sequence[int], seed: int
    ) -> None:
        self.driver, self.errors, self._samples = driver, errors, samples
        self._region, self._seed = list(region), seed

    @torch.no_grad()
    def measure(
        self,
        images: Tensor,
        tracks: NDArray[np.generic] | None,
        first: int,
        shown: Sequence[int],
        videos: NDArray[np.int64] | None = None,
    ) -> Arrays:
        """Everything about one batch.

        Args:
            images: uint8 (B, T, H, W, 3), on the model's device.
            tracks: the set's actions (B, T, A).
            first: number of the first clip, for the draws.
            shown: places in the batch whose frames are kept for pictures.
            videos: (B,) number of each clip's video; None: each has one of its own.

        Returns:
            `mse`, `psnr`, `ssim`, `lpips` (B, H); the same of the best sample; with actions `told_mse` under the clip's
            own and `shuffled_mse` under those of a clip of another video (NaN where the batch has none); feature sums;
            and `shown` uint8 (k, T, H, W, 3) with `attention` (k, T, L).
        """
        actions = self.driver.actions(images, tracks)
        whole, attention = None, None
        if shown:
            whole, attention = self._with_attention(images, actions, first)
        predicted = self._predict(images, actions, first, 0) if whole is None else whole[:, self.errors.observed :]
        found = self.errors.prediction(images, predicted)
        if self._samples > 1:
            best = self._best(images, actions, first, predicted)
            found |= self.errors.prediction(images, best, BEST)
        if self.driver.shuffles and actions is not None:
            own = self._told(images, actions, first) if self.driver.source == "latent" else found["mse"]
            other = self._shuffled(images, actions, first, np.arange(len(images)) if videos is None else videos)
            found |= {f"{TOLD}_mse": own, f"{SHUFFLED}_mse": other}
        if whole is not None:
            frames = whole[list(shown)].movedim(-3, -1)
            found["shown"] = (frames * 255).round().clamp(0, 255).to(torch.uint8).cpu().numpy()
            if attention is not None:
                found["attention"] = attention[list(shown)].float().numpy()
        return found

    def _with_attention(self, images: Tensor, actions: Tensor | None, first: int) -> tuple[Tensor, Tensor | None]:
        """The first sample whole (B, T, 3, H, W), and the region's attention (B, T, L) where the model has one."""
        model = self.driver.model.model
        if not has_attention(model):
            return self._predict(images, actions, first, 0, decode_from=0), None
        assert isinstance(model, nn.Module)
        with recorded_attention(model, self._region) as records:
            predicted = self._predict(images, actions, first, 0, decode_from=0)
        weights = torch.cat(records)  # (N, L), N = B T for models that decode a batch in one pass
        return predicted, weights.reshape(*images.shape[:2], -1)

    def _best(self, images: Tensor, actions: Tensor | None, first: int, predicted: Tensor) -> Tensor:
        """Of each clip the sample of the smallest error over all predicted frames."""
        best, error = predicted, self.errors.mse(images, predicted).mean(1)  # (B,)
        for number in range(1, self._samples):
            other = self._predict(images, actions, first, number)
            other_error = self.errors.mse(images, other).mean(1)
            better = other_error < error
            best = torch.where(better[:, None, None, None, None], other, best)
            error = torch.where(better, other_error, error)
        return best

    def _shuffled(self, images: Tensor, actions: Tensor, first: int, videos: NDArray[np.int64]) -> NDArray[np.generic]:
        others, known = of_other_videos(videos)
        if not known.any():
            return np.full((len(images), images.shape[1] - self.errors.observed), np.nan)
        error = self._told(images, self.driver.shuffled(actions, self.errors.observed, others), first)
        return np.where(known[:, None], error, np.nan)

    def _told(self, images: Tensor, actions: Tensor, first: int) -> NDArray[np.generic]:
        """Error (B, H) of the first sample under given actions."""
        observed, generator = self.errors.observed, self._generator(images, first, 0)
        return _numbers(self.errors.mse(images, self.driver.told(images, observed, actions, generator, observed)))

    def _predict(
        self, images: Tensor, actions: Tensor | None, first: int, number: int, decode_from: int | None = None
    ) -> Tensor:
        """Sample `number` of a batch, from the first predicted frame on, or from `decode_from`."""
        observed, generator = self.errors.observed, self._generator(images, first, number)
        start = observed if decode_from is None else decode_from
        return self.driver.predict(images, observed, actions, generator, start)

    def _generator(self, images: Tensor, first: int, number: int) -> torch.Generator:
        generator = torch.Generator(images.device)
        return generator.manual_seed(derive_seed(self._seed, first, f"predict, sample {number}"))


def feature_sums(part: Arrays, name: str) -> FeatureSums:
    """The feature sums that a part holds under `name`."""
    return FeatureSums(int(part[f"{name}_count"]), part[f"{name}_total"], part[f"{name}_outer"])  # type: ignore[arg-type]


def _add_sums(found: Arrays, name: str, features: NDArray[np.float64]) -> None:
    sums = FeatureSums.of(features.reshape(-1, features.shape[-1]))
    found[f"{name}_count"] = np.asarray(sums.count)
    found[f"{name}_total"], found[f"{name}_outer"] = sums.total, sums.outer


def _unit(images: Tensor) -> Tensor:
    """uint8 (..., H, W, 3) to (..., 3, H, W) in [0, 1]."""
    return images.movedim(-1, -3).float() / 255


def _numbers(values: Tensor) -> NDArray[np.generic]:
    found: NDArray[np.generic] = values.double().cpu().numpy()
    return found
