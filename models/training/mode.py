"""Training and evaluation mode of networks, switched only where they are in the other one."""

from __future__ import annotations

from torch import nn


class Mode:
    """Puts networks in training or in evaluation mode, as `train()` and `eval()` do.

    Those walk through all modules and write each one's flag, which for a small agent is a third of the time of choosing
    an action; thousands of actions follow one another in the same mode. Here the flags are read, a hundredth of that:
    what somebody else switched, also of a part alone, is put right.

    Args:
        networks: their modules stay the same ones.
    """

    def __init__(self, networks: nn.Module) -> None:
        self._networks, self._modules = networks, list(networks.modules())
        self._flags: dict[bool, list[bool]] = {}
        """Flags of all modules in each mode; what is frozen may keep its own in both."""

    def set(self, *, training: bool) -> None:
        """Be in that mode."""
        if self._now() != self._flags.get(training):
            self._networks.train(training)
            self._flags[training] = self._now()

    def _now(self) -> list[bool]:
        return [module.training for module in self._modules]
