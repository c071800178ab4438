"""The stages of retry -> filter -> SFT: for every round a collection, its filter, and the training.

A retry arm is an arm of source ``rounds`` (offline: collect, store, train) or of source ``online``
with the algorithm ``retry_sft`` (every step attempts, filters and learns).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from algorithms.retry.settings import FEEDBACK
from algorithms.runtime.collection import attempts_file
from algorithms.runtime.stages import Sampling, Stage
from recipes.arms import Arm
from recipes.config import ConfigError
from recipes.retry_settings import (
    context_tokens,
    filter_settings,
    ladder,
    of_arm,
    optimiser,
    plain,
)


def online_sampling(config: Any, arm: Arm) -> dict[str, Any]:
    """Sampling settings of an online retry arm: every step climbs the ladder."""
    settings = of_arm(config, arm.name, arm.retry)
    if settings["budget_of"]:
        raise ConfigError(
            f"arm {arm.name!r}: a budget is taken from a finished collection: use source: rounds"
        )
    if settings["scheme"] == "independent" and not settings["early_stop"]:
        raise ConfigError(
            f"arm {arm.name!r}: a step learns from one answer a ladder, so that samples after a "
            "pass would be thrown away: retry.early_stop=true, or source: rounds"
        )
    made = ladder(settings, arm.pi, 1, config.max_response_tokens, context_tokens(config))
    return {"source": "ladder", "ladder": plain(made), "endpoint": settings["endpoint"]}


def online_algorithm(config: Any, arm: Arm) -> dict[str, Any]:
    """Settings of ``retry_sft`` from the group ``retry``; the arm's own go before them."""
    return plain(filter_settings(of_arm(config, arm.name, arm.retry)))


def round_stages(
    config: Any,
    arm: Arm,
    seed: int,
    files: Mapping[str, str],
    start: str,
    tasks: int,
    sampling: Callable[..., Sampling],
    evaluate: Mapping[str, int | None],
) -> list[Stage]:
    """The stages of one arm and seed.

    ``start`` names the first weights, ``tasks`` how many training rows there are; ``sampling``
    makes settings from what differs. The last round's training has the arm's own stage name.
    """
    settings = of_arm(config, arm.name, arm.retry)
    builder = _Rounds(config, arm, seed, files, tasks, sampling, dict(evaluate), settings)
    stages: list[Stage] = []
    weights = start
    for number in range(1, settings["rounds"] + 1):
        collected = builder.collections(number, weights)
        first = start if settings["start_from"] == "base" else weights
        before = stages[-1].name if stages else None
        trained = builder.training(number, first, collected[-1], before)
        stages += [*collected, trained]
        weights = trained.name
    return stages


@dataclass(frozen=True)
class _Rounds:
    config: Any
    arm: Arm
    seed: int
    files: Mapping[str, str]
    tasks: int
    sampling: Callable[..., Sampling]
    evaluate: dict[str, int | None]
    settings: dict[str, Any]

    def store(self, arm: str, number: int, part: str = "") -> str:
        return self.files["collected"].format(f"{arm}-seed{self.seed}-round{number}{part}")

    def collections(self, number: int, weights: str) -> list[Stage]:
        """One collection; two where tasks on the frontier are to be found first."""
        budget, probe = self._budget(number), self.settings["probe"]
        keep = plain(filter_settings(self.settings))
        probes = self.settings["allocation"] == "frontier"
        earlier = [
            str(attempts_file(self.store(self.arm.name, earlier, part)))
            for earlier in range(1, number)
            for part in (("-probe", "") if probes else ("",))
            if self.settings["data"] == "all_rounds"
        ]
        if budget is None or self.settings["allocation"] != "frontier":
            return [self._collect(number, weights, "", {}, keep, earlier, budget)]
        probed = self.store(self.arm.name, number, "-probe")
        first = {"samples": probe, "early_stop": False}
        return [
            # At most an equal part of the total each: the probe cannot overspend it.
            self._collect(
                number, weights, "-probe", first, keep, [], {**budget, "allocation": "uniform"}
            ),
            self._collect(
                number, weights, "", {"after": probe}, keep,
                [*earlier, str(attempts_file(probed))],
                {**budget, "probe": probed, "band": list(self.settings["band"])},
            ),
        ]  # fmt: skip

    def _budget(self, number: int) -> dict[str, Any] | None:
        reference = self.settings["budget_of"]
        if not reference:
            return None
        return {"of": self.store(reference, number), "allocation": self.settings["allocation"]}

    def _collect(
        self,
        number: int,
        weights: str,
        part: str,
        differs: Mapping[str, Any],
        keep: dict[str, Any],
        also: Sequence[str],
        budget: dict[str, Any] | None,
    ) -> Stage:
        config, settings = self.config, self.settings
        made = ladder(
            settings, self.arm.pi, number, config.max_response_tokens, context_tokens(config)
        )
        name = f"{self.arm.name}-seed{self.seed}-round{number}{part}-collect"
        endpoint = settings["endpoint"]
        asked = endpoint["model"].replace("/", "--") if endpoint else weights
        folder = Path(self.files["collected"]).parent / "generations" / asked
        return Stage(
            name=name,
            arm=self.arm.name,
            seed=self.seed,
            phase="collect",
            algorithm="sft",
            sampling=self.sampling(
                source="ladder",
                pi_kind="none",
                ladder={**plain(made), **differs},
                journal={"folder": str(folder), "stage": name},
                endpoint=endpoint,
            ),
            data=self.files["train"],
            shuffle=False,
            steps=1,
            batch_size=self.tasks,
            start_from=weights,
            store=self.store(self.arm.name, number, part),
            keep=keep,
            also=tuple(also),
            probe=part == "-probe",
            budget=budget,
            round=number,
            counts_on=self._trained(number - 1) if number > 1 else None,
        )

    def _trained(self, number: int) -> str:
        last = number == self.settings["rounds"]
        return f"{self.arm.name}-seed{self.seed}{'' if last else f'-round{number}'}"

    def training(self, number: int, weights: str, collected: Stage, before: str | None) -> Stage:
        config, settings = self.config, self.settings
        return Stage(
            name=self._trained(number),
            arm=self.arm.name,
            seed=self.seed,
            phase="train",
            algorithm="sft",
            sampling=self.sampling(source="stored", pi_kind="none", verify=False),
            data=str(collected.store),
            steps=max(round(config.steps * settings["step_factor"]), 1),
            data_epochs=settings["epochs"] and settings["epochs"] * settings["step_factor"],
            batch_size=config.batch_size,
            optimiser=optimiser(config, self.arm.learning_rate, settings),
            start_from=weights,
            mini_batches=config.mini_batches,
            epochs=config.epochs,
            evaluate=dict(self.evaluate),
            evaluate_every=config.evaluation.every,
            round=number,
            counts_on=before,
            keep_best=bool(settings["keep_best"] and config.evaluation.every),
        )


def described(config: Any, arm: Arm) -> dict[str, Any]:
    """What ``plan.json`` says of a retry arm."""
    settings = of_arm(config, arm.name, arm.retry)
    names = ("scheme", "budget_of", "allocation", "train_on", "filter", "data", "start_from")
    return {
        "rounds": settings["rounds"] if arm.source == "rounds" else 1,
        "ladder": {
            **{name: settings[name] for name in names},
            "retries": settings["k"],
            "pi": arm.pi,
            "tells_feedback": arm.pi == FEEDBACK,
            "endpoint": settings["endpoint"],
        },
    }
