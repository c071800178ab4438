"""The main job as a user starts it: real verl, real Ray, real FSDP2, real Lean, on the CPU."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from . import runs

pytestmark = [pytest.mark.e2e, pytest.mark.lean]
LIMIT = 900.0
STEPS, KILLED_AFTER = 3, 2
# The online arm's teacher moves, so that it has to be restored; the offline arm's is frozen.
KILLED = (
    f"steps={STEPS}",
    "+arm_definitions.online.teacher=ema",
    "teacher_settings.ema_decay=0.5",
)


@pytest.fixture(scope="module")
def killed_and_resumed(tmp_path_factory) -> Path:
    """A run of the demonstration model, killed with SIGKILL before its last checkpoint."""
    folder = tmp_path_factory.mktemp("killed")
    run = folder / "outputs" / "opsd_skeleton" / "test"
    process = runs.start(folder, *KILLED)
    marker = run / "checkpoints" / "online-seed0" / "latest_checkpointed_iteration.txt"

    def saved() -> bool:
        if process.poll() is not None:
            runs.finish(process, folder, 0)
        return marker.exists() and marker.read_text().strip() == str(KILLED_AFTER)

    runs.wait_until(saved, LIMIT, "checkpoints of the first arm")
    runs.kill(process)
    assert marker.read_text().strip() == str(KILLED_AFTER)
    shutil.copy(moving_teacher(run, KILLED_AFTER), run / "teacher_before.pt")
    return runs.finish(runs.start(folder, *KILLED), folder, LIMIT)


def moving_teacher(run: Path, step: int) -> Path:
    actor = run / "checkpoints" / "online-seed0" / f"global_step_{step}" / "actor"
    return actor / "teacher_world_size_1_rank_0.pt"


def test_resumed_run_ends_with_the_same_step_count(killed_and_resumed):
    for arm in ("online", "offline"):
        assert runs.steps_of(killed_and_resumed, arm) == [1, 2, 3]
    resumed = [e for e in runs.lines(killed_and_resumed, "events") if e["kind"] == "resume"]
    assert any("resumed online-seed0 after step" in e["message"] for e in resumed)


def test_steps_before_the_kill_were_not_repeated(killed_and_resumed):
    sampled = [t for t in runs.lines(killed_and_resumed, "trajectories") if t["arm"] == "online"]
    for step in range(1, KILLED_AFTER + 1):
        assert len([t for t in sampled if t["step"] == step]) == 4


def test_every_trajectory_has_its_verdict(killed_and_resumed):
    sampled = [
        t
        for t in runs.lines(killed_and_resumed, "trajectories")
        if t["arm"] in ("online", "offline")
    ]
    assert len(sampled) >= 2 * STEPS * 4
    assert all(t["verdict"]["reason"] for t in sampled)
    assert not [t for t in sampled if t["verdict"]["reason"] == "verifier_error"]


def test_online_samples_anew_and_offline_replays_the_collection(killed_and_resumed):
    def responses(arm: str) -> list[tuple]:
        return [
            (t["step"], t["uid"], t["response"])
            for t in runs.lines(killed_and_resumed, "trajectories")
            if t["arm"] == arm
        ]

    assert set(responses("offline")) == set(responses("collection"))
    # Same seed, same prompts, same start: the first step samples the same, up to a rounding of
    # bfloat16 that may tip a token over.
    first = {r for r in responses("online") if r[0] == 1}
    collected = {r for r in responses("collection") if r[0] == 1}
    assert {r[1] for r in first} == {r[1] for r in collected}
    assert len(first & collected) >= 2


def test_evaluation_sets_are_the_same_for_all_arms(killed_and_resumed):
    seen = {}
    for line in runs.lines(killed_and_resumed, "evaluations"):
        seen.setdefault((line["arm"], line["view"]), set()).add(line["uid"])
    students = {arm: uids for (arm, view), uids in seen.items() if view == "student"}
    assert set(students) == {"baseline", "online", "offline"}
    assert len({frozenset(uids) for uids in students.values()}) == 1
    assert len(students["online"]) == 14


def test_the_report_is_written(killed_and_resumed):
    report = json.loads((killed_and_resumed / "report.json").read_text())
    assert {"pass_rate", "ci95", "n"} <= report["baseline"].keys()
    assert [arm["name"] for arm in report["arms"]] == ["online", "offline"]
    wanted = {"pass_rate", "ci95", "n", "delta_pp", "delta_ci95", "seeds", "steps", "seconds"}
    assert all(wanted <= arm.keys() for arm in report["arms"])
    assert (killed_and_resumed / "report.html").stat().st_size > 10_000
    assert (killed_and_resumed / "report.md").exists()


def test_a_moving_teacher_went_on_from_its_checkpoint(killed_and_resumed):
    def model(actor: Path) -> dict[str, torch.Tensor]:
        saved = torch.load(actor / "model_world_size_1_rank_0.pt", weights_only=False)
        return {n: t.to_local() if hasattr(t, "to_local") else t for n, t in saved.items()}

    def near(left: torch.Tensor, right: torch.Tensor) -> bool:
        return torch.allclose(left, right, rtol=1e-6, atol=1e-7)

    file = moving_teacher(killed_and_resumed, STEPS)
    before = torch.load(killed_and_resumed / "teacher_before.pt", weights_only=True)
    after, student = torch.load(file, weights_only=True), model(file.parent)
    first = model(killed_and_resumed / "checkpoints" / "warmup1" / "global_step_2" / "actor")
    began_anew = 0
    for name, weights in after.items():
        assert near(weights, 0.5 * before[name] + 0.5 * student[name]), name
        began_anew += near(weights, 0.5 * first[name] + 0.5 * student[name])
    # A teacher that was not restored would stand elsewhere.
    assert began_anew < len(after) / 10


def test_the_student_moves(killed_and_resumed):
    rows = [x for x in runs.lines(killed_and_resumed, "metrics") if x["arm"] == "online"]
    divergence = [x["metrics"]["distill/kl"] for x in rows if x["phase"] == "train"]
    assert len(divergence) >= STEPS
    assert all(d > 0 for d in divergence)
    assert all(x["metrics"]["grad_norm"] > 0 for x in rows if x["phase"] == "train")


def test_every_stage_starts_where_the_one_before_it_ended(killed_and_resumed):
    for stage in ("warmup1", "baseline"):
        done = json.loads((killed_and_resumed / "stages" / f"{stage}.json").read_text())
        assert done["weights"] == "checkpoints/warmup1/global_step_2/actor"


def test_a_checkpoint_becomes_a_folder_that_transformers_reads(killed_and_resumed, tmp_path):
    """With verl's merger, and in a program that knows nothing of this package."""
    checkpoint = (
        killed_and_resumed / "checkpoints" / "online-seed0" / f"global_step_{STEPS}" / "actor"
    )
    merge = ["-m", "verl.model_merger", "merge", "--backend", "fsdp"]
    merge += ["--local_dir", str(checkpoint), "--target_dir", str(tmp_path)]
    load = (
        "import sys, transformers\ntransformers.AutoModelForCausalLM.from_pretrained(sys.argv[1])"
    )
    for arguments in (merge, ["-c", load, str(tmp_path)]):
        done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-2000:]


