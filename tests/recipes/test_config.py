"""Configurations compose, misspelt keys are named, and verl's keys are checked like ours."""

from __future__ import annotations

import importlib.util
import pickle
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from recipes import command
from recipes import config as recipe_config
from recipes.config import ConfigError, check_verl_keys, load, verl_config
from recipes.plan import build_plan
from recipes.verl_settings import settings

CONF = Path(recipe_config.__file__).parent / "conf"
PROFILES = sorted(path.stem for path in (CONF / "profile").glob("*.yaml"))
# A file without a module of its name is one that recipes build on.
RECIPES = sorted(p.stem for p in CONF.glob("*.yaml") if (CONF.parent / f"{p.stem}.py").exists())
FILES = {
    "train": "train.parquet",
    "train_gold": "train_gold.parquet",
    "eval": "eval.parquet",
    "warmup_0": "w0.parquet",
    "warmup_1": "w1.parquet",
    "collected": "c-{}.parquet",
}


def refusal(*overrides: str, profile: str = "cpu") -> str:
    with pytest.raises(ConfigError) as error:
        load("opsd_skeleton", [f"profile={profile}", *overrides])
    return str(error.value)


def verl_tree(config: Any, folder: Path) -> dict[str, Any]:
    plan = build_plan(config, FILES, warm_up=True)
    return settings(config, plan.stages, folder, "model-folder", FILES)


def test_there_is_something_to_test():
    assert PROFILES == ["cpu", "gpu"]
    assert {"baseline", "objectives", "opsd_skeleton"} <= set(RECIPES)


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("quick", [False, True])
def test_every_configuration_composes_and_makes_a_plan(name, profile, quick):
    given = [f"profile={profile}", f"quick={str(quick).lower()}"]
    overrides = command._with_quick(name, given)
    config = load(name, overrides)
    assert config.profile_name == profile and config.quick is quick
    plan = build_plan(config, FILES, warm_up=True)
    assert [arm.name for arm in plan.arms] == list(config.arms)
    assert (len(plan.arms) <= 3) is (quick or name == "baseline")


@pytest.mark.parametrize("profile", PROFILES)
def test_verl_accepts_what_every_profile_sets(profile, tmp_path):
    from verl.utils.config import validate_config

    overrides = [f"profile={profile}", "reward_weight=0.5", "samples_per_prompt=4", "ranks=2"]
    config = verl_config(verl_tree(load("opsd_skeleton", overrides), tmp_path))
    validate_config(config=config, use_reference_policy=True, use_critic=False)
    assert config.trainer.v1.trainer_mode == "privileged"
    assert config.trainer.n_gpus_per_node == 2
    assert config.actor_rollout_ref.rollout.name == load("opsd_skeleton", overrides).rollout
    assert config.trainer.device == {"cpu": "cpu", "gpu": "cuda"}[profile]


@pytest.mark.parametrize("profile", PROFILES)
def test_what_a_profile_sets_is_there_in_verl(profile, tmp_path):
    tree = verl_tree(load("opsd_skeleton", [f"profile={profile}", "ranks=1"]), tmp_path)
    # Our trainer's own keys, and one that verl reads but its files leave out.
    manager = "actor_rollout_ref.rollout.agent.agent_loop_manager_class"
    check_verl_keys(tree, new=["privileged", "trainer.v1.privileged", manager])


def test_the_profile_follows_the_machine(monkeypatch):
    import torch

    for there, profile in ((True, "gpu"), (False, "cpu")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda there=there: there)
        assert load("opsd_skeleton", []).profile_name == profile


