"""The arms of a run: what each line of the report is, read from the configuration and checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from omegaconf import OmegaConf

from algorithms.group_pi import GROUP_KINDS
from algorithms.hints import SELF_HINT
from algorithms.runtime.stages import TeacherWeights
from recipes.config import ConfigError

SOURCES = ("online", "offline", "given", "rounds")
# What needs no entry in the rows; any other kind is one that the rows have.
MADE = ("own", "none", *GROUP_KINDS, SELF_HINT)
DEFINITION = (
    "description", "source", "pi", "teacher", "algorithm", "settings", "after", "learning_rate",
    "retry", "role",
)  # fmt: skip
ROLES = ("method", "control", "sft")
RETRY_SFT = "retry_sft"
WITHOUT_TEACHER = ("grpo", "sft", "retry_sft")
TRAINS_TEACHER = ("pi_distill", "teacher_objective", "student_objective")
TEACHERS = ("frozen", "live", "ema", "trust_region", "none")


@dataclass(frozen=True)
class Arm:
    """One line of the report: where responses come from and what the teacher sees.

    ``pi`` is what a retry arm tells in its retry prompt; ``retry`` its settings over the recipe's.
    """

    name: str
    description: str
    source: str
    pi: str
    teacher: TeacherWeights
    algorithm: str
    settings: dict[str, Any]
    after: str | None = None
    learning_rate: float | None = None  # None: the recipe's
    retry: dict[str, Any] = field(default_factory=dict)
    role: str | None = None  # None: what algorithm and PI suggest

    def retries(self, config: Any) -> bool:
        """Whether failures are attempted again, in conversation or anew."""
        online = self.source == "online" and self.algorithm == RETRY_SFT
        return self.source == "rounds" or (online and "retry" in config)

    @property
    def sampling_label(self) -> str:
        return {"given": "none"}.get(self.source, self.source)


def arms_of(config: Any) -> list[Arm]:
    """The arms that ``config.arms`` names.

    Raises:
        ConfigError: an unknown arm, or one whose definition is off.
    """
    arms: list[Arm] = []
    for name in config.arms:
        arm = _defined(config, name)
        _check_values(config, arm)
        _check_order(arm, arms)
        arms.append(arm)
    return arms


def _defined(config: Any, name: str) -> Arm:
    if name not in config.arm_definitions:
        known = ", ".join(config.arm_definitions)
        raise ConfigError(
            f"no arm {name!r}; known: {known}. Define one: +arm_definitions.{name}=..."
        )
    definition = config.arm_definitions[name]
    if not isinstance(definition, Mapping):
        raise ConfigError(f"arm {name!r}: its definition is a group of {', '.join(DEFINITION)}")
    unknown = sorted(set(definition) - set(DEFINITION))
    if unknown:
        raise ConfigError(
            f"arm {name!r}: no setting {', '.join(unknown)}; there are {', '.join(DEFINITION)}"
        )
    source = definition.get("source", "")
    usual = {"given": "sft", "rounds": RETRY_SFT}.get(source, config.algorithm)
    algorithm = definition.get("algorithm", usual)
    return Arm(
        name=name,
        description=definition.get("description", name),
        source=source,
        pi=definition.get("pi", "none" if source == "rounds" else "own"),
        teacher=definition.get("teacher", _usual_teacher(config, algorithm)),
        algorithm=algorithm,
        settings=_plain(definition.get("settings", {})),
        after=definition.get("after"),
        learning_rate=definition.get("learning_rate"),
        retry=_plain(definition.get("retry", {})),
        role=definition.get("role"),
    )


def _check_values(config: Any, arm: Arm) -> None:
    where, rate = f"arm {arm.name!r}", arm.learning_rate
    if rate is not None and (not isinstance(rate, (int, float)) or rate <= 0):
        raise ConfigError(f"{where}: learning_rate is above 0, got {rate!r}")
    if arm.source not in SOURCES or not isinstance(arm.pi, str):
        raise ConfigError(
            f"{where}: source is one of {', '.join(SOURCES)} and pi the name of a kind; got "
            f"{arm.source!r} and {arm.pi!r}"
        )
    if arm.role not in (None, *ROLES):
        raise ConfigError(f"{where}: role is one of {', '.join(ROLES)}; got {arm.role!r}")
    if arm.source == "rounds" and arm.algorithm != RETRY_SFT:
        raise ConfigError(
            f"{where}: rounds of collecting and training learn by {RETRY_SFT}; got "
            f"{arm.algorithm!r}"
        )
    if arm.source == "rounds" and arm.settings:
        raise ConfigError(f"{where}: its settings are those of retry: write retry: {{...}}")
    if arm.retry and not arm.retries(config):
        raise ConfigError(f"{where}: settings of retry are for source rounds or {RETRY_SFT} online")
    if arm.teacher not in TEACHERS:
        raise ConfigError(f"{where}: teacher is one of {', '.join(TEACHERS)}; got {arm.teacher!r}")


def _check_order(arm: Arm, arms: list[Arm]) -> None:
    """What an arm builds on comes before it."""
    earlier = [other.name for other in arms]
    if arm.after is not None and arm.after not in earlier:
        raise ConfigError(
            f"arm {arm.name!r} starts after {arm.after!r}, which is no earlier arm of this run: "
            f"arms=[...,{arm.after},{arm.name}]"
        )
    reference = arm.retry.get("budget_of")
    if not reference:
        return
    if reference not in earlier:
        raise ConfigError(
            f"arm {arm.name!r} may generate what {reference!r} did, which is no earlier arm of "
            f"this run: arms=[...,{reference},{arm.name}]"
        )
    other = arms[earlier.index(reference)]
    if other.source != "rounds" or other.retry.get("allocation") == "frontier":
        raise ConfigError(
            f"arm {arm.name!r} may generate what {reference!r} did, which is not one collection a "
            "round: name an arm of source rounds that probes nothing"
        )


def _plain(settings: Any) -> dict[str, Any]:
    """Settings without OmegaConf's containers."""
    return OmegaConf.to_container(OmegaConf.create(dict(settings)), resolve=True)  # type: ignore


def _usual_teacher(config: Any, algorithm: str) -> str:
    """pi-Distill trains its teacher, which is the student with PI; the baselines have none."""
    if algorithm in TRAINS_TEACHER:
        return "live"
    return "none" if algorithm in WITHOUT_TEACHER else config.teacher
