"""What a stage writes while it runs: metrics, trajectories with verdicts, evaluations, progress."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from algorithms.health import HealthMonitor, path_diversity
from algorithms.retry.metrics import ladder_metrics
from algorithms.runtime.records import RunRecords
from algorithms.runtime.rows import SampledBatch
from algorithms.runtime.stages import Stage
from algorithms.runtime.term_requests import PREFIX

# The verifier could not tell right from wrong.
UNJUDGED = "verifier_error"
# verl's names of a step's phases, and ours.
PHASES = {"gen": "sample", "update_actor": "update", "update_weights": "weight_sync"}


class StageRecorder:
    """Writes one stage's lines; ``health`` sees every sampled output on the way.

    ``steps_before`` are those of the stages that this one goes on counting.
    """

    def __init__(
        self, records: RunRecords, stage: Stage, tokenizer: Any, steps_before: int = 0
    ) -> None:
        self.records = records
        self.stage = stage
        self.tokenizer = tokenizer
        self.steps_before = steps_before
        self.health = HealthMonitor()
        self.where = {"arm": stage.arm, "seed": stage.seed}

    def event(self, kind: str, message: str, step: int) -> None:
        self.records.event(kind, message, **self.where, step=self.steps_before + step)

    def metrics(
        self,
        phase: str,
        step: int,
        seconds: float | None,
        values: Mapping[str, Any],
        view: str | None = None,
    ) -> None:
        """Numbers only: verl's metrics hold other things too. ``view`` is the one evaluated."""
        numbers = {k: v for k, v in values.items() if _is_number(v)}
        line = {"phase": phase, "step": self.steps_before + step, "time": time.time()}
        line["seconds"] = seconds
        line |= {"round": self.stage.round} if self.stage.round else {}
        line |= {"stage": self.stage.name, **({"view": view} if view else {})}
        self.records.write("metrics", {**self.where, **line, "metrics": numbers})

    def step(
        self,
        step: int,
        metrics: Mapping[str, Any],
        timing: Mapping[str, float],
        *,
        complete: bool = True,
    ) -> None:
        """One training or collection step, from verl's metrics and timers."""
        values = {k.removeprefix("actor/"): v for k, v in metrics.items()}
        values |= {f"timing/{PHASES.get(k, k)}": seconds for k, seconds in timing.items()}
        self.metrics(self.stage.phase, step, timing.get("step"), values)
        if not complete:
            return
        whole = (self.stage.batch_size,) * 2  # what a round collects is one step
        self.records.progress(
            self.stage.phase,
            *(whole if self.stage.keep is not None else (step, self.stage.steps)),
            **self.where,
            pass_rate=values.get("reward/pass_rate"),
            kl=values.get("distill/kl"),
        )

    def collecting(self, tasks: int) -> None:
        """Progress of a round's collection: so many tasks are through."""
        text = f"round {self.stage.round}"
        self.records.progress("collect", tasks, self.stage.batch_size, **self.where, text=text)

    def trajectories(
        self, step: int, batch: SampledBatch, dropped: Sequence[tuple[int, str]]
    ) -> dict[str, float]:
        """Every sampled trajectory with its verdict; returns the step's reward and health."""
        real = batch.real()
        lines = [self._trajectory(step, batch, index) for index in real]
        if self.stage.sampling.source != "stored" or not self.stage.imitates:
            self.records.write("trajectories", *lines)
        self.records.write(
            "dropped",
            *(
                {**self.where, **self._at(step), "uid": batch.row_uids[real[i]], "reason": reason}
                for i, reason in dropped
            ),
        )
        metrics = {"tokens/generated": float(sum(line["tokens"] for line in lines))}
        judged = [
            line["verdict"] for line, index in zip(lines, real, strict=True) if batch.judged(index)
        ]
        if judged and not self.stage.imitates:
            metrics["reward/pass_rate"] = sum(v["passed"] for v in judged) / len(judged)
            metrics["timing/verify"] = sum(float(v["verify_seconds"]) for v in judged)
        climbed = [(line["attempts"], line["stopped"]) for line in lines if "attempts" in line]
        metrics |= ladder_metrics(climbed) if climbed else {}
        if not self.stage.imitates:
            diversity = path_diversity(_correct_by_task(lines))
            metrics |= {} if diversity is None else {"health/path_diversity": diversity}
            metrics |= self.health.observe_outputs(
                [line["uid"] for line in lines], [line["response"] for line in lines]
            )
        return metrics

    def _at(self, step: int) -> dict[str, int]:
        return {"step": self.steps_before + step}

    def _trajectory(self, step: int, batch: SampledBatch, index: int) -> dict[str, Any]:
        verdict = batch.verdict(index)
        return {
            **self.where,
            **self._at(step),
            "stage": self.stage.name,
            "uid": batch.row_uids[index],
            "sample": index,
            "view": batch.extra[index]["view"],
            "prompt": self.tokenizer.decode(batch.student_prompts[index]),
            "response": self.tokenizer.decode(batch.responses[index], skip_special_tokens=True),
            "verdict": verdict and {**verdict, "passed": bool(verdict["acc"])},
            "tokens": int(batch.masks[index].sum()),
            **({"hint": hint} if (hint := batch.extra[index].get("hint")) else {}),
            **_ladder(batch.extra[index]),
        }

    def evaluation_begins(self, view: str) -> None:
        self.records.progress("evaluate", 0, 1, **self.where, text=view)

    def evaluations(
        self,
        view: str,
        step: int,
        prompts: Sequence[str],
        responses: Sequence[str],
        extra: Mapping[str, Sequence[Any]],
        rows: Mapping[str, dict[str, Any]],
    ) -> float:
        """Held-out answers of one view; ``extra`` is what the reward manager said of each.

        Returns the share that passed.
        """
        lines = []
        for index, response in enumerate(responses):
            uid = extra["row_uid"][index]
            info, reason = rows[uid].get("extra_info") or {}, extra["reason"][index]
            lines.append(
                {
                    **self.where,
                    **self._at(step),
                    "view": view,
                    "uid": uid,
                    "family": info.get("family") or "",
                    "structure": info.get("structure") or "seen",
                    "level": str(rows[uid].get("level") or ""),
                    "has_gold": info.get("has_gold"),
                    "statement": rows[uid]["reward_model"]["ground_truth"],
                    "sample": int(extra["uid"][index].rsplit("_", 2)[1]),
                    "prompt": prompts[index],
                    "response": response,
                    "passed": None if reason == UNJUDGED else bool(extra["acc"][index]),
                    "score": extra["score"][index],
                    "reason": reason,
                    "feedback": extra["feedback"][index],
                }
            )
        self.records.write("evaluations", *lines)
        unjudged = sum(line["passed"] is None for line in lines)
        if unjudged:
            message = f"{unjudged} of {len(lines)} held-out answers could not be judged: {view}"
            self.event("warning", message, step)
        rate = sum(line["passed"] is True for line in lines) / max(len(lines), 1)
        self.records.progress("evaluate", 1, 1, **self.where, text=view, pass_rate=rate)
        return rate