def test_the_command_line_wins_over_the_quick_preset():
    given = ["profile=cpu", "quick=true", "steps=3", "seeds=[0,1]"]
    overrides = command._with_quick("opsd_skeleton", given)
    config = load("opsd_skeleton", overrides)
    assert (config.steps, list(config.arms)) == (3, ["online", "offline"])
    assert [phase.mix for phase in config.warmup.phases] == ["format", "bare"]
    assert list(config.seeds) == [0, 1]


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("stesp=3", "'stesp' is not a setting of opsd_skeleton; did you mean 'steps'?"),
        ("data.trian=x", "did you mean 'data.train'?"),
        ("temperature=1", "did you mean 'sampling.temperature'?"),
        ("+stesp=3", "stesp is not a setting; did you mean steps?"),
        ("+data.trian=x", "data.trian is not a setting; did you mean data.train?"),
        ("zzz=1", "'zzz' is not a setting of opsd_skeleton\n"),
        ("steps", "'steps': write key=value"),
        ("profile=tpu", "profile/tpu"),
        ("arms=[online", "cannot be read"),
        ("steps=${nothing}", "'nothing' not found"),
        ("~steps", "steps is missing"),
    ],
)
def test_a_misspelt_setting_is_named_with_the_nearest(override, named):
    message = refusal(override)
    assert named in message
    assert message.endswith("All settings: python -m recipes.opsd_skeleton --help")


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("steps=abc", "steps is a whole number, got 'abc'"),
        ("steps=1.5", "steps is a whole number, got 1.5"),
        ("steps=true", "steps is a whole number, got True"),
        ("steps=null", "steps is a whole number, got None"),
        ("steps=0", "steps is 1 or more, got 0"),
        ("batch_size=-1", "batch_size is 1 or more"),
        ("learning_rate=fast", "learning_rate is a number, got 'fast'"),
        ("sampling.temperature=0", "sampling.temperature is more than 0"),
        ("quick=1", "quick is true or false, got 1"),
        ("arms=online", "write arms=[online]"),
        ("seeds=0", "write seeds=[0]"),
        ("seeds=[]", "seeds is empty"),
        ("seeds=[a]", "seeds[] is a whole number, got 'a'"),
        ("teacher=forzen", "teacher is one of frozen, live, ema, trust_region, got 'forzen'"),
        ("divergence=kl", "divergence is one of reverse_kl, forward_kl, jsd"),
        ("privileged.position=top", "one of system, user_prefix, user_suffix"),
        ("warmup.enabled=1", "one of auto, true, false, got 1"),
        ("warmup.phases=[{steps: 3, mix: bare}]", "warmup.phases[].learning_rate is missing"),
        ("data.train_rows=all", "data.train_rows is a whole number, got 'all'"),
        ("data.train=null", "data.train is text, got None"),
        ("data=core_lean", "data"),
        ("verl=3", "verl is a group of settings, got 3"),
    ],
)
def test_a_value_of_the_wrong_kind_is_named(override, named):
    assert named in refusal(override)


@pytest.mark.parametrize(
    "override",
    [
        "learning_rate=1",
        "warmup.enabled=true",
        "data.warmup=null",
        "data.eval_rows=20",
        "privileged.template='Hint: {pi}'",
        "run=5",
        "arms=[]",
        "arm_definitions.online.pi=none",
        "+arm_definitions.mine={source: online, pi: own}",
    ],
)
def test_good_values_pass(override):
    load("opsd_skeleton", ["profile=cpu", override])


def test_several_errors_are_told_at_once():
    message = refusal("steps=x", "teacher=y", "batch_size=0")
    assert all(name in message for name in ("steps is", "teacher is", "batch_size is"))


