"""Batches for the worker tests, and the same losses by brute force.

The oracle takes whole softmaxes of `LlamaForCausalLM`'s logits, one row at a time, in float64 (its
RMSNorm computes in float32 whatever the input), and lets autograd find the gradients.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, LlamaForCausalLM

from algorithms.base import VIEWS, LossSettings

TERMS = ("policy_gradient", "distill", "nll")
EOS = 1
Row = dict[str, Any]


@dataclass(frozen=True)
class Scenario:
    """A batch and the settings of its terms."""

    rows: list[Row]
    temperature: float = 1.0
    settings: dict[str, Any] = field(default_factory=dict)

    def with_rows(self, rows: list[Row]) -> Scenario:
        return Scenario(rows, self.temperature, self.settings)


def _rows(weights: list[tuple[float, float, float]], seed: int = 0) -> list[Row]:
    """Rows of different lengths; every second one has a tool's answer inside its response."""
    draw = random.Random(seed)

    def ids(count: int) -> list[int]:
        return [draw.randrange(2, 61) for _ in range(count)]

    rows = []
    for number, weight in enumerate(weights):
        prompt, length = ids(3 + number % 3), 4 + 2 * number
        mask = [1] * length
        if number % 2:
            mask[2 : 2 + length // 3] = [0] * (length // 3)
        rows.append(
            {
                "prompt": prompt,
                "reference": [*ids(5), *prompt],
                "response": [*ids(length - 1), EOS],
                "mask": mask,
                "weights": list(weight),
                "advantage": (-1.0) ** number * (0.5 + number),
                # About what the model gives, so that some ratios are clipped and some are not.
                "old": [draw.uniform(-8.0, -1.0) for _ in range(length)],
            }
        )
    return rows


def padding_row() -> Row:
    """The shape of verl's synthetic rows (`construct_minimal_padding_template`)."""
    prompt = [EOS] * 127
    return {
        "prompt": prompt,
        "reference": prompt,
        "response": [EOS],
        "mask": [0],
        "weights": [0.0, 0.0, 0.0],
    }


_PG, _DISTILL, _NLL = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)
_MIXED = [(1.0, 0.5, 0.0), _NLL, (0.0, 0.7, 0.0), (0.3, 0.0, 0.2), (0.0, 0.0, 0.0), (0.4, 0.3, 0.6)]
MIXTURE = Scenario(_rows(_MIXED, seed=4), temperature=1.3)
_SAME = [{**row, "reference": row["prompt"]} for row in _rows([_DISTILL] * 4, seed=5)]
# Half of the rows distill, the other half do not: dealt in order to two ranks, one has none.
LOPSIDED = Scenario(_rows([_DISTILL, (0.5, 1.0, 0.0), (0.2, 0.4, 0.0), _NLL, _NLL, _NLL], seed=6))

# pi-Distill: both views of every response, with a divergence for each; one task without PI.
_PI_DISTILL = {"divergence": "forward_kl", "teacher_divergence": "reverse_kl"}
TWO_VIEWS = Scenario(
    [
        {**row, "teacher_weights": [w * 1.5 for w in row["weights"]], "sampled_view": 1}
        for row in _rows([(0.4, 0.1, 0.0)] * 5, seed=8)
    ]
    + [{**row, "teacher_weights": [0.0] * 3} for row in _rows([_PG], seed=9)],
    settings=_PI_DISTILL,
)


def _of_tasks(rows: list[Row], tasks: int) -> list[Row]:
    """The rows dealt to so few tasks, which share their prompts in both views."""
    return [
        {**row, "prompt": rows[i % tasks]["prompt"], "reference": rows[i % tasks]["reference"]}
        for i, row in enumerate(rows)
    ]


