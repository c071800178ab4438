"""Stages as plain data, and the plans that are refused before anything starts."""

from __future__ import annotations

import json
import pickle
from typing import Any

import pytest

from algorithms.runtime.stages import InvalidPlan, Sampling, Stage, check_plan, stage_from_dict


def stage(name: str = "one", **settings: Any) -> Stage:
    values: dict[str, Any] = {
        "arm": "online",
        "seed": 0,
        "phase": "train",
        "algorithm": "opsd",
        "data": "train.parquet",
        "steps": 2,
    }
    return Stage(name=name, **{**values, **settings})


def test_a_stage_survives_json():
    original = stage(
        algorithm_settings={"distill_weight": 0.5},
        sampling=Sampling(view="teacher", source="stored", template={"position": "system"}, n=4),
        evaluate={"student": None, "teacher": 64},
        teacher="frozen",
        teacher_from="base",
    )
    assert stage_from_dict(json.loads(json.dumps(original.as_dict()))) == original


def test_defaults_fill_what_a_dict_leaves_out():
    values = {"name": "x", "arm": "a", "seed": 1, "phase": "evaluate", "algorithm": "sft"}
    assert stage_from_dict(values) == Stage("x", "a", 1, "evaluate", "sft")


@pytest.mark.parametrize("values", [{"stpes": 3}, {"sampling": {"temprature": 1.0}}])
def test_unknown_keys_are_refused(values):
    with pytest.raises(TypeError, match=r"stpes|temprature"):
        stage_from_dict({**stage().as_dict(), **values})


def test_stage_from_dict_leaves_its_argument_alone():
    values = stage().as_dict()
    before = json.dumps(values)
    stage_from_dict(values)
    assert json.dumps(values) == before


def test_a_whole_plan_passes():
    check_plan(
        [
            stage("warmup"),
            stage("baseline", phase="evaluate", steps=0, data="", start_from="warmup"),
            stage("collect", phase="collect", start_from="warmup", store="stored.parquet"),
            stage("online", start_from="warmup", teacher="frozen", teacher_from="base"),
            stage("offline", data="stored.parquet", sampling=Sampling(source="stored")),
        ]
    )
    check_plan([])


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ([stage("a"), stage("a")], "two stages are named 'a'"),
        ([stage("base")], "two stages are named 'base'"),
        ([stage("a", start_from="b"), stage("b")], r"start_from='b' is no earlier stage.*base"),
        ([stage("a", start_from="a")], "start_from='a' is no earlier stage"),
        ([stage("a", teacher_from="gone")], "teacher_from='gone' is no earlier stage"),
        ([stage("a", data="")], "trains 2 steps on no data: set data="),
        ([stage("a", steps=-1)], "steps >= 0"),
        ([stage("a", batch_size=0)], "batch_size >= 1"),
        ([stage("a", sampling=Sampling(n=0))], "n >= 1"),
        ([stage("a", sampling=Sampling(source="stored"))], "which no earlier stage stores"),
        (
            [
                stage("use", data="s", sampling=Sampling(source="stored")),
                stage("collect", store="s"),
            ],
            "'use' replays 's', which no earlier stage stores",
        ),
    ],
)
def test_plans_that_would_fail_half_way_are_refused(stages, message):
    with pytest.raises(InvalidPlan, match=message) as error:
        check_plan(stages)
    assert isinstance(error.value, ValueError)
    assert str(pickle.loads(pickle.dumps(error.value))) == str(error.value)
