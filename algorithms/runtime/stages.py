"""A run is a list of stages on one set of processes: warm-up, a collection, the arms.

A stage says where its first weights come from, what it samples, which algorithm learns from that,
and how often it is evaluated. It is plain data, made by a recipe and checked before Ray starts.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any, Literal

from algorithms.base import View
from algorithms.runtime.teacher import TeacherSettings

# Teachers with weights of their own.
COPIES = ("frozen", "ema", "trust_region")

Source = Literal["rollout", "ladder", "stored", "given"]
TeacherWeights = Literal["live", "frozen", "ema", "trust_region", "none"]


@dataclass(frozen=True)
class Sampling:
    """How a batch of prompts becomes trajectories.

    ``source``: ``rollout`` generates with the current weights, ``stored`` replays the trajectories
    of a collection, ``given`` takes the response from the row's ``given_kind`` entry (SFT),
    ``ladder`` attempts the task until it passes or a limit is reached, and gives the last attempt.
    ``ladder`` holds the settings of that (``algorithms.retry.settings``), ``journal`` the folder
    and the stage under which answers are kept, ``endpoint`` the url and model that answer instead.
    ``hint_from`` and ``hint_tokens``: the entry that a ``self_hint`` is written from, and the
    tokens that it may have.
    """

    view: View = "student"
    source: Source = "rollout"
    pi_kind: str | None = None
    given_kind: str = "gold_solution"
    hint_from: str = "gold_solution"
    hint_tokens: int = 96
    n: int = 1
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = -1
    max_prompt_tokens: int = 1024
    template: dict[str, str] = field(default_factory=dict)
    verify: bool = True
    ladder: dict[str, Any] | None = None
    journal: dict[str, str] | None = None
    endpoint: dict[str, str] | None = None


@dataclass(frozen=True)
class Stage:
    """One stretch of training, collection or evaluation.

    ``start_from`` names the stage whose last weights this one starts from; "base" is the model as
    loaded. ``teacher_from`` does the same for a frozen teacher (None: the stage's own start).
    ``teacher_settings`` are ``TeacherSettings``' but its kind. ``steps`` 0 only evaluates. A step
    takes ``mini_batches * epochs`` gradient steps on what it sampled.

    A collection with ``keep`` (settings of ``algorithms.retry.filter``) stores what is learnt from;
    all attempts lie beside it. ``also`` names attempts of earlier collections to choose from.
    A ``probe`` only looks for tasks: what it found is counted where it is chosen from.
    ``budget`` bounds the tokens of each task (``rounds.TokenBudget``). ``counts_on`` names the
    stage whose steps this one goes on counting. ``data_epochs`` sets the steps as passes over data.
    ``keep_best`` saves the weights of the best evaluation beside the last ones.
    """

    name: str
    arm: str
    seed: int
    phase: Literal["warmup", "collect", "train", "evaluate"]
    algorithm: str
    algorithm_settings: dict[str, Any] = field(default_factory=dict)
    sampling: Sampling = field(default_factory=Sampling)
    data: str = ""
    shuffle: bool = True
    steps: int = 0
    batch_size: int = 16
    optimiser: dict[str, Any] = field(default_factory=dict)
    start_from: str = "base"
    teacher: TeacherWeights = "none"
    teacher_from: str | None = None
    teacher_settings: dict[str, float] = field(default_factory=dict)
    mini_batches: int = 1
    epochs: int = 1
    evaluate: dict[str, int | None] = field(default_factory=dict)
    evaluate_every: int = 0
    store: str | None = None
    keep_weights: bool = True
    on_collapse: Literal["stop", "warn"] = "stop"
    keep: dict[str, Any] | None = None
    also: tuple[str, ...] = ()
    probe: bool = False
    budget: dict[str, Any] | None = None
    round: int = 0
    counts_on: str | None = None
    data_epochs: float | None = None
    keep_best: bool = False

    @property
    def imitates(self) -> bool:
        """Whether its responses are given, to be learnt by likelihood: few and sure is no alarm."""
        source = self.sampling.source
        return source == "given" or (source == "stored" and self.algorithm == "sft")

    def as_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


def stage_from_dict(values: dict[str, Any]) -> Stage:
    """The inverse of ``Stage.as_dict``; unknown keys are refused by the dataclass."""
    values = dict(values)
    values["sampling"] = Sampling(**values.get("sampling", {}))
    values["also"] = tuple(values.get("also", ()))
    return Stage(**values)


class InvalidPlan(ValueError):
    """A list of stages that cannot run, with what to change."""


def check_plan(stages: list[Stage]) -> None:
    """Refuse plans that would fail half-way.

    Raises:
        InvalidPlan: duplicate names, a start from a stage that does not come before, a stored
            source that nothing wrote, or a batch without rows.
    """
    seen: set[str] = {"base"}
    stored: set[str] = set()
    for stage in stages:
        if stage.name in seen:
            raise InvalidPlan(
                f"two stages are named {stage.name!r}; names are folders, keep them apart"
            )
        for what, origin in (
            ("start_from", stage.start_from),
            ("teacher_from", stage.teacher_from),
            ("counts_on", stage.counts_on),
        ):
            if origin is not None and origin not in seen:
                raise InvalidPlan(
                    f"stage {stage.name!r}: {what}={origin!r} is no earlier stage; "
                    f"earlier ones: {', '.join(sorted(seen))}"
                )
        if stage.steps < 0 or stage.batch_size < 1 or stage.sampling.n < 1:
            raise InvalidPlan(
                f"stage {stage.name!r}: steps >= 0, batch_size >= 1 and n >= 1 are needed"
            )
        cut = stage.mini_batches
        if stage.epochs < 1 or cut < 1 or stage.batch_size % cut:
            raise InvalidPlan(
                f"stage {stage.name!r}: epochs and mini_batches are at least 1, and {cut} "
                f"mini-batches must divide the batch of {stage.batch_size} prompts"
            )
        if stage.teacher in COPIES:
            TeacherSettings(kind=stage.teacher, **stage.teacher_settings)  # type: ignore[arg-type]
        if stage.steps and not stage.data:
            raise InvalidPlan(
                f"stage {stage.name!r} trains {stage.steps} steps on no data: set data="
            )
        if stage.sampling.source == "stored" and stage.data not in stored:
            raise InvalidPlan(
                f"stage {stage.name!r} replays {stage.data!r}, which no earlier stage stores"
            )
        if stage.budget is not None and stage.budget["of"] not in stored:
            raise InvalidPlan(
                f"stage {stage.name!r} may generate what {stage.budget['of']!r} did, which no "
                "earlier stage stores: give both arms as many rounds"
            )
        if stage.store:
            stored.add(stage.store)
        seen.add(stage.name)
