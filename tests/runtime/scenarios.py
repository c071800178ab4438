"""Batches for the worker tests, and the same losses by brute force.

The oracle takes whole softmaxes of `LlamaForCausalLM`'s logits, one row at a time, in float64 (its
RMSNorm computes in float32 whatever the input), and lets autograd find the gradients.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from transformers import LlamaForCausalLM

from algorithms.base import LossSettings

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

SCENARIOS: dict[str, Scenario] = {
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
    "idle": Scenario(_rows([(0.0, 0.0, 0.0)] * 4, seed=7)),
}


def oracle(
    student: LlamaForCausalLM, teacher: LlamaForCausalLM, scenario: Scenario
) -> dict[str, Any]:
    """Loss, gradients by parameter name, and metrics of a scenario."""
    settings = LossSettings(**scenario.settings)
    counts = {t: _count(scenario.rows, i, settings) for i, t in enumerate(TERMS)}
    tokens = {t: _count(scenario.rows, i, LossSettings()) for i, t in enumerate(TERMS)}
    sums: dict[str, Tensor] = {t: torch.zeros((), dtype=torch.float64) for t in TERMS}
    plain: dict[str, float] = {"kl": 0.0, "entropy": 0.0, "ratio": 0.0}
    for row in scenario.rows:
        keep = torch.tensor(row["mask"]).bool()
        by_row = settings.normalisation == "sequence_mean"
        share = 1.0 / max(int(keep.sum()), 1) if by_row else 1.0
        logits_TV = _logits(student, row["prompt"], row["response"])[keep]
        for index, term in enumerate(TERMS):
            weight = row["weights"][index]
            if not weight:
                continue
            if term == "distill":
                with torch.no_grad():
                    teacher_TV = _logits(teacher, row["reference"], row["response"])[keep]
                values_T = _divergence(logits_TV, teacher_TV, settings)
                log_p = (logits_TV / settings.divergence_temperature).log_softmax(-1)
                plain["kl"] += float(values_T.detach().sum())
                plain["entropy"] -= float((log_p.exp() * log_p).detach().sum())
            else:
                ids = torch.tensor(row["response"])[keep].unsqueeze(1)
                log_p = (logits_TV / scenario.temperature).log_softmax(-1).gather(1, ids).squeeze(1)
                values_T = -log_p
                if term == "policy_gradient":
                    ratio = (log_p - torch.tensor(row["old"], dtype=torch.float64)[keep]).exp()
                    bounded = ratio.clamp(1 - settings.clip_low, 1 + settings.clip_high)
                    values_T = -torch.minimum(ratio * row["advantage"], bounded * row["advantage"])
                    plain["ratio"] += float(ratio.detach().sum())
            sums[term] = sums[term] + weight * share * values_T.sum()
    losses = {t: sums[t] / max(counts[t], 1) for t in TERMS}
    loss = sum(losses.values(), torch.zeros((), dtype=torch.float64))
    student.zero_grad()
    if loss.requires_grad:
        loss.backward()
    metrics = {f"{t}/loss": float(losses[t].detach()) for t in TERMS if tokens[t]}
    if tokens["distill"]:
        metrics["distill/kl"] = plain["kl"] / tokens["distill"]
        metrics["entropy"] = plain["entropy"] / tokens["distill"]
    if tokens["policy_gradient"]:
        metrics["policy_gradient/ratio"] = plain["ratio"] / tokens["policy_gradient"]
    gradients = {
        name: torch.zeros_like(p) if p.grad is None else p.grad.clone()
        for name, p in student.named_parameters()
    }
    return {"loss": float(loss.detach()), "gradients": gradients, "metrics": metrics}


def double_model(folder: str) -> LlamaForCausalLM:
    return LlamaForCausalLM.from_pretrained(folder, attn_implementation="eager").double()  # type: ignore[return-value]


def _count(rows: list[Row], index: int, settings: LossSettings) -> int:
    active = [row for row in rows if row["weights"][index]]
    if settings.normalisation == "sequence_mean":
        return len(active)
    return sum(sum(row["mask"]) for row in active)


def _logits(model: LlamaForCausalLM, prompt: list[int], response: list[int]) -> Tensor:
    logits_TV = model(torch.tensor([[*prompt, *response]])).logits[0]
    return logits_TV[len(prompt) - 1 : -1]


def _divergence(student_TV: Tensor, teacher_TV: Tensor, settings: LossSettings) -> Tensor:
    log_p = (student_TV / settings.divergence_temperature).log_softmax(-1)
    log_q = (teacher_TV / settings.divergence_temperature).log_softmax(-1)
    p, q = log_p.exp(), log_q.exp()
    if settings.divergence == "reverse_kl":
        return (p * (log_p - log_q)).sum(-1)
    if settings.divergence == "forward_kl":
        return (q * (log_q - log_p)).sum(-1)
    w = settings.jsd_weight
    log_m = (w * q + (1 - w) * p).log()
    return (w * q * (log_q - log_m) + (1 - w) * p * (log_p - log_m)).sum(-1)
