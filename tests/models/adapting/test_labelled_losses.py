"""What `adapt` trains on: its losses, which actions and frames decide them, and batches that do not fit."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ipv_bench.errors import ConfigError
from models.adapting.config import adapt_config_class
from models.adapting.labelled_training import LabelledBatch, LabelledTraining
from models.world_models.action_prediction import ActionPrediction
from models.world_models.stacked import StackedWorldModel
from tests.models.adapting.small_models import small_config, small_values


def test_losses_are_those_of_the_agents_world_model_without_rewards():
    torch.manual_seed(0)
    model = StackedWorldModel(small_config(), 2)
    wrapped = ActionPrediction(model, "world_model").eval()
    image = torch.randint(0, 256, (3, 6, 32, 32, 3), dtype=torch.uint8)
    action = torch.rand(3, 6, 2) * 2 - 1
    first = torch.zeros(3, 6)
    first[:, 0] = 1
    draws = wrapped.draw(3, 6, torch.Generator().manual_seed(1))
    loss, metrics = wrapped(image, action, draws)
    _, expected, _ = model(image, action, torch.zeros(3, 6), first, draws)
    for name in ("image_loss", "kl_loss", "kl"):
        assert metrics[name] == expected[name]
    assert float(loss.detach()) == pytest.approx(float(expected["image_loss"] + expected["kl_loss"]), rel=1e-6)


def test_actions_decide_and_the_future_does_not_leak():
    torch.manual_seed(0)
    wrapped = ActionPrediction(StackedWorldModel(small_config(), 2), "world_model").eval()
    image = torch.randint(0, 256, (2, 6, 32, 32, 3), dtype=torch.uint8)
    action = torch.rand(2, 6, 2) * 2 - 1

    def predict(image: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
        return wrapped.open_loop(image, action, 2, torch.Generator().manual_seed(1))

    found = predict(image, action)
    changed = action.clone()
    changed[:, 0] += 1  # led to the first frame from one that is not there
    assert torch.equal(predict(image, changed), found)
    changed[:, 4] += 1
    later = predict(image, changed)
    assert torch.equal(later[:, :4], found[:, :4])
    assert not torch.equal(later[:, 4:], found[:, 4:])
    unseen = image.clone()
    unseen[:, 2:] = 0
    assert torch.equal(predict(unseen, action), found)


def test_batches_that_do_not_fit_are_refused():
    for method, parts, fewest in (("apv", "world_model", 1), ("prelar", "world_model", 2)):
        values = small_values() | {"latent_action": {"align": "nll"}} if method == "prelar" else small_values()
        config = adapt_config_class(method).model_validate({"method": method, **values})
        training = LabelledTraining(
            config, 0, torch.device("cpu"), action_dim=2, parts=parts, parent=None, adapted=False
        )  # fmt: skip
        frames, action = np.zeros((2, 3, 32, 32, 3), np.uint8), np.zeros((2, 3, 2), np.float32)
        with pytest.raises(ConfigError, match=r"the batch of actions is float32 \(2, 3, 0\)"):
            training.step(LabelledBatch(frames, action[..., :0]))
        with pytest.raises(ConfigError, match=r"the batch of actions is int64"):
            training.step(LabelledBatch(frames, action.astype(np.int64)))
        if fewest == 2:
            with pytest.raises(ConfigError, match="T = 1 frames"):
                training.step(LabelledBatch(frames[:, :1], action[:, :1]))
        assert training.updates == 0
        # Views and other floats are as good as what they show.
        assert training.step(LabelledBatch(frames[:, ::-1], action[:, ::-1].astype(np.float64)))["skipped"] == 0
