"""UWM's parts: frozen features, codes that start again, what an action depends on, what the adapter moves."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from ipv_bench.errors import CheckpointError, ConfigError, IpvBenchError
from models.adapting.labelled_training import LabelledBatch
from models.adapting.validation import validate_actions
from models.features.frozen import frames_of, patches_of
from models.latent_actions.action_adapter import ActionAdapter
from models.latent_actions.adapted_features import AdaptedFeatureModel
from models.latent_actions.feature_config import AdapterConfig
from models.latent_actions.feature_model import FeatureVideoModel
from models.latent_actions.measure import LatentActionModel
from models.nets.quantizer import QuantizerConfig, VectorQuantizer, batch_perplexity
from models.pretraining.config import ValidationConfig
from models.training.optimizer import AdamWConfig, apply_update
from tests.models.latent_actions.small_uwm import BATCH, LENGTH, SIZE, config, draws_of, frames, video_model
from tests.models.training.test_compiled_update import trace_only


def test_patches_are_rows_of_the_frame_and_come_back() -> None:
    images = torch.arange(2 * 3 * 16 * 16, dtype=torch.float32).reshape(2, 3, 16, 16)
    patches = patches_of(images, 8)
    assert patches.shape == (2, 4, 192)
    assert torch.equal(patches[0, 1].reshape(8, 8, 3).movedim(-1, 0), images[0, :, :8, 8:])
    assert torch.equal(frames_of(patches, 8, 16), images)


def test_vectors_take_their_nearest_code_and_pass_gradients_on_as_they_are() -> None:
    quantizer = VectorQuantizer(QuantizerConfig(codes=3, size=2)).eval()
    with torch.no_grad():
        quantizer.codebook.copy_(torch.tensor([[0.0, 0.0], [1.0, 1.0], [4.0, 0.0]]))
    vectors = torch.tensor([[0.9, 0.8], [3.0, 0.1]], requires_grad=True)
    found = quantizer(vectors)
    assert found.codes.tolist() == [1, 2]
    assert torch.equal(found.value.detach(), quantizer.codebook[[1, 2]].detach())
    weight = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    (found.value * weight).sum().backward()
    assert torch.equal(vectors.grad, weight)  # as if nothing were between
    distance = ((vectors - quantizer.codebook[[1, 2]]) ** 2).mean()
    assert quantizer(vectors).loss.item() == pytest.approx(1.25 * distance.item())


def test_codes_that_nothing_uses_begin_again_at_vectors_of_the_batch() -> None:
    quantizer = VectorQuantizer(QuantizerConfig(codes=4, size=2, usage_decay=0.5)).train()
    vectors = torch.randn(64, 2)
    starts = torch.arange(4)
    quantizer(vectors, starts)
    assert torch.equal(quantizer.codebook.detach(), vectors[:4])  # the first batch gives the codebook
    with torch.no_grad():
        quantizer.codebook[3] = 100.0
    for _ in range(3):
        quantizer(vectors, starts + 10)
    assert quantizer.codebook[3].max() == 100  # nothing is near it, and its running use is not small yet
    for _ in range(8):
        quantizer(vectors, starts + 20)
    assert torch.equal(quantizer.codebook[3].detach(), vectors[23])
    before = quantizer.codebook.detach().clone()
    quantizer.eval()(torch.randn(8, 2))
    assert torch.equal(quantizer.codebook.detach(), before)


def test_perplexity_counts_codes() -> None:
    assert batch_perplexity(torch.zeros(3, 4, dtype=torch.long), 9).item() == pytest.approx(1)
    assert batch_perplexity(torch.arange(9), 9).item() == pytest.approx(9)


@pytest.mark.parametrize("inputs", ["channel_diff", "tokens"])
def test_every_part_learns_and_the_features_do_not(inputs: str) -> None:
    model = video_model(extractor={"inputs": inputs})
    model.train()
    kept = {name: value.clone() for name, value in model.features.state_dict().items()}
    group = model.optimizer_group()
    for update in range(2):
        loss, metrics = model(frames(), draws_of(model, update))
        loss.backward()
        assert all(value.grad is not None and value.grad.abs().max() > 0 for value in group.parameters.values())
        assert apply_update([group], [loss]).applied
    assert {"loss", "state_loss", "quantizer_loss", "state_copy_ratio", "perplexity"} == metrics.keys()
    assert not any(value.requires_grad or value.grad is not None for value in model.features.parameters())
    assert not model.features.training
    assert all(torch.equal(value, kept[name]) for name, value in model.features.state_dict().items())


def test_the_loss_is_a_plain_reading() -> None:
    model = video_model(state_loss={"normalised": False})
    draws, image = draws_of(model), frames()
    loss, metrics = model(image, draws)
    state = torch.stack([model.features.encode(image[:, t].movedim(-1, 1) / 255) for t in range(LENGTH)], 1)
    model.eval()
    total, codebook = 0.0, model.quantizer.codebook
    for b in range(BATCH):
        for t in range(LENGTH - 1):
            z = model.extractor(state[b, t][None], state[b, t + 1][None])[0]  # (C, K)
            e = codebook[torch.cdist(z, codebook).argmin(-1)]
            predicted = model.dynamics(state[b, t][None], e[None])[0]
            total += ((predicted - state[b, t + 1]) ** 2).mean() + 1.25 * ((z - e) ** 2).mean()
    assert loss.item() == pytest.approx(total.item() / (BATCH * (LENGTH - 1)), rel=1e-5)
    # the normalised form divides the state's part alone
    normalised = video_model()
    _, scaled = normalised(image, draws)
    assert scaled["quantizer_loss"].item() == pytest.approx(metrics["quantizer_loss"].item(), rel=1e-5)
    copy = (state[:, 1:] - state[:, :-1]).square().mean()
    assert scaled["state_loss"].item() == pytest.approx((metrics["state_loss"] / copy).item(), rel=1e-4)


def test_a_latent_action_sees_its_two_frames_alone() -> None:
    model, image = video_model().eval(), frames()
    changed = image.clone()
    changed[:, 3] = 255 - changed[:, 3]
    first, other = model.infer(image), model.infer(changed)
    assert first.mean.shape == (BATCH, LENGTH - 1, 12)
    assert first.codes.shape == (BATCH, LENGTH - 1, 3)
    assert torch.equal(first.mean[:, :2], other.mean[:, :2])
    assert isinstance(model, LatentActionModel)


def test_predictions_see_no_later_frame_and_follow_their_actions() -> None:
    model, image = video_model().eval(), frames()
    actions = model.prior_actions(BATCH, LENGTH, torch.Generator().manual_seed(0))
    predicted = model.predict(image, actions, 2)
    changed = image.clone()
    changed[:, 2:] = 0
    assert predicted.shape == (BATCH, LENGTH, 3, SIZE, SIZE)
    assert torch.equal(model.predict(changed, actions, 2), predicted)
    assert not torch.equal(model.predict(image, actions.roll(1, 0), 2)[:, 2:], predicted[:, 2:])
    assert torch.equal(model.predict(image, actions.roll(1, 0), 2)[:, :2], predicted[:, :2])
    with torch.no_grad():
        model.dynamics.out.weight.zero_()  # then nothing changes: the newest seen frame stays
    still = model.predict(image, actions, 2)
    assert torch.allclose(still[:, 3], still[:, 1], atol=1e-6)
    generator = torch.Generator().manual_seed(0)
    assert model.open_loop(image, 2, generator).shape == predicted.shape


def test_own_features_are_trained_once_and_then_rest() -> None:
    model = video_model(features={"own": {"updates": 400, "lr": 0.01}})
    colours = torch.randint(256, (64, 1, 1, 3), generator=torch.Generator().manual_seed(0))
    flat = colours.expand(-1, SIZE, SIZE, -1).to(torch.uint8)

    def error() -> float:
        return (model.shown(model.encode(flat)) - flat.movedim(-1, 1) / 255).square().mean().item()

    before = error()
    model.prepare(lambda number, count: flat[(torch.arange(count) + number) % 64], 0)
    assert error() < before / 4  # it draws the colours that it sees
    assert not any(value.requires_grad for value in model.features.parameters())
    kept = {name: value.clone() for name, value in model.features.state_dict().items()}

    def refuse(number: int, count: int) -> torch.Tensor:
        raise AssertionError("it is trained already")

    other = video_model(1)
    other.load_state_dict(model.state_dict())
    other.prepare(refuse, 0)
    assert all(torch.equal(value, kept[name]) for name, value in other.features.state_dict().items())


@pytest.mark.parametrize("kind", ["tokens", "mlp"])
@pytest.mark.parametrize("finetune_decoder", [False, True])
def test_the_adapter_is_all_that_moves(kind: str, finetune_decoder: bool) -> None:
    changes = {"adapter": {"kind": kind, "finetune_decoder": finetune_decoder}}
    video = video_model(**changes)
    model = AdaptedFeatureModel(config(**changes), video, 2, "adapter")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    action = torch.randn(BATCH, LENGTH, 2)
    [group] = model.optimizer_groups()
    for _ in range(2):
        loss, metrics = model(frames(), action, model.draw(BATCH, LENGTH, torch.Generator().manual_seed(0)))
        loss.backward()
        assert apply_update([group], [loss]).applied
    assert "adapter_loss" in metrics
    assert not model.video.training
    moved = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    decoder = {name for name in moved if name.startswith(("features.decoder", "features.out"))}
    assert {name for name in moved if name.startswith("adapter.")} == {n for n in before if n.startswith("adapter.")}
    assert bool(decoder) == finetune_decoder
    assert all(name.startswith("adapter.") or name in decoder for name in moved)
    shown = model.open_loop(frames(), action, 1, torch.Generator())
    assert shown.shape == (BATCH, LENGTH, 3, SIZE, SIZE)
    later = action.clone()
    later[:, 3] += 5
    assert torch.equal(model.open_loop(frames(), later, 1, torch.Generator())[:, :3], shown[:, :3])


def test_errors_under_real_actions_are_counted_in_features_too() -> None:
    model = AdaptedFeatureModel(config(), video_model(), 2, "adapter").eval()
    image, action = frames(), 3 * torch.randn(BATCH, LENGTH, 2, generator=torch.Generator().manual_seed(0))
    found = validate_actions(model, LabelledBatch(image.numpy(), action.numpy()), ValidationConfig(warmup=2), 0, 2)
    assert found.features is not None
    state = model.video.places(model.video.encode(image))  # (B, T, P, D)
    for given, measured in ((action, found.features.own), (action.roll(-1, 0), found.features.other)):
        predicted = model.rollout(image, given, 2)
        expected = (predicted - state)[:, 2:].square().mean((-2, -1))
        torch.testing.assert_close(torch.from_numpy(measured), expected.double(), rtol=1e-4, atol=0)
    copied = (state[:, 1:2] - state[:, 2:]).square().mean((-2, -1))
    torch.testing.assert_close(torch.from_numpy(found.features.copy), copied.double(), rtol=1e-4, atol=0)
    told = found.metrics()
    assert told["validation_feature_copy_ratio"] == pytest.approx(
        found.features.own.sum() / copied.sum().item(), rel=1e-4
    )
    assert told["feature_shuffle_ratio_by_step"][0] != 1
    with torch.no_grad():
        model.adapter.query[0].weight.zero_()  # actions are no longer looked at
    deaf = validate_actions(model, LabelledBatch(image.numpy(), action.numpy()), ValidationConfig(warmup=2), 0, 2)
    assert deaf.metrics()["validation_feature_shuffle_ratio"] == pytest.approx(1)
    assert not deaf.heeded
    assert "real actions: ignored (shuffle ratio of features one step ahead 1 < 1.1)" in deaf.sentence()
    heard = replace(deaf, features=replace(deaf.features, other=2 * deaf.features.own))
    assert heard.heeded
    assert "heeded (shuffle ratio of features one step ahead 2 ≥ 1.1)" in heard.sentence()
    for unknown in (np.full_like(deaf.features.own, np.nan), np.full_like(deaf.features.own, np.inf)):
        broken = replace(deaf, features=replace(deaf.features, other=unknown, copy=0 * deaf.features.copy))
        assert not broken.heeded
        assert f"cannot tell (shuffle ratio of features one step ahead {unknown[0, 0]}, which is not finite)" in (
            broken.sentence()
        )
        assert "copy ratio nan, which is not finite: nothing moves" in broken.sentence()
    pixels = replace(heard, features=None)  # of a model that predicts frames
    assert pixels.deciding_ratio == (
        pytest.approx(deaf.shuffled_error.sum() / deaf.error.sum()),
        "of the predicted frames",
    )


def test_the_adapters_target_is_not_quantised() -> None:
    video = video_model()
    model = AdaptedFeatureModel(config(), video, 2, "adapter").eval()
    image, action = frames(), torch.randn(BATCH, LENGTH, 2)
    loss, _ = model(image, action, model.draw(BATCH, LENGTH, torch.Generator()))
    tokens = video.encode(image)
    before, after = video.pairs(tokens)
    found = model.adapter(before, action[:, 1:].flatten(0, 1))
    assert loss.item() == pytest.approx((found - video.extractor(before, after)).square().mean().item(), rel=1e-5)


def test_an_adapted_model_is_adapted_further() -> None:
    domain = AdaptedFeatureModel(config(), video_model(1), 0, "dynamics")
    [group] = domain.optimizer_groups()
    assert {name.split(".")[0] for name in group.parameters} == {"extractor", "quantizer", "dynamics"}
    adapter = AdaptedFeatureModel(config(), video_model(2), 2, "adapter")
    own = {name: value.clone() for name, value in adapter.adapter.state_dict().items()}
    adapter.load_adapted(domain.state_dict(), "there")
    assert torch.equal(adapter.video.extractor.query, domain.video.extractor.query)
    assert all(torch.equal(value, own[name]) for name, value in adapter.adapter.state_dict().items())
    again = AdaptedFeatureModel(config(), video_model(3), 0, "dynamics")
    again.load_adapted(adapter.state_dict(), "there")
    with pytest.raises(CheckpointError, match="of another model"):
        AdaptedFeatureModel(config(), video_model(3), 3, "adapter").load_adapted(adapter.state_dict(), "there")


@pytest.mark.parametrize(("kind", "width", "size"), [("tokens", None, 256), ("mlp", None, 512), ("mlp", 24, 24)])
def test_an_adapters_width_is_that_of_its_kind(kind: Any, width: int | None, size: int) -> None:
    adapter = ActionAdapter(AdapterConfig(kind=kind, width=width), 2, 16, 4, 3, 4)
    layers = [layer.out_features for layer in adapter.modules() if isinstance(layer, torch.nn.Linear)]
    assert layers == [size, size, 12] if kind == "mlp" else layers[0] == size


def test_ficc_learns_its_features_by_three_losses() -> None:
    changes = {"loss": "ficc", "extractor": {"num_codes": 1}}
    model = video_model(**changes)
    model.train()
    image = frames()
    loss, metrics = model(image, draws_of(model))
    loss.backward()
    [group] = [model.optimizer_group()]
    assert {name.split(".")[0] for name in group.parameters} >= {"features", "extractor", "dynamics", "cycle"}
    assert all(value.grad is not None and value.grad.abs().max() > 0 for value in group.parameters.values())
    assert all(value.grad is not None for value in model.parameters() if value.requires_grad)  # or two ranks would wait
    scaled = image.movedim(-1, 2) / 255
    tokens = model.features.encode(scaled.flatten(0, 1)).reshape(BATCH, LENGTH, 16, 16)
    before, after = model.pairs(tokens)
    code = model.eval().quantizer(model.extractor(before, after)).value
    predicted = model.dynamics(before, code)
    similarity = -torch.nn.functional.cosine_similarity(predicted.flatten(1), after.flatten(1), dim=-1).mean()
    difference = model.cycle.difference(predicted - before)
    truth = (scaled[:, 1:] - scaled[:, :-1]).flatten(0, 1)
    assert metrics["consistency_loss"].item() == pytest.approx(similarity.item(), abs=1e-5)
    assert metrics["difference_loss"].item() == pytest.approx((difference - truth).square().mean().item(), rel=1e-4)
    total = sum(metrics[n] for n in ("consistency_loss", "difference_loss", "image_loss", "quantizer_loss"))
    assert loss.item() == pytest.approx(total.item(), rel=1e-5)
    assert model.predict(image, model.infer(image).mean, 1).shape == (BATCH, LENGTH, 3, SIZE, SIZE)
    with pytest.raises(ConfigError, match="one code for an action"):
        video_model(loss="ficc")
    with pytest.raises(ConfigError, match="learns its features"):
        video_model(**changes, features={"kind": "alex", "weights": "random"})


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({}, id="state"),
        pytest.param({"loss": "ficc", "extractor": {"num_codes": 1}}, id="ficc", marks=pytest.mark.slow),
    ],
)
def test_a_compiled_step_is_one_graph_with_the_same_loss(
    changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    trace_only(monkeypatch)
    plain, compiled = video_model(**changes).train(), video_model(**changes).train()
    step = torch.compile(compiled)
    for update in range(2):
        image, draws = frames(2, 3, seed=update), draws_of(plain, update, 2, 3)
        told = [model(image, draws) for model in (plain, step)]
        torch.testing.assert_close(told[1], told[0])
    torch.testing.assert_close(compiled.quantizer.state_dict(), plain.quantizer.state_dict())


def test_learning_rate_rises_and_falls() -> None:
    config = AdamWConfig(warmup=0.1)
    scales = [config.lr_scale(update, 100) for update in range(100)]
    assert scales[:10] == pytest.approx([(n + 1) / 10 for n in range(10)])
    assert scales[10] == pytest.approx(1)
    assert scales[55] == pytest.approx(0.5, abs=0.01)
    assert 0 < scales[99] < 0.001
    assert AdamWConfig(cosine=False, warmup=0).lr_scale(99, 100) == 1


def test_what_cannot_be_is_refused() -> None:
    for changes, words in (
        ({"features": {"own": {"patch": 7}}}, "does not divide image.size"),
        ({"features": {"kind": "mae"}}, "features.name is not set"),
        ({"image": {"offset": "mean_image"}}, "have their own scaling"),
        ({"extractor": {"heads": 3}}, "no multiple of extractor.heads"),
        ({"adapter": {"heads": 3}}, "no multiple of adapter.heads"),
    ):
        with pytest.raises(ConfigError, match=words):
            video_model(**changes)
    with pytest.raises(IpvBenchError, match="neither a folder nor a model in the Hugging Face cache"):
        video_model(features={"kind": "mae", "name": "nobody/has-this"})


def test_a_skipped_update_leaves_the_codebook(monkeypatch: pytest.MonkeyPatch) -> None:
    from models.pretrain import build_training

    overrides = {
        "method": "uwm", "image.size": 32, "features.own.width": 16, "features.own.layers": 1, "extractor.width": 16,
        "extractor.layers": 1, "dynamics.width": 16, "quantizer.codes": 8, "training.threads": 1,
    }  # fmt: skip
    training = build_training("tiny", overrides)
    assert training.step(frames(4))["skipped"] == 0
    before = {name: value.clone() for name, value in training.model.state_dict().items()}
    encode = FeatureVideoModel.encode
    monkeypatch.setattr(FeatureVideoModel, "encode", lambda self, image: encode(self, image) * float("nan"))
    assert training.step(frames(4))["skipped"] == 1
    assert all(torch.equal(value, before[name]) for name, value in training.model.state_dict().items())
    monkeypatch.undo()
    assert training.step(frames(4))["skipped"] == 0
