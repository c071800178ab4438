"""From a configuration to stages."""

from __future__ import annotations

from typing import Any

import pytest

from algorithms import registry
from algorithms.runtime.stages import check_plan, stage_from_dict
from recipes.arms import arms_of
from recipes.config import ConfigError, load
from recipes.plan import Plan, build_plan

# What the tests count on, whatever the defaults are tuned to.
PINNED = (
    "arms=[online,offline,no_pi,gibberish,wrong_skeleton,sft_gold]",
    "steps=20",
    "batch_size=16",
    "teacher=frozen",
    "warmup.phases=[{steps: 70, learning_rate: 5.0e-5, mix: format}, "
    "{steps: 16, learning_rate: 3.0e-5, mix: bare}]",
)


def config_of(*overrides: str) -> Any:
    return load("opsd_skeleton", ["profile=cpu", *PINNED, *overrides])


def plan_of(*overrides: str, warm_up: bool = True) -> Plan:
    config = config_of(*overrides)
    files = {
        "train": "train",
        "train_gold": "train_gold",
        "eval": "eval",
        "warmup_0": "w0",
        "warmup_1": "w1",
    }
    files["collected"] = "collected-{}"
    return build_plan(config, files, warm_up)


def stages_of(plan: Plan) -> dict[str, Any]:
    return {stage.name: stage for stage in plan.stages}


def test_the_default_plan_can_run():
    plan = plan_of()
    check_plan(plan.stages)
    for stage in plan.stages:
        registry.build(stage.algorithm, **stage.algorithm_settings)
        assert stage_from_dict(stage.as_dict()) == stage
    assert [stage.name for stage in plan.stages] == [
        "warmup1", "warmup2", "baseline", "online-seed0", "collect-seed0", "offline-seed0",
        "no_pi-seed0", "gibberish-seed0", "wrong_skeleton-seed0", "sft_gold-seed0",
    ]  # fmt: skip
    assert (plan.steps, plan.warmup_steps) == (20, 86)


def test_every_arm_of_every_seed_starts_from_the_same_weights():
    stages = plan_of("seeds=[0,1]").stages
    assert {s.start_from for s in stages if s.phase in ("train", "evaluate", "collect")} == {
        "warmup2"
    }
    assert {s.start_from for s in plan_of(warm_up=False).stages} == {"base"}
    assert "warmup1" not in stages_of(plan_of(warm_up=False))


def test_online_and_offline_have_the_same_budget():
    stages = stages_of(plan_of("arms=[online,offline]", "samples_per_prompt=4"))
    online, collect, offline = (
        stages[f"{name}-seed0"] for name in ("online", "collect", "offline")
    )
    assert online.steps == collect.steps == offline.steps == 20
    # The same prompts, in the same order: the collection is drawn as the online arm draws.
    for key in ("data", "seed", "shuffle", "batch_size", "steps"):
        assert getattr(online, key) == getattr(collect, key)
    assert online.sampling.n == collect.sampling.n == 4
    # Each stored response is a row: sixteen prompts of four are a batch of 64, in stored order.
    assert (offline.batch_size, offline.sampling.n, offline.shuffle) == (64, 1, False)
    assert offline.batch_size == online.batch_size * online.sampling.n
    # So are given responses: a step of the warm-up and of SFT is as large as one of an arm.
    given = stages_of(plan_of("arms=[sft_gold]", "samples_per_prompt=4"))
    assert {s.batch_size for s in given.values() if s.sampling.source == "given"} == {64}
    assert collect.store == offline.data == "collected-seed0"
    assert (online.sampling.source, offline.sampling.source) == ("rollout", "stored")
    assert online.algorithm_settings == offline.algorithm_settings
    assert online.optimiser == offline.optimiser
    assert not collect.evaluate


def test_offline_arms_of_one_seed_share_their_collection():
    names = [s.name for s in plan_of("arms=[offline,offline_live]", "seeds=[0,1]").stages]
    assert names.count("collect-seed0") == names.count("collect-seed1") == 1
    assert names.index("collect-seed1") < names.index("offline-seed1")


def test_offline_samples_may_come_from_the_teacher():
    stages = stages_of(plan_of("arms=[offline]", "offline.sample_from=teacher"))
    assert stages["collect-seed0"].sampling.view == "teacher"
    assert stages["offline-seed0"].sampling.view == "student"


