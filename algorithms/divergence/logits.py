"""From hidden states to logits: what a model does after its head, padding, and number formats."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

# Logit of a padded vocabulary row. Finite, so that differences of two of them are 0 and not NaN,
# and far below any real logit, so that its probability is exactly 0.
PADDED_LOGIT = -1e30


@dataclass(frozen=True)
class LogitMap:
    """A model's logits z as a function of y = hidden @ head.T.

    z = scale * y, or with a cap (soft-capping, Gemma 2, arXiv 2408.00118) z = cap * tanh(scale * y
    / cap). The temperature of a softmax divides z.
    """

    scale: float = 1.0
    cap: float | None = None

    def __post_init__(self) -> None:
        if not (self.scale > 0.0 and math.isfinite(self.scale)):
            raise ValueError(f"a logit scale is positive and finite, got {self.scale}")
        if self.cap is not None and not self.cap > 0.0:
            raise ValueError(f"a cap of logits is positive, or None for none; got {self.cap}")

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> LogitMap:
        """From a model's configuration: ``logit_scale`` multiplies (Cohere), ``logits_scaling``
        divides (Granite), ``final_logit_softcapping`` caps (Gemma)."""
        scale = float(settings.get("logit_scale") or 1.0)
        scale /= float(settings.get("logits_scaling") or 1.0)
        cap = settings.get("final_logit_softcapping")
        return cls(scale, float(cap) if cap else None)

    def __call__(self, products: Tensor) -> Tensor:
        """The logits, differentiable in the products."""
        scaled = products if self.scale == 1.0 else products * self.scale
        return scaled if self.cap is None else self.cap * torch.tanh(scaled / self.cap)

    def apply_(self, products: Tensor) -> Tensor:
        """The logits, in place of the products."""
        if self.cap is None:
            return products if self.scale == 1.0 else products.mul_(self.scale)
        return products.mul_(self.scale / self.cap).tanh_().mul_(self.cap)

    def slope_(self, logits: Tensor) -> Tensor | None:
        """dz / d(scale * y) at the logits, in place of them; None where it is 1 everywhere."""
        if self.cap is None:
            return None
        return logits.div_(self.cap).square_().neg_().add_(1.0)


PLAIN = LogitMap()


def accumulator(dtype: torch.dtype) -> torch.dtype:
    """The dtype of softmax and sums over products of that dtype."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def product_dtype(tensors: Sequence[Tensor], *, logits: bool) -> torch.dtype:
    """The common dtype of the products; autocast's where it is on. Of given ``logits`` there are no
    products: these are taken in float32 at least.

    Raises:
        TypeError: products would run in float16.
    """
    common = tensors[0].dtype
    for tensor in tensors[1:]:
        common = torch.promote_types(common, tensor.dtype)
    if logits:
        return torch.promote_types(common, torch.float32)
    device = tensors[0].device.type
    if common != torch.float64 and torch.is_autocast_enabled(device):
        common = torch.get_autocast_dtype(device)
    if common not in (torch.bfloat16, torch.float32, torch.float64):
        raise TypeError(
            f"the matrix products would run in {common}: give hidden states and head as bfloat16, "
            "float32 or float64, and use autocast with bfloat16 (logit gradients underflow in "
            "float16)"
        )
    return common


def padded_rows(heads: Iterable[Tensor | None], mask_V: Tensor | None) -> Tensor | None:
    """[V] True where a vocabulary row is padding; None if no row is."""
    marks = [head.amin(dim=1) == -math.inf for head in heads if head is not None]
    if mask_V is not None:
        marks.append(~mask_V.bool())
    if not marks:
        return None
    padded_V = torch.stack(marks).any(dim=0)
    if padded_V.all():
        raise ValueError("every vocabulary row is padding: check vocab_mask_V and the head's rows")
    return padded_V if padded_V.any() else None


def usable_head(head_VH: Tensor, padded_V: Tensor | None, dtype: torch.dtype) -> Tensor:
    """The head for the products. Padded rows that are not finite become 0, since 0 * inf is NaN."""
    head = head_VH.detach().to(dtype)
    if padded_V is not None and not head[padded_V].isfinite().all():
        head = head.masked_fill(padded_V.unsqueeze(1), 0.0)
    return head
