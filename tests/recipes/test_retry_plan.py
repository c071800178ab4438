"""From a retry recipe's configuration to its stages."""

from __future__ import annotations

from typing import Any

import pytest

from algorithms import registry
from algorithms.runtime.stages import InvalidPlan, check_plan, stage_from_dict
from recipes.config import ConfigError, load
from recipes.plan import build_plan

FILES = {"train": "data/train", "train_gold": "gold", "eval": "eval", "warmup_0": "w0"}
FILES["collected"] = "data/collected-{}.parquet"
RECIPES = ("retry_math", "retry_code", "retry_lean", "mechanism")


def config_of(*overrides: str, recipe: str = "retry_math") -> Any:
    return load(
        recipe,
        [
            "profile=cpu",
            "warmup.phases=[{steps: 1, learning_rate: 1.0e-4, mix: plain}]",
            *overrides,
        ],
    )


def stages_of(*overrides: str, recipe: str = "retry_math") -> dict[str, Any]:
    plan = build_plan(config_of(*overrides, recipe=recipe), FILES, True, 256)
    check_plan(plan.stages)
    for stage in plan.stages:
        registry.build(stage.algorithm, **stage.algorithm_settings)
        assert stage_from_dict(stage.as_dict()) == stage
    return {stage.name: stage for stage in plan.stages}


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_has_a_plan_that_can_run(recipe):
    assert "retry_bare-seed0" in stages_of(recipe=recipe)


def test_a_round_collects_from_the_weights_of_the_one_before():
    stages = stages_of("arms=[retry_bare]")
    assert list(stages) == [
        "warmup1", "baseline", "retry_bare-seed0-round1-collect", "retry_bare-seed0-round1",
        "retry_bare-seed0-round2-collect", "retry_bare-seed0",
    ]  # fmt: skip
    starts = [stage.start_from for stage in list(stages.values())[2:]]
    assert starts == ["warmup1", "warmup1", "retry_bare-seed0-round1", "retry_bare-seed0-round1"]
    last = stages["retry_bare-seed0"]
    assert last.data == "data/collected-retry_bare-seed0-round2.parquet"
    assert last.counts_on == "retry_bare-seed0-round1"


def test_a_round_collects_all_rows_at_once_and_trains_in_batches():
    stages = stages_of("arms=[retry_bare]", "steps=7", "batch_size=4")
    collect, train = stages["retry_bare-seed0-round1-collect"], stages["retry_bare-seed0-round1"]
    assert (collect.steps, collect.batch_size, train.steps, train.batch_size) == (1, 256, 7, 4)
    assert train.sampling.source == "stored" and train.algorithm == "sft"


def test_rounds_can_train_the_first_weights_on_all_that_was_kept():
    stages = stages_of("arms=[retry_bare]", "retry.start_from=base", "retry.data=all_rounds")
    assert stages["retry_bare-seed0"].start_from == "warmup1"
    second = stages["retry_bare-seed0-round2-collect"]
    assert second.start_from == "retry_bare-seed0-round1"
    assert second.also == ("data/collected-retry_bare-seed0-round1-attempts.parquet",)


def test_answers_are_kept_by_the_weights_that_gave_them_so_that_arms_share_them():
    stages = stages_of("arms=[retry_bare,retry_gold]")
    folders = {
        name: stage.sampling.journal["folder"]
        for name, stage in stages.items()
        if stage.sampling.journal
    }
    assert folders["retry_bare-seed0-round1-collect"] == "data/generations/warmup1"
    assert folders["retry_gold-seed0-round1-collect"] == "data/generations/warmup1"
    assert folders["retry_gold-seed0-round2-collect"] == "data/generations/retry_gold-seed0-round1"


def test_every_round_draws_its_own_answers():
    stages = stages_of("arms=[retry_bare]")
    ladders = [stage.sampling.ladder for stage in stages.values() if stage.sampling.ladder]
    assert [ladder["round"] for ladder in ladders] == [1, 2]