# Groups as GRPO has them, the rows of a task not next to each other.
GROUPED = Scenario(
    [
        {**row, "teacher_weights": [0.3 * (i % 3), 0.2, 0.0], "sampled_view": i % 2}
        for i, row in enumerate(_of_tasks(_rows(_MIXED, seed=10), 2))
    ],
    settings=_PI_DISTILL,
)
# The students' prompts of five rows are equal, the teachers' of three.
GROUPED_UNEVENLY = GROUPED.with_rows(
    [{**row, "prompt": GROUPED.rows[int(i == 1)]["prompt"]} for i, row in enumerate(GROUPED.rows)]
)

SCENARIOS: dict[str, Scenario] = {
    "grouped": GROUPED,
    "grouped unevenly": GROUPED_UNEVENLY,
    "grouped, same prompt": Scenario(_of_tasks(_SAME, 2)),
    "distill": Scenario(_rows([_DISTILL] * 4, seed=1)),
    "forward_kl": Scenario(
        _rows([_DISTILL] * 4, seed=1),
        settings={"divergence": "forward_kl", "divergence_temperature": 0.7},
    ),
    "jsd": Scenario(
        _rows([_DISTILL] * 4, seed=1), settings={"divergence": "jsd", "jsd_weight": 0.3}
    ),
    "nll": Scenario(_rows([_NLL] * 4, seed=2)),
    "policy_gradient": Scenario(
        _rows([_PG] * 4, seed=3), temperature=0.8, settings={"clip_low": 0.2, "clip_high": 0.3}
    ),
    "mixture": MIXTURE,
    "sequence_mean": Scenario(MIXTURE.rows, 1.3, {"normalisation": "sequence_mean"}),
    "lopsided": LOPSIDED,
    "same_prompt": Scenario(_SAME),
    "two views": TWO_VIEWS,
    # A warm-up: some rows with the bare prompt, most with the teacher's.
    "nll in both views": Scenario(
        [
            {
                **row,
                "weights": [0.0, 0.0, float(i == 0)],
                "teacher_weights": [0.0, 0.0, float(i > 0)],
            }
            for i, row in enumerate(_rows([_NLL] * 4, seed=2))
        ]
    ),
    "teacher alone": Scenario(
        [{**row, "weights": [0.0, 0.0, 0.0]} for row in TWO_VIEWS.rows], settings=_PI_DISTILL
    ),
    "mixture, importance": Scenario(MIXTURE.rows, 0.7, {"max_importance_ratio": 1.5}),
    "mixture, k3": Scenario(MIXTURE.rows, 1.1, {"divergence": "k3"}),
    "mixture, top-k": Scenario(
        MIXTURE.rows,
        0.9,
        {"support": "teacher", "top_k": 5, "max_importance_ratio": 2.0},
    ),
    "k2": Scenario(_rows([_DISTILL] * 4, seed=1), settings={"divergence": "k2"}),
    "k3": Scenario(_rows([_DISTILL] * 4, seed=1), settings={"divergence": "k3"}),
    "top-k of the student": Scenario(
        _rows([_DISTILL] * 4, seed=1), settings={"support": "student", "top_k": 5}
    ),
    "top-k of the teacher": Scenario(
        _rows([_DISTILL] * 4, seed=1),
        settings={"divergence": "forward_kl", "support": "teacher", "top_k": 5},
    ),
    "importance": Scenario(
        _rows([_DISTILL] * 4, seed=1), 0.9, settings={"max_importance_ratio": 1.5}
    ),
    "idle": Scenario(_rows([(0.0, 0.0, 0.0)] * 4, seed=7)),
}


def oracle(student: LlamaForCausalLM, teacher: Any, scenario: Scenario) -> dict[str, Any]:
    """Loss, gradients by parameter name, and metrics of a scenario.

    ``student`` is the model that trains, in both views; ``teacher`` holds the weights of the other
    view wherever a distill term pulls toward it.
    """
    total = torch.zeros((), dtype=torch.float64)
    metrics: dict[str, float] = {}
    for view in VIEWS:
        loss, seen = _view_loss(student, teacher, scenario, view)
        total = total + loss
        metrics |= {f"{'' if view == 'student' else 'teacher/'}{k}": v for k, v in seen.items()}
    student.zero_grad()
    if total.requires_grad:
        total.backward()
    gradients = {
        name: torch.zeros_like(p) if p.grad is None else p.grad.clone()
        for name, p in student.named_parameters()
    }
    return {"loss": float(total.detach()), "gradients": gradients, "metrics": metrics}


