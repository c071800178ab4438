"""The interface between sampling, algorithms and training."""

from __future__ import annotations

import dataclasses

import pytest

from algorithms import registry
from algorithms.base import Algorithm, LossSettings, RowReport, TrainingRow, Trajectory


def test_a_training_row_has_no_weight_unless_it_is_given():
    row = TrainingRow(trajectory=3)
    assert (row.policy_gradient, row.distill, row.nll, row.advantage) == (0.0, 0.0, 0.0, 0.0)
    assert row.view == "student" and not row.trains


@pytest.mark.parametrize("record", [Trajectory("g", 1), TrainingRow(0), LossSettings()])
def test_records_cannot_be_changed(record):
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(record, dataclasses.fields(record)[0].name, "other")


def test_reports_do_not_share_their_lists():
    one, other = RowReport(), RowReport()
    one.dropped.append((0, "reason"))
    one.metrics["share"] = 1.0
    assert other.dropped == [] and other.metrics == {}


def test_the_clip_is_the_papers_and_the_divergence_reverse_kl():
    settings = LossSettings()
    assert (1 - settings.clip_low, 1 + settings.clip_high) == (0.8, 1.2)
    assert settings.divergence == "reverse_kl"


@pytest.mark.parametrize("name", registry.names())
def test_every_registered_algorithm_has_the_interface(name):
    algorithm = registry.build(name)
    assert isinstance(algorithm, Algorithm)
    assert isinstance(algorithm.loss_settings(), LossSettings)
    assert algorithm.sampling_view in ("student", "teacher")
    rows, report = algorithm.rows([])
    assert rows == [] and report.dropped == []


@pytest.mark.parametrize("weight", [-1.0, float("nan"), float("inf")])
def test_a_weight_that_is_none_is_refused(weight):
    with pytest.raises(ValueError, match="a row's nll weight is"):
        TrainingRow(0, nll=weight)