def test_a_control_is_given_the_tokens_of_the_same_round():
    stages = stages_of("arms=[retry_bare,double_sample,uniform]", "seeds=[3]")
    for arm, allocation in (("double_sample", "per_task"), ("uniform", "uniform")):
        for number in (1, 2):
            stage = stages[f"{arm}-seed3-round{number}-collect"]
            reference = f"data/collected-retry_bare-seed3-round{number}.parquet"
            assert stage.budget == {"of": reference, "allocation": allocation}
            assert stage.sampling.ladder["scheme"] == "independent"
            assert not stage.sampling.ladder["early_stop"]


def test_the_frontier_is_found_by_a_probe_whose_attempts_count():
    stages = stages_of("arms=[retry_bare,frontier_rejection]", "retry.rounds=1", "retry.probe=3")
    probe = stages["frontier_rejection-seed0-round1-probe-collect"]
    rest = stages["frontier_rejection-seed0-round1-collect"]
    assert (probe.budget["allocation"], probe.sampling.ladder["samples"]) == ("uniform", 3)
    assert rest.sampling.ladder["after"] == 3
    assert rest.budget["probe"] == probe.store
    assert rest.also == ("data/collected-frontier_rejection-seed0-round1-probe-attempts.parquet",)


def test_rejection_learns_from_first_passes_and_the_longer_one_twice_as_long():
    stages = stages_of("arms=[rejection,compute_matched]", "retry.rounds=1", "steps=5")
    assert stages["rejection-seed0-round1-collect"].keep["train_on"] == "first"
    assert [stages[f"{a}-seed0"].steps for a in ("rejection", "compute_matched")] == [5, 10]


def test_the_online_arm_climbs_in_every_step():
    stage = stages_of("arms=[retry_online]", "retry.k=2")["retry_online-seed0"]
    assert (stage.sampling.source, stage.algorithm) == ("ladder", "retry_sft")
    assert stage.sampling.ladder["retries"] == 2 and stage.sampling.journal is None
    assert stage.algorithm_settings["train_on"] == "first_and_retries"


def test_an_arm_after_a_retry_arm_starts_from_its_last_round():
    stages = stages_of("arms=[retry_bare,sd_zero_opsd]")
    assert stages["sd_zero_opsd-seed0"].start_from == "retry_bare-seed0"
    assert stages["sd_zero_opsd-seed0"].sampling.pi_kind == "environment_feedback"


def test_partial_credit_is_a_lower_threshold():
    stages = stages_of("arms=[retry_bare,retry_graded]", "retry.threshold=0.4")
    kept = [stages[f"{a}-seed0-round1-collect"].keep for a in ("retry_bare", "retry_graded")]
    assert [keep["threshold"] for keep in kept] == [1.0, 0.4]


def test_schedule_and_warm_up_of_the_learning_rate_go_to_the_optimiser():
    stages = stages_of("arms=[retry_bare]", "retry.schedule=cosine", "learning_rate=3.0e-5",
                       "retry.learning_rate_warmup_steps=2")  # fmt: skip
    assert stages["retry_bare-seed0"].optimiser == {
        "lr": 3e-5, "lr_scheduler_type": "cosine", "lr_warmup_steps": 2
    }  # fmt: skip


def test_passes_over_the_data_are_as_many_times_longer_for_the_longer_control():
    stages = stages_of("arms=[rejection,compute_matched]", "retry.rounds=1", "retry.epochs=1.5")
    assert [stages[f"{a}-seed0"].data_epochs for a in ("rejection", "compute_matched")] == [1.5, 3]


def test_a_control_cannot_have_more_rounds_than_its_reference():
    definition = "+arm_definitions.x={source: rounds, retry: {rounds: 1}}"
    control = "+arm_definitions.y={source: rounds, retry: {scheme: independent, budget_of: x}}"
    with pytest.raises(InvalidPlan, match="as many rounds"):
        stages_of("arms=[x,y]", definition, control)