def test_a_finished_run_is_not_overwritten(killed_and_resumed):
    folder = killed_and_resumed.parents[2]
    process = runs.start(folder, *KILLED)
    assert process.wait(timeout=120) == 2
    assert "holds a finished run" in (folder / "stdout.txt").read_text()


def test_two_ranks_and_a_teacher_without_anything_to_teach(tmp_path):
    """FSDP2 over two gloo ranks, one rollout replica each, with LoRA.

    A teacher that sees the student's prompts has no gradient to give: one step shows it. Its
    weights are the student's with the adapter off, and the adapter has not moved yet.
    """
    model = runs.tiny_model(tmp_path / "model")
    process = runs.start(
        tmp_path,
        "ranks=2",
        "model.lora_rank=4",
        f"model.path={model}",
        "arms=[online,no_pi]",
        "steps=2",
        "warmup.enabled=false",
    )
    run = runs.finish(process, tmp_path, LIMIT)
    assert runs.steps_of(run, "online") == [1, 2]
    checkpoint = run / "checkpoints" / "online-seed0" / "global_step_2" / "actor"
    assert len(list(checkpoint.glob("model_*"))) == 2
    adapter = json.loads((checkpoint / "lora_train_meta.json").read_text())
    assert adapter["r"] == 4
    assert runs.steps_of(run, "no_pi") == [1]
    warnings = [e["message"] for e in runs.lines(run, "events") if e["arm"] == "no_pi"]
    assert len(warnings) == 1 and "every gradient is exactly zero" in warnings[0]
    evaluated = {e["step"] for e in runs.lines(run, "evaluations") if e["arm"] == "no_pi"}
    assert evaluated == {2}