def _view_loss(
    student: LlamaForCausalLM, teacher: Any, scenario: Scenario, view: str
) -> tuple[Tensor, dict[str, float]]:
    settings = LossSettings(**scenario.settings)
    own, other = ("prompt", "reference") if view == "student" else ("reference", "prompt")
    key = "weights" if view == "student" else "teacher_weights"
    kind = settings.divergence if view == "student" else settings.teacher_divergence
    weights_of = [row.get(key, (0.0, 0.0, 0.0)) for row in scenario.rows]
    tokens = {t: _count(scenario.rows, weights_of, i, LossSettings()) for i, t in enumerate(TERMS)}
    sums: dict[str, Tensor] = {t: torch.zeros((), dtype=torch.float64) for t in TERMS}
    plain: dict[str, float] = {"kl": 0.0, "entropy": 0.0, "ratio": 0.0, "own": 0.0, "other": 0.0}
    for row, weights in zip(scenario.rows, weights_of, strict=True):
        if not any(weights):
            continue
        keep = torch.tensor(row["mask"]).bool()
        by_row = settings.normalisation == "sequence_mean"
        share = 1.0 / max(int(keep.sum()), 1) if by_row else 1.0
        logits_TV = _logits(student, row[own], row["response"])[keep]
        old_T = torch.tensor(row["old"], dtype=torch.float64)[keep]
        ids = torch.tensor(row["response"])[keep].unsqueeze(1)
        for index, term in enumerate(TERMS):
            if not weights[index]:
                continue
            if term == "distill":
                with torch.no_grad():
                    teacher_TV = _logits(teacher, row[other], row["response"])[keep]
                values_T = _divergence(logits_TV, teacher_TV, kind, settings, ids)
                log_p = (logits_TV / settings.divergence_temperature).log_softmax(-1).detach()
                log_q = (teacher_TV / settings.divergence_temperature).log_softmax(-1)
                plain["kl"] += float(values_T.detach().sum())
                plain["entropy"] -= float((log_p.exp() * log_p).sum())
                plain["own"] += float((log_p.exp() * (log_p - log_q)).sum())
                plain["other"] += float((log_q.exp() * (log_q - log_p)).sum())
                if settings.max_importance_ratio is not None:
                    now_T = (logits_TV / scenario.temperature).log_softmax(-1).gather(1, ids)
                    ratio = (now_T.squeeze(1).detach() - old_T).exp()
                    values_T = values_T * ratio.clamp(max=settings.max_importance_ratio)
            else:
                log_p = (logits_TV / scenario.temperature).log_softmax(-1).gather(1, ids).squeeze(1)
                values_T = -log_p
                if term == "policy_gradient":
                    ratio = (log_p - old_T).exp()
                    bounded = ratio.clamp(1 - settings.clip_low, 1 + settings.clip_high)
                    values_T = -torch.minimum(ratio * row["advantage"], bounded * row["advantage"])
                    plain["ratio"] += float(ratio.detach().sum())
            sums[term] = sums[term] + weights[index] * share * values_T.sum()
    # A task that trains one view weighs as much as one that trains both.
    reached = [
        [
            max(pair)
            for pair in zip(r["weights"], r.get("teacher_weights", r["weights"]), strict=True)
        ]
        for r in scenario.rows
    ]
    counts = {t: _count(scenario.rows, reached, i, settings) for i, t in enumerate(TERMS)}
    losses = {t: sums[t] / max(counts[t], 1) for t in TERMS}
    metrics = {f"{t}/loss": float(losses[t].detach()) for t in TERMS if tokens[t]}
    if tokens["distill"]:
        exact = settings.support == "full" and kind not in ("k2", "k3")
        for name, value in (
            ("distill/kl", "kl"),
            ("entropy", "entropy"),
            ("distill/kl_own_other", "own"),
            ("distill/kl_other_own", "other"),
        ):
            if exact or value == "kl":
                metrics[name] = plain[value] / tokens["distill"]
    if tokens["policy_gradient"]:
        metrics["policy_gradient/ratio"] = plain["ratio"] / tokens["policy_gradient"]
    return sum(losses.values(), torch.zeros((), dtype=torch.float64)), metrics