def test_only_the_student_is_evaluated():
    stages = stages_of("arms=[retry_bare]")
    assert stages["baseline"].evaluate == stages["retry_bare-seed0"].evaluate == {"student": None}


def test_another_model_answers_where_an_endpoint_is_named():
    endpoint = "{url: 'http://host:8000/v1', model: big/one}"
    stages = stages_of(
        "arms=[retry_bare,cross_model]", f"arm_definitions.cross_model.retry.endpoint={endpoint}"
    )
    assert stages["retry_bare-seed0-round1-collect"].sampling.endpoint is None
    stage = stages["cross_model-seed0-round1-collect"]
    assert stage.sampling.endpoint == {"url": "http://host:8000/v1", "model": "big/one"}
    assert stage.sampling.journal["folder"] == "data/generations/big--one"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["retry.rounds=3"], r"retry.force=true"),
        (["arms=[double_sample]"], r"may generate what 'retry_bare' did.*arms=\[...,retry_bare"),
        (["retry.allocation=uniform"], r"name it in retry.budget_of"),
        (["arms=[retry_bare]", "retry.budget_of=x"], r"retry.scheme=independent"),
        (["retry.k=-1"], r"retry.k is 0 or more"),
        (["retry.scheme=both"], r"retry.scheme is one of retry, independent"),
        (["retry.must_match='('"], r"no regular expression"),
        (["retry.pi_prompt=again"], r"\{pi\} exactly once"),
        (["retry.endpoint={url: x}"], r"in every arm's place"),
        (["arms=[cross_model]"], r"which model answers\? \+arm_definitions.cross_model.retry"),
        (["+retry.endpiont=1"], r"retry.endpiont is not a setting"),
        (["retry.band=[0.5,0.3]"], r"retry.band is \[least, most\]"),
        (["retry.band=[30,50]"], r"retry.band is \[least, most\]"),
        (["+arm_definitions.x={source: rounds, settings: {k: 1}}", "arms=[x]"], r"write retry: "),
        (["+arm_definitions.x={source: rounds, retry: {turn_tokens: 1}}", "arms=[x]"],
         r"retry.turn_tokens is of the whole run"),
        (["arms=[retry_bare,frontier_rejection,x]", "+arm_definitions.x={source: rounds, "
          "retry: {scheme: independent, budget_of: frontier_rejection}}"], r"probes nothing"),
        (["arms=[retry_online,x]", "+arm_definitions.x={source: rounds, "
          "retry: {scheme: independent, budget_of: retry_online}}"], r"not one collection a round"),
        (["+arm_definitions.retry_online.retry={scheme: independent, early_stop: false}",
          "arms=[retry_online]"], r"would be thrown away"),
        (["+arm_definitions.x={source: rounds, retry: {kk: 1}}", "arms=[x]"], r"retry.kk is not"),
        (["+arm_definitions.x={source: rounds, algorithm: opsd}", "arms=[x]"], r"by retry_sft"),
        (["+arm_definitions.x={source: online, retry: {k: 1}}", "arms=[x]"], r"for source rounds"),
        (["+arm_definitions.x={source: rounds, role: hero}", "arms=[x]"], r"role is one of"),
    ],
)  # fmt: skip
def test_what_cannot_run_is_refused_by_name(overrides, message):
    with pytest.raises(ConfigError, match=message):
        stages_of(*overrides)


def test_a_third_round_runs_if_forced():
    assert "retry_bare-seed0-round3-collect" in stages_of(
        "arms=[retry_bare]", "retry.rounds=3", "retry.force=true"
    )


def test_retrying_in_a_recipe_that_knows_nothing_of_it_is_refused():
    definition = "+arm_definitions.x={source: rounds}"
    config = load("opsd_skeleton", ["profile=cpu", definition, "arms=[x]"])
    with pytest.raises(ConfigError, match=r"no group retry: use recipes\.retry_math"):
        build_plan(config, FILES, False, 16)
