"""PreLAR's agent: its loss against a plain reading, what is held, aligned and taken over."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from ipv_bench.config import build
from ipv_bench.errors import CheckpointError, ConfigError
from models.finetune import build_agent
from models.finetuning.config import finetune_config_class
from models.latent_actions.action_encoder import ActionEncoder
from models.latent_actions.agent_model import RealActionWorldModel
from models.latent_actions.video import LatentActionVideoModel
from models.nets.rssm import Latents
from models.pretraining.config import pretrain_config_class
from models.training.checkpoint import load_checkpoint, save_checkpoint
from models.world_models.action_prediction import ActionPrediction
from models.world_models.stacked import StackedDraws
from tests.models.agents.test_agent import ACTION_DIM, batch_of, equal, tensors
from tests.models.finetuning.finetune_runs import SMALL
from tests.models.latent_actions.plain_prelar import finetuning_loss
from tests.models.latent_actions.small_prelar import (
    BATCH,
    LENGTH,
    SIZE,
    SIZES,
    forced,
    frames,
)
from tests.models.read_settings import read_agent


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(1)


def agent_model(**values: Any) -> RealActionWorldModel:
    sections = {
        "reward": {"units": 8}, "intrinsic": {"queue_size": 30, "queue_dim": 8, "neighbours": 4, "window": 2},
        "env": {"image_size": SIZE}, "replay": {"length": 10},
    }  # fmt: skip
    return RealActionWorldModel(
        build(finetune_config_class("prelar"), {**SIZES, **sections, **values}), ACTION_DIM
    ).double()  # type: ignore[arg-type]


def labelled(seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    action = torch.rand(BATCH, LENGTH, ACTION_DIM, generator=generator).double() * 2 - 1
    is_first = torch.zeros(BATCH, LENGTH, dtype=torch.float64)
    is_first[:, 0] = is_first[1, 3] = 1
    return frames(), action, torch.rand(BATCH, LENGTH, generator=generator).double(), is_first


def test_the_fine_tuning_loss_is_that_of_the_plain_reading() -> None:
    model = agent_model()
    reference = copy.deepcopy(model)
    latents = forced(torch.Generator().manual_seed(4))
    loss, metrics, _ = model(*labelled(), StackedDraws(Latents(), Latents(forced=latents), None))
    assert metrics["bonus"] > 0
    expected = finetuning_loss(reference, labelled(), torch.zeros(0, 8, dtype=torch.float64), latents)
    torch.testing.assert_close(loss, expected, rtol=1e-10, atol=0)
    loss.backward()
    expected.backward()
    for (name, a), b in zip(model.named_parameters(), reference.parameters(), strict=True):
        if a.requires_grad:
            torch.testing.assert_close(
                a.grad, b.grad, rtol=1e-8, atol=1e-9, msg=lambda text, name=name: f"{name}: {text}"
            )


def test_an_episodes_start_masks_the_embedded_action() -> None:
    model = agent_model()
    image, action, _, is_first = labelled()
    latents = forced(torch.Generator().manual_seed(4))

    def features(given: Tensor) -> Tensor:
        embed = model.vision.embed(model.vision.scaling(image))
        return model.rssm.observe(embed, given, is_first, Latents(forced=latents))[0].feat

    other = action.clone()
    other[1, 3] = 0.9  # the episode starts there: whatever stands there led nowhere
    model.eval()
    assert torch.equal(features(action), features(other))
    other[1, 4] = 0.9
    assert not torch.equal(features(action), features(other))


def test_predictions_start_as_training_does_without_an_action() -> None:
    """What a network makes of the action 0 is an action, and none led into the first frame of a segment."""
    model = agent_model().eval()
    with torch.no_grad():
        for layer in (model.rssm.embedding.hidden, model.rssm.embedding.out):
            layer.bias.fill_(0.7)
    image, action, _, _ = labelled()
    draws, first = StackedDraws(Latents(), Latents(), None), torch.zeros(BATCH, LENGTH)
    first[:, 0] = 1

    def states(is_first: Tensor | None) -> Tensor:
        embed = model.vision.embed(model.vision.scaling(image))
        return model.rssm.observe(embed, action, is_first, Latents())[0].feat

    as_trained = states(first)
    assert not torch.allclose(as_trained, states(None), atol=1e-3)  # the mask is felt
    assert torch.equal(model.features(image, draws, action), as_trained)
    shown = model.open_loop(image, LENGTH, action=action, draws=draws)
    drawn = model.vision.scaling.to_unit(model.vision.decode(as_trained, {}, None))
    torch.testing.assert_close(shown, drawn.float(), check_dtype=False)
    composed = model.compose(image, image, draws, action)
    torch.testing.assert_close(composed, shown, check_dtype=False)
    adapted = ActionPrediction(model, "world_model").eval()
    losses = adapted(image, action, draws)[1]
    seen = adapted.open_loop(image, action, LENGTH, torch.Generator().manual_seed(0))
    other = action.clone()
    other[:, 0] += 1
    assert torch.equal(seen, adapted.open_loop(image, other, LENGTH, torch.Generator().manual_seed(0)))
    assert losses["image_loss"] == adapted(image, other, draws)[1]["image_loss"]


def small_agent(seed: int = 0, **changes: Any) -> Any:
    values = {**SMALL, "training.encoder_frozen_updates": 0, "method": "prelar", **changes}
    return build_agent("tiny", read_agent(values), (64, 64, 3), ACTION_DIM, seed=seed)


def pretrained(folder: Path, **changes: Any) -> tuple[LatentActionVideoModel, Any]:
    config = small_agent(**{"latent_action.align": "warmstart", **changes}).config
    own: Any = build(pretrain_config_class("prelar"), {
        name: getattr(config, name).model_dump() for name in ("image", "encoder", "decoder", "rssm", "context")
    } | {"latent_action": {"posterior": config.latent_action.posterior}})  # fmt: skip
    torch.manual_seed(7)
    model = LatentActionVideoModel(own)
    return model, load_checkpoint(save_checkpoint(folder, 1, model.state_dict(), {}, {}))


@pytest.mark.parametrize("align", ["none", "nll"])
def test_an_update_trains_every_part_but_the_frozen_action_encoder(align: str, tmp_path: Path) -> None:
    agent = small_agent(**{"latent_action.align": align})
    agent.load_pretrained(pretrained(tmp_path)[1])
    before = tensors(agent)
    metrics = agent.update(batch_of())
    assert np.isfinite(list(metrics.values())).all()
    assert {"bonus", "aux_reward_loss"} <= metrics.keys()
    assert ("alignment_loss" in metrics) == (align == "nll")
    after = tensors(agent)
    parts = ["vision.encoder", "vision.decoder", "model.rssm.img_in", "model.rssm.embedding", "reward_head"]
    for part in [*parts, "behavior.actor", "behavior.critic"]:
        assert not equal(before, after, part), part
    assert equal(before, after, "action_encoder")


@pytest.mark.parametrize(("hold", "rssm_moves"), [(True, False), (False, True)])
def test_what_was_pretrained_is_held_at_first_and_the_action_network_moves(hold: bool, rssm_moves: bool) -> None:
    agent = small_agent(**{"training.encoder_frozen_updates": 1, "latent_action.hold_rssm": hold})
    before, names = tensors(agent), dict(agent.networks.named_parameters())
    agent.update(batch_of())
    after = tensors(agent)
    moved = {name for name in names if not torch.equal(before[name], after[name])}
    assert not any("vision.encoder" in name for name in moved)
    assert any("vision.decoder" in name for name in moved)
    assert any("rssm.embedding" in name for name in moved)
    assert any("rssm.gru" in name for name in moved) == rssm_moves
    agent.update(batch_of(1))
    assert not equal(after, tensors(agent), "vision.encoder.conv_in.weight")


def test_pretrained_parts_are_taken_over_and_the_action_encoder_only_where_it_is_used(tmp_path: Path) -> None:
    model, checkpoint = pretrained(tmp_path)
    wanted = model.state_dict()
    for parts, align in (("all", "none"), ("encoder_decoder", "none"), ("all", "warmstart")):
        agent = small_agent(init_parts=parts, **{"latent_action.align": align})
        own = tensors(agent)
        agent.load_pretrained(checkpoint)
        found = tensors(agent)
        for name, value in wanted.items():
            if name.startswith("vision.scaling") or (name.startswith("action_encoder") and align == "none"):
                continue
            taken = parts == "all" or not name.startswith("rssm.")
            assert torch.equal(found[f"model.{name}"], value if taken else own[f"model.{name}"]), name
        assert equal(own, found, "rssm.embedding")
        assert any("action_encoder" in name for name in found) == (align != "none")
    wide = pretrained(tmp_path / "wide", **{"rssm.action_dim": 9})[1]
    with pytest.raises(CheckpointError, match=r"img_in\.weight"):
        small_agent().load_pretrained(wide)


def test_a_warm_start_fits_the_action_network_alone(tmp_path: Path) -> None:
    agent = small_agent(**{"latent_action.align": "warmstart", "latent_action.align_updates": 30})
    agent.load_pretrained(pretrained(tmp_path)[1])
    before, losses = tensors(agent), []
    for _ in range(30):
        metrics = agent.update(batch_of())
        assert metrics.keys() == {"alignment_loss", "alignment_norm", "skipped_updates"}
        losses.append(metrics["alignment_loss"])
    after = tensors(agent)
    assert losses[-1] < 0.5 * losses[0]
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {name for name in before if "rssm.embedding" in name}
    assert "model_loss" in agent.update(batch_of())


def test_a_warm_start_resumes_exactly(tmp_path: Path) -> None:
    def made() -> Any:
        return small_agent(**{"latent_action.align": "warmstart", "latent_action.align_updates": 2})

    whole, first = made(), made()
    start = pretrained(tmp_path / "video")[1]
    for agent in (whole, first):
        agent.load_pretrained(start)
    for number in range(4):
        whole.update(batch_of(number))
    first.update(batch_of(0))
    saved = save_checkpoint(
        tmp_path / "run", 1, first.model_tensors(), first.optimizer_tensors(), {"agent": first.state()}
    )
    second = made()
    second.load(load_checkpoint(saved))
    for number in range(1, 4):
        second.update(batch_of(number))
    assert equal(tensors(whole), tensors(second))
    assert equal(whole.optimizer_tensors(), second.optimizer_tensors())


def test_alignment_leaves_out_pairs_of_two_episodes(tmp_path: Path) -> None:
    model = agent_model(latent_action={"align": "nll"})
    image, action, _, is_first = labelled()
    target = model.vision.scaling(image)
    whole = model.alignment(target, action, is_first)
    other = action.clone()
    other[:, 0] = other[1, 3] = 0.7
    assert torch.equal(whole, model.alignment(target, other, is_first))
    assert not torch.equal(whole, model.alignment(target, other, None))


def test_the_frozen_action_encoder_keeps_its_statistics() -> None:
    model = agent_model(latent_action={"align": "nll"})
    assert isinstance(model.action_encoder, ActionEncoder)
    before = {name: value.clone() for name, value in model.action_encoder.state_dict().items()}
    model.train()
    assert not model.action_encoder.training
    model(*labelled(), model.draw(BATCH, LENGTH, torch.Generator().manual_seed(0)))
    assert all(torch.equal(before[name], value) for name, value in model.action_encoder.state_dict().items())
    assert not any(name.startswith("action_encoder") for group in model.groups() for name in group.parameters)


@pytest.mark.parametrize("features", ["embed", "feat"])
def test_imagination_and_acting_go_through_the_action_network(features: str) -> None:
    agent = small_agent(**{"intrinsic.features": features})
    expected = {"embed": agent.model.vision.encoder.embed_size, "feat": agent.config.rssm.feat_size}[features]
    assert agent.model.intrinsic_bonus.projection.shape[0] == expected
    state = agent.model.rssm.initial(2)
    action = torch.rand(2, ACTION_DIM)
    step = agent.model.rssm.img_step(state, action, Latents())
    with torch.no_grad():
        agent.model.rssm.embedding.out.bias += 1
    assert not torch.equal(step.deter, agent.model.rssm.img_step(state, action, Latents()).deter)
    agent.update(batch_of())
    image = batch_of()["image"][0, 0]
    assert agent.act({"image": image, "is_first": True}).shape == (ACTION_DIM,)
    assert set(agent.examine({name: value[0] for name, value in batch_of().items()}, 0)) >= {"value_gap"}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"posterior": "deterministic", "consistency_scale": 1}, "consistency_scale"),
        ({"inputs": "flow"}, "inputs"),
        ({"beta_a": -1}, "beta_a"),
    ],
)
def test_configs_that_mean_nothing_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        build(pretrain_config_class("prelar"), {"latent_action": changes})
    with pytest.raises(ConfigError, match="align=nll"):
        build(finetune_config_class("prelar"), {"latent_action": {"align": "nll", "posterior": "deterministic"}})


# Naive fine-tuning of a model without actions.


def test_naive_fine_tuning_goes_on_with_the_action_free_rssm(tmp_path: Path) -> None:
    changes = {"method": "apv", "finetuning": "naive", "intrinsic.beta": 0, "training.encoder_frozen_updates": 1}
    agent = small_agent(**changes)
    from models.world_models.video import VideoWorldModel

    model = VideoWorldModel(small_agent(method="apv").config)
    checkpoint = load_checkpoint(save_checkpoint(tmp_path, 1, model.state_dict(), {}, {}))
    agent.load_pretrained(checkpoint)
    assert agent.model.action_free_rssm is None
    assert torch.equal(agent.model.rssm.img_in.weight, model.action_free_rssm.img_in.weight)
    before = tensors(agent)
    metrics = agent.update(batch_of())
    assert "bonus" not in metrics
    assert equal(before, tensors(agent), "model.rssm.")  # held, as in the stacked model
    agent.update(batch_of())
    assert not equal(before, tensors(agent), "model.rssm.img_in.weight")
    assert "bonus" in small_agent(**(changes | {"intrinsic.beta": 0.1})).update(batch_of())


def agent_checkpoint(folder: Path, agent: Any) -> Any:
    return load_checkpoint(save_checkpoint(folder, 1, agent.model_tensors(), {}, {}))


def test_naive_fine_tuning_goes_on_from_an_agent_with_one_rssm(tmp_path: Path) -> None:
    changes = {"method": "apv", "finetuning": "naive", "intrinsic.beta": 0}
    first, second = small_agent(0, **changes), small_agent(1, **changes)
    second.load_pretrained(agent_checkpoint(tmp_path, first))
    assert equal(tensors(first), tensors(second), "model.rssm.")
    assert not equal(tensors(first), tensors(second), "model.reward_head.")
    with pytest.raises(CheckpointError, match="action_free_rssm"):  # two RSSMs want one that saw no actions
        small_agent(method="apv").load_pretrained(agent_checkpoint(tmp_path, first))


def test_a_prelar_agent_starts_from_another_with_its_own_action_network(tmp_path: Path) -> None:
    first, second = small_agent(0), small_agent(1)
    before = tensors(second)
    second.load_pretrained(agent_checkpoint(tmp_path, first))
    for name, value in tensors(second).items():
        source = tensors(first) if name.startswith(("model.vision.", "model.rssm.")) else before
        source = before if name.startswith("model.rssm.embedding.") else source
        assert torch.equal(value, source[name]), name
    with pytest.raises(CheckpointError, match="kept no action encoder"):
        small_agent(**{"latent_action.align": "nll"}).load_pretrained(agent_checkpoint(tmp_path, first))
    aligned = small_agent(0, **{"latent_action.align": "nll"})
    third = small_agent(1, **{"latent_action.align": "nll"})
    third.load_pretrained(agent_checkpoint(tmp_path / "aligned", aligned))
    assert equal(tensors(aligned), tensors(third), "model.action_encoder.")