def test_settings_of_verl_reach_verl(tmp_path):
    overrides = [
        "profile=cpu",
        "verl.trainer.logger=[console,wandb]",
        "verl.trainer.nnodes=2",
        "verl.actor_rollout_ref.actor.optim.weight_decay=0.5",
        "learning_rate=3.0e-5",
        "+verl.trainer.my_key=7",
    ]
    config = verl_config(verl_tree(load("opsd_skeleton", overrides), tmp_path))
    assert list(config.trainer.logger) == ["console", "wandb"]
    assert config.trainer.nnodes == 2
    assert config.trainer.my_key == 7
    assert config.actor_rollout_ref.actor.optim.weight_decay == 0.5
    # What the recipe set beside it stays.
    assert config.actor_rollout_ref.actor.optim.lr == pytest.approx(3e-5)


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("verl.trainer.nnods=2", "'trainer.nnods'; did you mean 'trainer.nnodes'?"),
        ("verl.nnodes=2", "'nnodes'; did you mean 'trainer.nnodes'?"),
        ("verl.trainer.nnodes.x=2", "'trainer.nnodes.x'"),
        ("verl.trainer=5", "'trainer'; it is a group of settings"),
        ("verl.zzz=1", "verl has no setting 'zzz'\n"),
        ("verl={trainer: {nnods: 2}}", "'trainer.nnods'"),
        (
            "verl.actor_rollout_ref.rollout.gpu_memory_utilisation=0.4",
            "did you mean 'actor_rollout_ref.rollout.gpu_memory_utilization'?",
        ),
    ],
)
def test_a_key_that_verl_does_not_have_is_refused_by_name(override, named):
    message = refusal(override)
    assert named in message
    assert "+verl.<key>=<value>" in message


@pytest.mark.parametrize(
    "override",
    [
        "verl.actor_rollout_ref.rollout.engine_kwargs.vllm.enable_sleep_mode=false",
        "verl.actor_rollout_ref.rollout.engine_kwargs.transformers.num_threads=1",
        "verl.actor_rollout_ref.model.override_config.rope.factor=2",
        "verl.actor_rollout_ref.actor.optim.override_optimizer_config.fused=false",
        "verl.ray_kwargs.ray_init.address=auto",
        "verl.ray_kwargs.ray_init.runtime_env.env_vars.A=b",
        "verl.data.apply_chat_template_kwargs.enable_thinking=false",
        "+verl.trainer.something.new=1",
        "++verl.trainer.something=1",
        "verl={trainer: {nnodes: 2}}",
    ],
)
def test_parts_that_take_any_key_and_new_keys_by_a_plus(override):
    load("opsd_skeleton", ["profile=cpu", override])


def test_a_plus_allows_its_own_key_alone():
    message = refusal("+verl.trainer.new=1", "verl.trainer.newer=2")
    assert "'trainer.newer'" in message and "'trainer.new'" not in message


def test_verls_files_are_found_without_importing_verl():
    found = importlib.util.find_spec("verl")
    assert found is not None and found.origin is not None
    assert (Path(found.origin).parent / "trainer" / "config" / "ppo_trainer.yaml").is_file()
    assert OmegaConf.select(verl_config({}), "trainer.use_v1") is True


def test_merging_leaves_verls_defaults_alone():
    verl_config({"trainer": {"nnodes": 9}})
    assert verl_config({}).trainer.nnodes == 1


def test_the_error_travels_between_processes():
    copied = pickle.loads(pickle.dumps(ConfigError("steps: set 1")))
    assert isinstance(copied, ValueError) and str(copied) == "steps: set 1"


@pytest.mark.parametrize(
    ("override", "own"),
    [
        ("verl.actor_rollout_ref.actor.optim.lr=1e-5", "learning_rate"),
        ("verl.actor_rollout_ref.rollout.n=4", "samples_per_prompt"),
        ("verl.data.train_batch_size=8", "batch_size"),
        ("verl.trainer.total_training_steps=3", "steps"),
    ],
)
def test_what_every_stage_sets_is_refused_with_the_recipes_name_for_it(override, own):
    message = refusal(override)
    assert f"{override.split('=')[0]} is set by the recipe: use {own}" in message


def test_every_key_that_is_refused_is_one_that_verl_has():
    known = recipe_config._paths(OmegaConf.to_container(verl_config({}), resolve=False))
    assert set(recipe_config.OURS) <= known