def test_the_settings_reach_the_stages():
    stage = stages_of(
        plan_of(
            "arms=[online]", "steps=7", "batch_size=5", "learning_rate=2.0e-6", "seeds=[3]",
            "divergence=jsd", "distill_weight=0.5", "reward_weight=0.25", "samples_per_prompt=2",
            "sampling.temperature=0.8", "sampling.top_p=0.9", "privileged.position=user_suffix",
            "privileged.template='Hint: {pi}'", "max_prompt_tokens=200", "evaluation.every=2",
        )
    )["online-seed3"]  # fmt: skip
    assert (stage.steps, stage.batch_size, stage.seed, stage.evaluate_every) == (7, 5, 3, 2)
    assert stage.optimiser == {"lr": 2.0e-6}
    assert stage.algorithm_settings == {
        "divergence": "jsd", "distill_weight": 0.5, "reward_weight": 0.25,
    }  # fmt: skip
    sampling = stage.sampling
    assert (sampling.n, sampling.temperature, sampling.top_p) == (2, 0.8, 0.9)
    assert sampling.max_prompt_tokens == 200
    assert sampling.template == {"position": "user_suffix", "template": "Hint: {pi}"}


def test_each_control_shows_the_teacher_its_own_kind():
    stages = stages_of(plan_of())
    kinds = {name: stage.sampling.pi_kind for name, stage in stages.items()}
    assert kinds["online-seed0"] == kinds["offline-seed0"] == "skeleton"
    assert kinds["no_pi-seed0"] == "none"
    assert kinds["gibberish-seed0"] == "gibberish"
    assert kinds["wrong_skeleton-seed0"] == "wrong_skeleton"
    gold = stages["sft_gold-seed0"]
    assert (gold.algorithm, gold.teacher, gold.sampling.source) == ("sft", "none", "given")


def test_the_teacher_is_the_recipes_or_the_arms():
    for teacher in ("frozen", "live"):
        stages = stages_of(plan_of("arms=[online,online_live]", f"teacher={teacher}"))
        assert stages["online-seed0"].teacher == teacher
        assert stages["online_live-seed0"].teacher == "live"


@pytest.mark.parametrize(
    ("rows", "after"), [(64, {"student": None, "teacher": 64}), (0, {"student": None})]
)
def test_what_is_evaluated_after_training(rows, after):
    stages = stages_of(plan_of("arms=[online]", f"evaluation.teacher_rows={rows}"))
    assert stages["online-seed0"].evaluate == after
    assert stages["baseline"].evaluate == {"student": None, "teacher": None}


def test_an_arm_may_name_its_algorithm_and_its_settings():
    definition = "{source: online, algorithm: opsd, teacher: none, settings: {jsd_weight: 0.3}}"
    plan = plan_of(f"+arm_definitions.mine={definition}", "arms=[mine]", "distill_weight=0.5")
    stage = stages_of(plan)["mine-seed0"]
    assert stage.algorithm_settings["jsd_weight"] == 0.3
    assert stage.algorithm_settings["distill_weight"] == 0.5
    assert stage.teacher == "none"
    assert plan.arms[0].description == "mine"


def test_another_algorithm_gets_its_own_settings_and_view(monkeypatch):
    monkeypatch.setattr(registry, "_TARGETS", {**registry._TARGETS, "x": "algorithms.sft:SFT"})
    definition = "{source: online, algorithm: x, settings: {view: teacher}}"
    plan = plan_of(f"+arm_definitions.mine={definition}", "arms=[mine]")
    stage = stages_of(plan)["mine-seed0"]
    assert (stage.algorithm, stage.algorithm_settings) == ("x", {"view": "teacher"})
    assert stage.sampling.view == "teacher"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["arms=[onlin]"], r"no arm 'onlin'; known: online, offline.*\+arm_definitions.onlin="),
        (["+arm_definitions.x={pi: own}"], "source is one of online, offline, given"),
        (["+arm_definitions.x={source: on}"], "source is one of .*got 'on' and 'own'"),
        (["+arm_definitions.x={source: online, pi: [own]}"], "pi the name of a kind"),
        (["+arm_definitions.x={source: online, teacher: no}"], "teacher is one of frozen, live"),
        (["+arm_definitions.x={sorce: online}"], "no setting sorce; there are description, source"),
        (["+arm_definitions.x=online"], "arm 'x': its definition is a group of description"),
    ],
)
def test_arms_that_are_off_are_refused(overrides, message):
    arms = [] if overrides[0].startswith("arms") else ["arms=[x]"]
    with pytest.raises(ConfigError, match=message):
        arms_of(config_of(*overrides, *arms))


