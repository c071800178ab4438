"""The alarms: each sounds on what it is for, none on a healthy run."""

from __future__ import annotations

import pickle
import random

import pytest

from algorithms.health import HealthMonitor, StageCollapsed, path_diversity


def observe(monitor: HealthMonitor, outputs: list[str], batch: int = 16) -> str | None:
    """Feed outputs of as many different tasks, step by step; the first alarm."""
    for start in range(0, len(outputs), batch):
        part = outputs[start : start + batch]
        prompts = [f"task {start + i}" for i in range(len(part))]
        metrics = monitor.observe_outputs(prompts, part)
        alarm = monitor.check({**metrics, "grad_norm": 1.0, "entropy": 0.4})
        if alarm:
            return alarm
    return None


@pytest.mark.parametrize("seed", range(5))
def test_the_collapsed_run_of_300_samples_with_14_distinct_outputs_is_caught(seed):
    """Even where the 14 are equally frequent: the hardest case to see in a window of 64."""
    outputs = [f"exact exact exact {i}" for i in range(14)] * 21 + [f"exact {i}" for i in range(6)]
    random.Random(seed).shuffle(outputs)
    alarm = observe(HealthMonitor(), outputs)
    assert alarm is not None
    assert "distinct outputs" in alarm and "teacher=frozen" in alarm


def test_a_run_that_collapses_on_the_way_is_caught_once_the_window_has_turned():
    monitor = HealthMonitor()
    assert observe(monitor, [f"proof {i}" for i in range(128)]) is None
    assert observe(monitor, ["exact exact"] * 32) is None  # half the window
    assert observe(monitor, ["exact exact"] * 32) is not None


@pytest.mark.parametrize("share", [1.0, 0.6, 0.35])
def test_different_answers_to_different_tasks_are_healthy(share):
    count = 640
    outputs = [f"proof {random.Random(i).randrange(int(count * share))}" for i in range(count)]
    assert observe(HealthMonitor(), outputs) is None


def test_few_tasks_asked_often_are_no_collapse():
    """Eight tasks solved the same way every time: few outputs, but as many as there are tasks."""
    monitor = HealthMonitor()
    for _ in range(10):
        tasks = [f"task {i}" for i in range(8)] * 4
        monitor.observe_outputs(tasks, [f"proof of {task}" for task in tasks])
        assert monitor.check({"grad_norm": 1.0}) is None


def test_before_the_window_is_full_nothing_is_said():
    monitor = HealthMonitor(window=64)
    metrics = monitor.observe_outputs([f"t{i}" for i in range(63)], ["same"] * 63)
    assert monitor.check({}) is None
    assert metrics == {
        "health/distinct_outputs": 1,
        "health/distinct_outputs_share": pytest.approx(1 / 63),
        "health/window": 63,
    }
    monitor.observe_outputs(["t63"], ["same"])
    assert monitor.check({}) is not None


def test_an_empty_batch_changes_nothing():
    assert HealthMonitor().observe_outputs([], []) == {}


def test_prompts_and_outputs_must_correspond():
    with pytest.raises(ValueError):
        HealthMonitor().observe_outputs(["a"], ["x", "y"])


@pytest.mark.parametrize("norm", [float("nan"), float("inf")])
def test_an_overflow_is_caught_at_its_first_step(norm):
    alarm = HealthMonitor().check({"grad_norm": norm})
    assert alarm is not None and "gradient norm" in alarm and "learning rate" in alarm


def test_falling_entropy_is_caught():
    monitor = HealthMonitor()
    alarms = [monitor.check({"grad_norm": 1.0, "entropy": e}) for e in (0.5, 0.1, 0.02, 0.004)]
    assert alarms[:3] == [None, None, None]
    assert alarms[3] is not None
    assert "0.500 to 0.0040" in alarms[3]


def test_a_student_that_was_certain_from_the_start_is_no_alarm():
    monitor = HealthMonitor()
    assert [monitor.check({"entropy": 0.004}) for _ in range(20)] == [None] * 20


def test_metrics_that_are_missing_or_not_finite_are_no_entropy():
    monitor = HealthMonitor()
    assert monitor.check({}) is None
    assert monitor.check({"entropy": float("nan"), "grad_norm": 0.0}) is None
    assert monitor.first_entropy is None


def test_the_error_travels_between_processes():
    error = pickle.loads(pickle.dumps(StageCollapsed("use teacher=frozen")))
    assert isinstance(error, StageCollapsed) and isinstance(error, RuntimeError)
    assert str(error) == error.message == "use teacher=frozen"


@pytest.mark.parametrize("name", ["teacher/distill/kl", "reward/token_kl"])
def test_at_alpha_one_a_kl_that_falls_to_nothing_is_an_alarm(name):
    monitor = HealthMonitor()
    alone = {"pi_distill/alpha": 1.0, "grad_norm": 1.0}
    assert monitor.check({**alone, name: 0.5}) is None
    assert monitor.check({**alone, name: 0.05}) is None
    alarm = monitor.check({**alone, name: 0.004})
    assert alarm is not None and "privileged information" in alarm and "alpha below 1" in alarm


def test_where_the_student_is_trained_too_a_small_kl_is_what_is_wanted():
    monitor = HealthMonitor()
    for kl in (0.5, 0.0001):
        assert monitor.check({"pi_distill/alpha": 0.5, "teacher/distill/kl": kl}) is None
        assert monitor.check({"distill/kl": kl}) is None


def test_the_teachers_entropy_counts_where_the_student_is_not_trained():
    monitor = HealthMonitor()
    assert monitor.check({"teacher/entropy": 0.8}) is None
    assert "entropy fell" in (monitor.check({"teacher/entropy": 0.001}) or "")


def test_path_diversity_of_equal_and_of_unlike_solutions():
    assert path_diversity([["by omega", "by  omega\n"]]) == 0.0
    assert path_diversity([["simp", "omega"]]) == 1.0
    # (start, rw), (rw, h), (h, end) and (start, rw), (rw, g), (g, end): one of five is shared
    assert path_diversity([["rw h", "rw g"]]) == pytest.approx(0.8)


def test_path_diversity_averages_over_tasks_with_two_solutions():
    groups = [["simp", "omega", "simp"], ["simp", "simp"], ["alone"], []]
    assert path_diversity(groups) == pytest.approx(((1 + 0 + 1) / 3 + 0) / 2)
    assert path_diversity([["alone"], []]) is None