def double_model(folder: str) -> LlamaForCausalLM:
    model = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager")
    return model.double()  # type: ignore[return-value]


class Mixed:
    """A teacher whose logits lie between those of two models."""

    def __init__(self, live: LlamaForCausalLM, frozen: LlamaForCausalLM, mix: float) -> None:
        self.live, self.frozen, self.mix = live, frozen, mix

    def __call__(self, ids: Tensor) -> Any:
        mixed = (1 - self.mix) * self.frozen(ids).logits + self.mix * self.live(ids).logits
        return SimpleNamespace(logits=mixed)


def sequence_kls(
    model: LlamaForCausalLM, scenario: Scenario, estimator: str, view: int
) -> list[float]:
    """KL(sampled view || other view) of every row, one ``model`` being both."""
    found = []
    for row in scenario.rows:
        keep = torch.tensor(row["mask"]).bool()
        prompts = (row["prompt"], row["reference"])
        with torch.no_grad():
            log_p, log_q = (
                _logits(model, prompts[v], row["response"])[keep].log_softmax(-1)
                for v in (view, 1 - view)
            )
        if estimator == "exact":
            found.append(float((log_p.exp() * (log_p - log_q)).sum()))
        else:
            ids = torch.tensor(row["response"])[keep].unsqueeze(1)
            found.append(float((log_p - log_q).gather(1, ids).sum()))
    return found


def _count(rows: list[Row], weights_of: list[Any], index: int, settings: LossSettings) -> int:
    active = [row for row, weights in zip(rows, weights_of, strict=True) if weights[index]]
    if settings.normalisation == "sequence_mean":
        return len(active)
    return sum(sum(row["mask"]) for row in active)


def _logits(model: Any, prompt: list[int], response: list[int]) -> Tensor:
    logits_TV = model(torch.tensor([[*prompt, *response]])).logits[0]
    return logits_TV[len(prompt) - 1 : -1]


def _divergence(
    student_TV: Tensor, teacher_TV: Tensor, kind: str, settings: LossSettings, ids: Tensor
) -> Tensor:
    log_p = (student_TV / settings.divergence_temperature).log_softmax(-1)
    log_q = (teacher_TV / settings.divergence_temperature).log_softmax(-1)
    if kind in ("k2", "k3"):
        log_ratio = (log_q - log_p).gather(1, ids).squeeze(1)
        return 0.5 * log_ratio**2 if kind == "k2" else log_ratio.exp() - 1 - log_ratio
    if settings.support != "full":
        chosen = (log_p if settings.support == "student" else log_q).topk(settings.top_k).indices
        log_p, log_q = _merged(log_p, chosen), _merged(log_q, chosen)
    p, q = log_p.exp(), log_q.exp()
    if kind == "reverse_kl":
        return (p * (log_p - log_q)).sum(-1)
    if kind == "forward_kl":
        return (q * (log_q - log_p)).sum(-1)
    w = settings.jsd_weight
    log_m = (w * q + (1 - w) * p).log()
    return (w * q * (log_q - log_m) + (1 - w) * p * (log_p - log_m)).sum(-1)


def _merged(log_p_TV: Tensor, chosen_TK: Tensor) -> Tensor:
    """The chosen tokens, and all others as one."""
    rest = torch.ones_like(log_p_TV).scatter(1, chosen_TK, 0.0)
    tail = (log_p_TV.exp() * rest).sum(-1, keepdim=True).log()
    return torch.cat([log_p_TV.gather(1, chosen_TK), tail], dim=1)
