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
VIEWS: tuple[View, View] = ("student", "teacher")


@dataclass(frozen=True)
class Turn:
    """One assistant message of a response: how many tokens the model generated, and their text."""

    tokens: int
    text: str = ""


@dataclass(frozen=True)
class Trajectory:
    """One sampled response, reduced to what an algorithm may decide on.

    ``group`` names the task: the responses sampled for one prompt share it. ``score`` is the
    verifier's in [0, 1], None where nothing judged the response; ``unjudged`` says that a verifier
    was asked and could not tell. ``sequence_kl`` is KL(sampled view || other view) in nats, summed
    over the generated tokens; None unless the algorithm asked for it. ``attempt`` counts from 1,
    retries after failures included; ``complete`` says that the model ended the response itself.
    """

    group: str
    generated_tokens: int
    score: float | None = None
    has_privileged: bool = False
    attempt: int = 1
    sampled_view: View = "student"
    unjudged: bool = False
    sequence_kl: float | None = None
    turns: tuple[Turn, ...] = ()
    complete: bool = True


@dataclass(frozen=True)
class TrainingRow:
    """One view of one trajectory, with the weight of each loss term on its generated tokens.

    ``trajectory`` indexes the batch; a trajectory has at most one row a view. The distill term
    pulls the row's view toward the other view of the same trajectory, which gets no gradient.
    """

    trajectory: int
    view: View = "student"
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

    @property
    def trains(self) -> bool:
        return bool(self.policy_gradient or self.distill or self.nll)


@dataclass(frozen=True)
class LossSettings:
    """The settings of the three terms, the same for every row of a stage.

    ``divergence`` is that of rows in the student's view, ``teacher_divergence`` of rows in the
    teacher's; both are named from the trained view: ``reverse_kl`` is KL(trained || other).
    ``support`` and ``top_k`` choose a cheap approximation (``algorithms.approximations``).
    ``max_importance_ratio`` truncates the importance weight of the distill term's tokens, which
    corrects for samples of another policy; None leaves them as they are.
    """

    divergence: str = "reverse_kl"
    teacher_divergence: str = "reverse_kl"
    divergence_temperature: float = 1.0
    jsd_weight: float = 0.5
    support: str = "full"
    top_k: int = 64
    clip_low: float = 0.2
    clip_high: float = 0.2
    normalisation: str = "token_mean"
    max_importance_ratio: float | None = None


@dataclass
class RowReport:
    """What happened to the trajectories: counts of dropped ones by reason, and metrics."""

    dropped: list[tuple[int, str]] = field(default_factory=list)
    metrics: dict[str, float] = field(default_factory=dict)


@runtime_checkable
class Algorithm(Protocol):
    """The interface an algorithm implements; see ``sft.py`` for the shortest real one.

    ``sampling_view`` is the view that samples. ``needs_old_log_probs``: a policy gradient, or an
    importance weight, wants the log-probabilities of sampling time. ``sequence_kl`` names how
    ``Trajectory.sequence_kl`` is to be measured before ``rows`` is called: ``exact`` over the
    vocabulary, ``k1`` on the sampled tokens, None not at all. ``epoch`` counts passes over the
    training rows, for schedules.
    """

    sampling_view: View
    needs_old_log_probs: bool
    sequence_kl: str | None

    def loss_settings(self) -> LossSettings: ...

    def rows(
        self, trajectories: Sequence[Trajectory], *, epoch: float = 0.0
    ) -> tuple[list[TrainingRow], RowReport]: ...
