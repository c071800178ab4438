"""What one forward of the model is asked for, beside its usual inputs.

Plain objects, so that FSDP's cast of a forward's floating-point inputs leaves their float32
weights alone. Shape suffixes as in ``term_forward``.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from algorithms.base import LossSettings, View

# Names of metrics: the student's view is the usual one.
PREFIX: dict[View, str] = {"student": "", "teacher": "teacher/"}


class TermRequest:
    """``positions_T`` are flat indices of the hidden states that predict the tokens wanted."""

    def __init__(self, positions_T: Tensor) -> None:
        self.positions_T = positions_T


class HiddenRequest(TermRequest):
    """Asks for the hidden states at ``positions_T`` and, if ``with_head``, for the head."""

    def __init__(self, positions_T: Tensor, *, with_head: bool) -> None:
        super().__init__(positions_T)
        self.with_head = with_head


class MeasureRequest(TermRequest):
    """Asks for KL(this view || the other) at every position, ``exact`` or as ``k1``, unweighted."""

    def __init__(
        self,
        positions_D: Tensor,
        *,
        token_ids_D: Tensor,
        reference_hidden_DH: Tensor,
        reference_head_VH: Tensor | None,
        temperature: float,
        estimator: str,
    ) -> None:
        super().__init__(positions_D)
        self.token_ids_D = token_ids_D
        self.reference_hidden_DH = reference_hidden_DH
        self.reference_head_VH = reference_head_VH
        self.temperature = temperature
        self.estimator = estimator


@dataclass
class TermTokens:
    """Per-token inputs of the three terms; weights hold each term's normaliser already.

    ``view_T`` indexes ``algorithms.base.VIEWS``. The reference's hidden states are those of the
    tokens with a distill weight, in their order.
    """

    token_ids_T: Tensor
    view_T: Tensor
    policy_gradient_T: Tensor
    distill_T: Tensor
    nll_T: Tensor
    advantage_T: Tensor
    old_log_prob_T: Tensor | None = None
    reference_hidden_DH: Tensor | None = None
    reference_head_VH: Tensor | None = None


class LossRequest(TermRequest):
    """Asks for the loss and its metrics."""

    def __init__(
        self, positions_T: Tensor, tokens: TermTokens, settings: LossSettings, temperature: float
    ) -> None:
        super().__init__(positions_T)
        self.tokens = tokens
        self.settings = settings
        self.temperature = temperature
