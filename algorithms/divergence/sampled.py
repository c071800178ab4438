"""Losses of the sampled tokens that are formed in the same pass over the head."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

# (log-probabilities, [n]; their positions among the rows given, [n]) -> scalar or [n]
OfLogProbs = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class SampledTokens:
    """The tokens that were sampled, and what is made of their log-probabilities.

    Attributes:
        ids_T: integer ids.
        loss: a scalar to be minimised, a sum over tokens (policy gradient, nll), differentiable in
            the log-probabilities; None for none. It is called once a chunk.
        temperature: of the log-probabilities, which need not be that of the divergence.
        reweight: factors of the divergence's weights (importance ratios), constants; None for none.
    """

    ids_T: Tensor
    loss: OfLogProbs | None = None
    temperature: float = 1.0
    reweight: OfLogProbs | None = None

    def __post_init__(self) -> None:
        if not (self.temperature > 0.0 and math.isfinite(self.temperature)):
            raise ValueError(f"temperature must be positive and finite, got {self.temperature}")

    def loss_and_slope(self, log_prob_n: Tensor, rows_n: Tensor) -> tuple[Tensor, Tensor]:
        """The loss of these tokens, and its derivative in each log-probability, [n]."""
        assert self.loss is not None
        with torch.enable_grad():
            leaf_n = log_prob_n.detach().requires_grad_()
            loss = self.loss(leaf_n, rows_n)
            if not loss.requires_grad:  # none of these tokens counts
                return loss.detach(), torch.zeros_like(log_prob_n)
            (slope_n,) = torch.autograd.grad(loss, leaf_n)
        return loss.detach(), slope_n
