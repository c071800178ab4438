"""Whose weights the teacher has: the current ones, frozen ones, their moving average, or a mix.

``live`` needs no second copy. With full fine-tuning the others use verl's reference model; with
LoRA a copy of the adapter that takes the student's place for the length of a forward pass (an
adapter whose second factor is zero is no adapter: frozen from the base model means adapter off).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule

TeacherKind = Literal["live", "frozen", "ema", "trust_region"]
KINDS = ("live", "frozen", "ema", "trust_region")


class InvalidTeacher(ValueError):
    """Settings of a teacher that do not fit together."""


@dataclass(frozen=True)
class TeacherSettings:
    """``ema_decay``: the share of itself that an ``ema`` teacher keeps at each optimiser step.
    ``trust_region_mix``: the share of the current weights' logits in a ``trust_region`` teacher,
    whose other share is the frozen teacher's; the mixture's distribution lies between both.
    """

    kind: TeacherKind = "live"
    ema_decay: float = 0.99
    trust_region_mix: float = 0.1

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise InvalidTeacher(f"unknown teacher {self.kind!r}: choose one of {', '.join(KINDS)}")
        if not 0.0 <= self.ema_decay <= 1.0 or not 0.0 <= self.trust_region_mix <= 1.0:
            raise InvalidTeacher("ema_decay and trust_region_mix must lie in [0, 1]")

    @property
    def needs_copy(self) -> bool:
        return self.kind != "live"


def reshard(module: nn.Module) -> None:
    """Back to this rank's parts: after a forward some of them may still be gathered."""
    for part in module.modules():
        if isinstance(part, FSDPModule):
            part.reshard()


def parameters_of(module: nn.Module) -> dict[str, Tensor]:
    """This rank's part of every parameter, by name; views, not copies."""
    reshard(module)
    return {name: _local(p) for name, p in module.named_parameters()}


def trained(module: nn.Module) -> dict[str, Tensor]:
    """``parameters_of`` those that are trained."""
    reshard(module)
    return {name: _local(p) for name, p in module.named_parameters() if p.requires_grad}


def _local(parameter: Any) -> Tensor:
    tensor = parameter.detach()
    return tensor.to_local() if hasattr(tensor, "to_local") else tensor


def move_toward(target: Mapping[str, Tensor], source: Mapping[str, Tensor], decay: float) -> None:
    """target <- decay * target + (1 - decay) * source, tensor by tensor."""
    with torch.no_grad():
        for name, tensor in target.items():
            tensor.lerp_(source[name].to(tensor), 1.0 - decay)


def refuse_coarse_average(weights: Mapping[str, Tensor]) -> None:
    """Raise InvalidTeacher if a moving average kept in these tensors could not move.

    In bfloat16 a step of 1 - decay = 0.01 toward weights that differ by less than a fifth rounds
    to nothing.
    """
    coarse = {
        str(t.dtype) for t in weights.values() if t.dtype not in (torch.float32, torch.float64)
    }
    if coarse:
        raise InvalidTeacher(
            f"an ema teacher's weights are {', '.join(sorted(coarse))}, too coarse for an average "
            "to move: set verl.actor_rollout_ref.ref.fsdp_config.model_dtype=fp32"
        )


class AdapterCopy:
    """A copy of the trained parameters that can take their place."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.weights = {name: tensor.clone() for name, tensor in trained(module).items()}

    @contextlib.contextmanager
    def in_place(self) -> Iterator[None]:
        """The module with the copy's parameters; the student's are back afterwards."""
        own = {name: tensor.clone() for name, tensor in trained(self.module).items()}
        self._put(self.weights)
        try:
            yield
        finally:
            self._put(own)

    def _put(self, weights: Mapping[str, Tensor]) -> None:
        with torch.no_grad():
            for name, tensor in trained(self.module).items():
                tensor.copy_(weights[name])


def mixed_teacher(
    frozen: tuple[Tensor, Tensor | None], live: tuple[Tensor, Tensor | None], mix: float
) -> tuple[Tensor, Tensor | None]:
    """Hidden states and head whose product is (1 - mix) * frozen product + mix * live product.

    Both pairs are hidden states [D, H] and a head [V, H]; the result is [D, 2H] and [V, 2H]. A cap
    of the logits comes after that. Without a head the states are logits, and so is their mixture.
    """
    if mix in (0.0, 1.0):
        return live if mix else frozen
    if frozen[1] is None or live[1] is None:
        return frozen[0] * (1.0 - mix) + live[0].to(frozen[0]) * mix, None
    hidden = torch.cat([frozen[0] * (1.0 - mix), live[0].to(frozen[0]) * mix], dim=1)
    return hidden, torch.cat([frozen[1], live[1].to(frozen[1])], dim=1)
