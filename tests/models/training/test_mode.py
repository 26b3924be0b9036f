"""Training and evaluation mode: switched where they are the other one, also in parts."""

from __future__ import annotations

import torch
from torch import nn

from models.training.mode import Mode


class Frozen(nn.Module):
    """Stays in evaluation mode."""

    def train(self, mode: bool = True) -> Frozen:
        return super().train(False)


def test_a_part_that_somebody_else_switched_is_put_right() -> None:
    networks = nn.ModuleDict({"norm": nn.Sequential(nn.BatchNorm1d(2)), "frozen": Frozen()})
    mode = Mode(networks)
    for training in (True, True, False, False, True):
        mode.set(training=training)
        assert (networks.training, networks["norm"][0].training, networks["frozen"].training) == (
            training, training, False
        )  # fmt: skip
    networks["norm"].eval()
    mode.set(training=True)
    assert networks["norm"][0].training
    networks["norm"][0].train()
    mode.set(training=False)
    networks["norm"][0](torch.ones(3, 2))
    assert networks["norm"][0].num_batches_tracked == 0


def test_a_mode_that_is_there_is_not_set_again(monkeypatch) -> None:
    networks = nn.Sequential(nn.Dropout(), Frozen())
    mode = Mode(networks)
    mode.set(training=False)
    monkeypatch.setattr(nn.Module, "train", lambda self, mode=True: 1 / 0)
    mode.set(training=False)
