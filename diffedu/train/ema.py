"""A running average of a network's weights: noisier to train, smoother to sample from."""

from __future__ import annotations

import copy

import torch
from torch import nn


class EMA:
    r"""theta_ema <- d theta_ema + (1 - d) theta, after every optimiser step, with d = min(decay, (1 + n) / (10 + n)).

    The ramp of d lets the average forget the random start quickly.

    Args:
        net: the network being trained; it is copied.
        decay: d in the long run; 0.999 averages over about the last thousand steps.

    Raises:
        ValueError: decay is outside [0, 1).

    Reference: Ho et al. 2020, appendix B; Tarvainen & Valpola 2017. Taught in: chapter 14.

    Example:
        >>> net = nn.Linear(1, 1)
        >>> ema = EMA(net, decay=0.9)
        >>> ema.update(net)
        >>> torch.equal(ema.net.weight, net.weight)
        True
    """

    def __init__(self, net: nn.Module, decay: float = 0.999) -> None:
        if not 0 <= decay < 1:
            raise ValueError(f"decay must lie in [0, 1), got {decay}")
        self.net = copy.deepcopy(net).requires_grad_(False).eval()
        self._saved = set(net.state_dict())
        self.decay = decay
        self.updates = 0

    @torch.no_grad()
    def update(self, net: nn.Module) -> None:
        """Move the average towards the network's present weights."""
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        averaged, current = [p.detach() for p in self.net.parameters()], [p.detach() for p in net.parameters()]
        torch._foreach_lerp_(averaged, current, 1 - decay)
        for (name, mine), theirs in zip(self.net.named_buffers(), net.buffers(), strict=True):
            if name in self._saved:  # others, such as a table of the training data, are constants
                mine.copy_(theirs)