def _ladder(extra: Mapping[str, Any]) -> dict[str, Any]:
    """What a ladder left: every attempt as text, and the tokens of all of them."""
    if "attempts" not in extra:
        return {}
    left_out = ("response_ids", "log_probs")
    attempts = [{k: v for k, v in a.items() if k not in left_out} for a in extra["attempts"]]
    tokens = sum(attempt["tokens"] for attempt in attempts)
    stopped, number = extra["stopped"], extra["round"]
    # The place in the batch is that of arrival, which is another one when a round is run again.
    which = {"sample": extra["session"], "round": number}
    return {"attempts": attempts, "stopped": stopped, "tokens": tokens, **which}


def off_policy_metrics(update: Mapping[str, float]) -> dict[str, float]:
    """Clip fraction and effective sample size of each importance-weighted term, from its means.

    The effective sample size is (mean r)^2 / mean r^2, the share of tokens that carry weight.
    """
    found = {}
    for view in PREFIX.values():
        for term in ("policy_gradient", "distill"):
            name = f"{view}{term}"
            squared = update.get(f"{name}/ratio_squared")
            if squared:
                ratio = update[f"{name}/ratio"]
                found[f"{name}/effective_sample_size"] = ratio**2 / squared
        low = update.get(f"{view}policy_gradient/clipped_low")
        if low is not None:
            high = update[f"{view}policy_gradient/clipped_high"]
            found[f"{view}policy_gradient/clip_fraction"] = low + high
    return found


def _correct_by_task(lines: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    correct: dict[str, list[str]] = {}
    for line in lines:
        if "attempts" in line:
            texts = [a["response"] for a in line["attempts"] if a["passed"]]
            correct.setdefault(line["uid"], []).extend(texts)
        elif line["verdict"] and line["verdict"]["passed"]:
            correct.setdefault(line["uid"], []).append(line["response"])
    return list(correct.values())


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) or (hasattr(value, "item") and hasattr(value, "dtype"))
