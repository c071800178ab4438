"""Every objective on the same worker: one Ray start, three steps each, two gradient steps a step.

The tiny model solves nothing, so that only what needs no success can have a gradient: the KL terms
and the given proofs.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from . import runs

pytestmark = [pytest.mark.e2e, pytest.mark.lean]

ARMS = (
    "opsd", "opsd_ema", "opsd_kl_reward", "opsd_feedback", "pi_distill_1", "pi_distill_loss",
    "pi_distill_hint", "grpo", "self_sft", "sft_gold", "sft_then_grpo",
)  # fmt: skip
LEARNS = (
    "opsd", "opsd_ema", "opsd_feedback", "opsd_kl_reward", "pi_distill_1", "pi_distill_loss",
    "pi_distill_hint", "sft_gold",
)  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("objectives")
    process = runs.start(
        folder,
        f"model.path={runs.tiny_model(folder / 'model')}",
        f"arms=[{','.join(ARMS)}]",
        "steps=3",
        "batch_size=2",
        "samples_per_prompt=2",
        "mini_batches=2",
        "max_response_tokens=16",
        "data.eval_rows=4",
        "evaluation.teacher_rows=0",
        "warmup.enabled=false",
        "+arm_definitions.opsd_ema={source: online, teacher: ema}",
        "+arm_definitions.opsd_feedback={source: online, pi: environment_feedback}",
        "+arm_definitions.pi_distill_hint={source: online, pi: self_hint, algorithm: pi_distill}",
        "+arm_definitions.pi_distill_loss={source: online, algorithm: pi_distill, "
        "settings: {kl_placement: loss}}",
        recipe="objectives",
    )
    return runs.finish(process, folder, 900.0, recipe="objectives")


def metrics(run: Path, arm: str) -> list[dict]:
    rows = [x for x in runs.lines(run, "metrics") if x["arm"] == arm and x["phase"] == "train"]
    return [{**row["metrics"], "step": row["step"]} for row in rows if row["seconds"] is not None]


@pytest.mark.parametrize("arm", ARMS)
def test_three_steps_with_a_finite_gradient(run, arm):
    assert runs.steps_of(run, arm) == [1, 2, 3]
    norms = [m["grad_norm"] for m in metrics(run, arm)]
    assert len(norms) == 3 and all(math.isfinite(norm) for norm in norms)
    assert [norm > 0 for norm in norms] == [arm in LEARNS] * 3


def test_pi_distill_samples_with_the_teachers_prompt_and_trains_both_views(run):
    sampled = [t for t in runs.lines(run, "trajectories") if t["arm"] == "pi_distill_loss"]
    assert {t["view"] for t in sampled} == {"teacher"}
    for seen in metrics(run, "pi_distill_loss"):
        assert seen["distill/kl"] > 0 and seen["teacher/distill/kl"] > 0
        # KL(sg pi_T || pi_S) for the student, KL(pi_T || sg pi_S) for the teacher: one number.
        assert seen["distill/kl"] == pytest.approx(seen["teacher/distill/kl"], rel=0.05)


def test_the_teacher_is_shown_what_the_model_wrote_itself(run):
    sampled = [t for t in runs.lines(run, "trajectories") if t["arm"] == "pi_distill_hint"]
    assert sampled and sum(bool(t.get("hint")) for t in sampled) >= len(sampled) / 2


def test_the_kl_in_the_reward_gives_advantages_and_a_ratio_of_one_at_first(run):
    for arm, prefix in (("opsd_kl_reward", ""), ("pi_distill_1", "teacher/")):
        for seen in metrics(run, arm):
            assert seen["reward/token_kl"] > 0
            assert seen[f"{prefix}policy_gradient/ratio"] == pytest.approx(1.0, abs=0.1)
            assert 0 < seen[f"{prefix}policy_gradient/effective_sample_size"] <= 1.0 + 1e-6


def test_the_teacher_is_shown_what_lean_said(run):
    for seen in metrics(run, "opsd_feedback"):
        assert seen["group_pi/shown_share"] + seen["group_pi/overflow_share"] > 0.5
        assert seen["distill/kl"] > 0


def test_rl_starts_where_sft_ended(run):
    done = json.loads((run / "stages" / "sft_then_grpo-seed0.json").read_text())
    assert done["stage"]["start_from"] == "sft_gold-seed0"


def test_the_report_compares_them(run):
    report = json.loads((run / "report.json").read_text())
    assert report["recipe"] == "objectives"
    assert [arm["name"] for arm in report["arms"]] == list(ARMS)
    trained = {entry["name"]: entry for entry in report["training"]}
    for arm in ARMS:
        assert (trained[arm]["tokens"]["trained"] > 0) is (arm in LEARNS)
    # Both views of the same response are trained.
    both = trained["pi_distill_loss"]["tokens"]
    assert both["trained"] == 2 * both["generated"]
    assert trained["pi_distill_1"]["off_policy"]["teacher/policy_gradient"]["ratio"] is not None
    assert trained["pi_distill_loss"]["kl_teacher_student"] > 0
