"""What an algorithm is: who samples, and which weights each trajectory gets.

An algorithm turns a batch of sampled trajectories into training rows. Trainer and worker know
rows and the three loss terms (policy gradient, distill, nll), never the algorithm's name.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, runtime_checkable

View = Literal["student", "teacher"]


@dataclass(frozen=True)
class Trajectory:
    """One sampled response, reduced to what an algorithm may decide on.

    ``group`` names the task: the responses sampled for one prompt share it. ``score`` is the
    verifier's in [0, 1], None where nothing judged the response; ``unjudged`` says that a verifier
    was asked and could not tell.
    """

    group: str
    generated_tokens: int
    score: float | None = None
    has_privileged: bool = False
    attempt: int = 1
    sampled_view: View = "student"
    unjudged: bool = False


@dataclass(frozen=True)
class TrainingRow:
    """One view of one trajectory, with the weight of each loss term on its generated tokens.

    ``trajectory`` indexes the batch. ``reference_view`` is the view whose distribution the distill
    term pulls toward; None where the row has no distill term.
    """

    trajectory: int
    view: View = "student"
    reference_view: View | None = None
    advantage: float = 0.0
    policy_gradient: float = 0.0
    distill: float = 0.0
    nll: float = 0.0

    def __post_init__(self) -> None:
        for term in ("policy_gradient", "distill", "nll"):
            weight = getattr(self, term)
            if not (weight >= 0 and math.isfinite(weight)):
                raise ValueError(
                    f"a row's {term} weight is {weight}: weights are finite and not negative (the "
                    "sign of a policy gradient is its advantage's)"
                )


@dataclass(frozen=True)
class LossSettings:
    """The settings of the three terms, the same for every row of a stage."""

    divergence: str = "reverse_kl"
    divergence_temperature: float = 1.0
    jsd_weight: float = 0.5
    clip_low: float = 0.2
    clip_high: float = 0.2
    normalisation: str = "token_mean"


@dataclass
class RowReport:
    """What happened to the trajectories: counts of dropped ones by reason, and metrics."""

    dropped: list[tuple[int, str]] = field(default_factory=list)
    metrics: dict[str, float] = field(default_factory=dict)


@runtime_checkable
class Algorithm(Protocol):
    """The interface an algorithm implements; see ``opsd.py`` for the shortest real one."""

    sampling_view: View
    needs_old_log_probs: bool

    def loss_settings(self) -> LossSettings: ...

    def rows(self, trajectories: Sequence[Trajectory]) -> tuple[list[TrainingRow], RowReport]: ...