def test_the_recipes_algorithm_is_that_of_all_arms_that_name_none():
    plan = plan_of("arms=[online,sft_gold]", "algorithm=pi_distill", "algorithm_settings.alpha=0.3")
    stages = stages_of(plan)
    online = stages["online-seed0"]
    assert (online.algorithm, online.algorithm_settings) == ("pi_distill", {"alpha": 0.3})
    assert (online.sampling.view, online.teacher) == ("teacher", "live")
    assert stages["sft_gold-seed0"].algorithm == "sft"


def test_a_teacher_that_moves_gets_its_settings():
    plan = plan_of("arms=[online]", "teacher=ema", "teacher_settings.ema_decay=0.5")
    stage = stages_of(plan)["online-seed0"]
    assert (stage.teacher, stage.teacher_settings["ema_decay"]) == ("ema", 0.5)


def test_several_gradient_steps_a_sampling():
    plan = plan_of("arms=[online,offline]", "mini_batches=2", "epochs=3")
    stages = stages_of(plan)
    assert (stages["online-seed0"].mini_batches, stages["online-seed0"].epochs) == (2, 3)
    assert stages["collect-seed0"].mini_batches == stages["collect-seed0"].epochs == 1
    check_plan(plan.stages)


def test_an_arm_may_start_where_another_ends():
    definition = "{source: online, algorithm: grpo, after: sft_gold}"
    arms = ["arms=[sft_gold,rl]", f"+arm_definitions.rl={definition}"]
    stages = stages_of(plan_of(*arms, "seeds=[0,1]"))
    assert stages["rl-seed1"].start_from == "sft_gold-seed1"
    with pytest.raises(ConfigError, match="no earlier arm of this run"):
        plan_of("arms=[rl,sft_gold]", arms[1])


def test_what_the_teacher_learns_from_the_group_is_not_there_before():
    kind = "privileged.kind=sibling_success"
    stages = stages_of(plan_of("arms=[online]", kind))
    assert stages["baseline"].evaluate == stages["online-seed0"].evaluate == {"student": None}
    with pytest.raises(ConfigError, match="only after the student has answered"):
        plan_of("arms=[online]", kind, "algorithm=pi_distill")


def test_pi_distill_has_no_teacher_but_the_current_weights():
    definition = "{source: online, algorithm: pi_distill, teacher: frozen}"
    with pytest.raises(ConfigError, match="trains its teacher"):
        plan_of("arms=[x]", f"+arm_definitions.x={definition}")


def test_stored_responses_are_of_the_view_that_the_formula_wants():
    assert plan_of("arms=[offline]", "offline.sample_from=teacher").stages
    for settings in (
        ["algorithm=pi_distill"],
        ["algorithm_settings.kl_placement=reward", "offline.sample_from=teacher"],
        ["divergence=k2", "offline.sample_from=teacher"],
    ):
        with pytest.raises(ConfigError, match=r"offline\.sample_from="):
            plan_of("arms=[offline]", *settings)
    plan_of("arms=[offline]", "algorithm=pi_distill", "offline.sample_from=teacher")


def test_offline_arms_of_other_weights_collect_for_themselves():
    definition = "{source: offline, after: sft_gold}"
    stages = stages_of(
        plan_of("arms=[sft_gold,later,offline]", f"+arm_definitions.later={definition}")
    )
    first, second = stages["later-seed0"], stages["offline-seed0"]
    assert first.data != second.data
    collections = {s.store: s.start_from for s in stages.values() if s.store}
    assert collections == {first.data: "sft_gold-seed0", second.data: "warmup2"}


def test_an_algorithm_of_ones_own_has_the_recipes_teacher(monkeypatch):
    monkeypatch.setattr(registry, "_TARGETS", {**registry._TARGETS, "mine": "algorithms.opsd:OPSD"})
    stages = stages_of(plan_of("arms=[online]", "algorithm=mine"))
    assert stages["online-seed0"].teacher == "frozen"


def test_an_arm_may_have_its_own_learning_rate():
    definition = "{source: online, algorithm: grpo, learning_rate: 1.0e-5}"
    stages = stages_of(
        plan_of("arms=[online,own]", f"+arm_definitions.own={definition}", "samples_per_prompt=2")
    )
    assert stages["own-seed0"].optimiser == {"lr": 1e-5}
    assert stages["online-seed0"].optimiser == {"lr": config_of().learning_rate}
    for wrong in ("0", "fast"):
        with pytest.raises(ConfigError, match="learning_rate is above 0"):
            plan_of(
                "arms=[own]", f"+arm_definitions.own={{source: online, learning_rate: {wrong}}}"
            )
