"""Everything that can be decided and checked before Ray starts."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from algorithms import registry
from algorithms.group_pi import GROUP_KINDS
from algorithms.hints import SELF_HINT
from algorithms.retry.settings import FEEDBACK, LadderSettings
from algorithms.runtime.prompts import privileged_content
from algorithms.runtime.records import RunRecords
from algorithms.runtime.stages import Stage, check_plan
from algorithms.view_check import check_views
from algorithms.views import ViewTemplate
from recipes import data as run_data
from recipes import retry_plan
from recipes.arms import Arm, arms_of
from recipes.config import ConfigError
from recipes.estimate import memory_estimate, parameter_count
from recipes.plan import Plan, build_plan, responses_a_step
from recipes.run_folder import open_run, versions, write_json
from recipes.verl_settings import check_rollout, ranks_of

COLLAPSED_STATUS = 3
# PI that says nothing of the problem.
CONTROLS = ("none", "gibberish", "wrong_skeleton")


@dataclass
class Job:
    """A checked run: its data, its stages, and the numbers derived from them."""

    config: Any
    data: run_data.RunData
    plan: Plan
    model_path: str
    verifier: str
    tokenizer: Any

    def print_plan(self) -> None:
        """What a dry run shows."""
        for line in describe(self):
            print(line)

    def open(self) -> Path:
        """The folder to run in: a new one, or that of the unfinished run that goes on."""
        return open_run(self.config)[0]

    def write(self, folder: Path) -> None:
        """Put everything that the run reads into its folder."""
        from recipes.launch import SETTINGS_FILE
        from recipes.verl_settings import settings

        resumed = (folder / "plan.json").exists()
        paths = run_data.write(self.data, folder / "data")
        collected = str(folder / "data" / "collected-{}.parquet")
        files = {**paths, "collected": collected}
        plan = build_plan(self.config, files, warms_up(self.config), len(self.data.train))
        tree = settings(self.config, plan.stages, folder, self.model_path, paths)
        OmegaConf.save(OmegaConf.create(tree), folder / SETTINGS_FILE)
        OmegaConf.save(self.config, folder / "config.yaml")
        write_json(folder / "versions.json", versions(self.config.profile_name))
        write_json(folder / "plan.json", report_plan(self))
        records = RunRecords(folder)
        if resumed:
            records.event("resume", "the run was started again")
        elif self.data.dropped:
            records.write("dropped", *self.data.dropped)

    def collapsed_status(self, folder: Path) -> int:
        """3 if an arm was stopped by an alarm, else 0. A control may collapse: that is a result."""
        controls = {arm.name for arm in self.plan.arms if arm.pi in CONTROLS}
        for path in (folder / "stages").glob("*.json"):
            done = json.loads(path.read_text())
            if done["collapsed"] and done["stage"]["arm"] not in controls:
                return COLLAPSED_STATUS
        return 0


def warms_up(config: Any) -> bool:
    """Whether the run has a warm-up stage."""
    if config.warmup.enabled == "auto":
        # A bundled warm-up teaches the bundled task: it says nothing about other data.
        named = config.data.warmup
        fits = named not in run_data.BUNDLED or config.data.train == named
        return bool(config.warmup_default and config.data.warmup and fits)
    return bool(config.warmup.enabled)


def prepare(config: Any) -> Job:
    """Load and check model, data, views, algorithm, verifier and plan.

    Raises:
        ConfigError: something cannot run, with the setting to change.
    """
    from transformers import AutoTokenizer

    check_rollout(config)
    model_path = _model_path(config)
    try:
        tokenizer = AutoTokenizer.from_pretrained(model_path)
    except (OSError, ValueError) as error:
        raise ConfigError(f"model.path={config.model.path}: no tokenizer there: {error}") from error
    try:
        kinds = [arm.pi for arm in arms_of(config) if arm.retries(config)]
        data = run_data.build(config, tokenizer, warms_up(config), kinds)
        _check_template(config, tokenizer, data)
        placeholder = {
            "train": "train",
            "train_gold": "train_gold",
            "eval": "eval",
            **{f"warmup_{i}": f"warmup_{i}" for i in range(len(data.warmup))},
            "collected": "collected-{}",
        }
        plan = build_plan(config, placeholder, warms_up(config), len(data.train))
        check_plan(plan.stages)
        for stage in plan.stages:
            registry.build(stage.algorithm, **stage.algorithm_settings)
    except ConfigError:
        raise
    except (TypeError, ValueError, registry.UnknownAlgorithm, registry.BrokenAlgorithm) as error:
        raise ConfigError(str(error)) from error
    _check_arithmetic(config, data, plan)
    return Job(config, data, plan, model_path, _verifier(data), tokenizer)


def _model_path(config: Any) -> str:
    if config.model.path == "demo":
        from recipes.demo_model import DemoModelError, ensure_demo_model

        try:
            return str(ensure_demo_model())
        except DemoModelError as error:
            raise ConfigError(str(error)) from error
    path = Path(str(config.model.path)).expanduser()
    return str(path.resolve()) if path.exists() else str(config.model.path)


def _check_template(config: Any, tokenizer: Any, data: run_data.RunData) -> None:
    kind = config.privileged.kind
    if kind == "none":
        return
    contents = ((row, privileged_content(row, kind)) for row in data.train)
    row, content = next(((row, text) for row, text in contents if text), (None, None))
    if kind in (*GROUP_KINDS, SELF_HINT):  # the run makes it: any text shows what the template does
        row, content = data.train[0], "example"
    if row is None or content is None:
        raise ConfigError(
            f"no training row has privileged information of kind {config.privileged.kind!r}: "
            "prepare the data with it, or choose another privileged.kind"
        )
    template = {"position": config.privileged.position}
    if config.privileged.template:
        template["template"] = config.privileged.template
    check_views(
        tokenizer,
        row["prompt"],
        content,
        ViewTemplate(**template),
        chat_template_kwargs=run_data.chat_kwargs(config),
    )


def _check_arithmetic(config: Any, data: run_data.RunData, plan: Plan) -> None:
    responses = responses_a_step(config)
    if plan.arms and len(data.train) < config.batch_size:
        raise ConfigError(
            f"data.train has {len(data.train)} rows, fewer than batch_size={config.batch_size}: "
            "lower it"
        )
    if any(len(rows) < responses for rows in data.warmup):
        raise ConfigError(
            f"data.warmup has {min(map(len, data.warmup))} rows, fewer than a step's {responses} "
            "(batch_size times samples_per_prompt): lower it"
        )
    for arm in plan.arms:
        if arm.retries(config):
            _check_told(arm, data)
            continue
        made = arm.pi in ("own", "none", *GROUP_KINDS, SELF_HINT)
        if not made and not any(privileged_content(row, arm.pi) for row in data.train):
            raise ConfigError(
                f"arm {arm.name!r} shows the teacher {arm.pi!r}, and no training row has any: it "
                "is built from skeletons. Add it to the data, or leave the arm out"
            )
    _check_ranks(config, plan)
    given = [arm.name for arm in plan.arms if arm.source == "given"]
    if given and len(data.with_gold()) < responses:
        raise ConfigError(
            f"arm {given[0]!r} needs gold proofs, and {len(data.with_gold())} training rows have "
            f"one, fewer than a step's {responses} (batch_size times samples_per_prompt): add "
            f"them to the data (privileged kind {run_data.GOLD!r}), or leave the arm out"
        )
    for stage in plan.stages:
        _check_learns(config, data, stage)
    prompt = max(data.longest.values())
    if any(s.sampling.pi_kind in (*GROUP_KINDS, SELF_HINT) for s in plan.stages):
        prompt = config.max_prompt_tokens  # the run makes them as long as that
    longest = prompt + config.max_response_tokens
    if longest > config.max_tokens_per_micro_batch:
        raise ConfigError(
            f"the longest row has {longest} tokens, more than max_tokens_per_micro_batch="
            f"{config.max_tokens_per_micro_batch}: raise it"
        )


def _check_told(arm: Arm, data: run_data.RunData) -> None:
    """Refuse a retry arm whose retry prompts would tell nothing of what it is named for."""
    if arm.pi in ("none", FEEDBACK):
        return
    if not any(privileged_content(row, arm.pi) for row in data.train):
        raise ConfigError(
            f"arm {arm.name!r} tells {arm.pi!r} after a failure, and no training row has any: add "
            f"it to the data (python -m data_prep pi), or leave the arm out"
        )


def _check_learns(config: Any, data: run_data.RunData, stage: Stage) -> None:
    """Refuse a stage whose every response would be dropped."""
    algorithm = registry.build(stage.algorithm, **stage.algorithm_settings)
    kind, one = stage.sampling.pi_kind, config.samples_per_prompt < 2
    rewarded = algorithm.needs_old_log_probs and getattr(algorithm, "reward_weight", 1.0) > 0
    if one and (rewarded or algorithm.sequence_kl):
        raise ConfigError(
            f"arm {stage.arm!r}: {stage.algorithm} centres rewards within a group: set "
            "samples_per_prompt to 2 or more"
        )
    if one and kind == "sibling_success" and stage.phase == "train":
        raise ConfigError(
            f"arm {stage.arm!r}: {kind} is another answer to the same task: set "
            "samples_per_prompt to 2 or more"
        )
    if kind in GROUP_KINDS and algorithm.sequence_kl:
        raise ConfigError(
            f"arm {stage.arm!r}: with {kind} the answers of one task differ in what their teacher "
            "sees, so their KLs cannot be centred together: use kl_placement=loss"
        )
    source = stage.sampling.hint_from
    if kind == SELF_HINT and not any(privileged_content(row, source) for row in data.train):
        raise ConfigError(
            f"arm {stage.arm!r}: no training row has the {source!r} that hints are written from: "
            "add it to the data, or set privileged.hint_from"
        )


def _check_ranks(config: Any, plan: Plan) -> None:
    nodes = OmegaConf.select(config, "verl.trainer.nnodes") or 1
    ranks = ranks_of(config) * nodes
    for stage in plan.stages:
        rows = stage.batch_size // stage.mini_batches * stage.sampling.n
        if stage.phase in ("train", "warmup") and rows % ranks:
            raise ConfigError(
                f"{stage.name}: a gradient step has {rows} responses, which {ranks} ranks cannot "
                "share evenly: make batch_size / mini_batches (times samples_per_prompt where the "
                "arm samples online) a multiple of the ranks"
            )


def _verifier(data: run_data.RunData) -> str:
    import rewards

    rows = [*data.train, *data.heldout]
    try:
        named = {(row["reward_model"]["style"], row["data_source"]) for row in rows}
        styles = sorted({rewards.row_verifier(*names) for names in named})
        verifiers = {style: rewards.get_verifier(style) for style in styles}
        described = [
            f"{style} ({verifier.describe()})" if hasattr(verifier, "describe") else style
            for style, verifier in verifiers.items()
        ]
    except (LookupError, RuntimeError, ValueError) as error:
        raise ConfigError(f"the verifier cannot run: {error}") from error
    return "; ".join(described)


def _shown_settings(arm: Arm) -> dict[str, Any]:
    rate = {} if arm.learning_rate is None else {"learning rate": arm.learning_rate}
    return {**arm.settings, **rate}


def report_plan(job: Job) -> dict[str, Any]:
    """``plan.json``: what the report says of the run."""
    config, plan = job.config, job.plan
    new = sum(r["extra_info"].get("structure") == "new" for r in job.data.heldout)
    return {
        "recipe": config.recipe,
        "arms": [
            {
                "name": arm.name,
                "algorithm": arm.algorithm,
                "settings": _shown_settings(arm),
                "sampling": arm.sampling_label,
                "teacher": "none" if arm.source == "given" else arm.teacher,
                "pi": _shown(config, arm),
                "seeds": list(config.seeds),
                "steps": plan.steps,
                "description": arm.description,
                **({"role": arm.role} if arm.role else {}),
                **(retry_plan.described(config, arm) if arm.retries(config) else {}),
            }
            for arm in plan.arms
        ],
        "contrasts": _contrasts(config, plan),
        "warmup": {
            "enabled": plan.warmup_steps > 0,
            "steps": plan.warmup_steps,
            "rows": len({r["uid"] for rows in job.data.warmup for r in rows}),
            "why": config.warmup.why if config.model.path == "demo" else "",
        },
        "heldout": {"n": len(job.data.heldout), "new_structure": new},
        "verifier": job.verifier,
        "tactic_policy": _tactic_policy(job.data),
        "stages": [stage.name for stage in plan.stages],
    }


def _contrasts(config: Any, plan: Plan) -> list[list[str]]:
    """The configured comparisons whose arms are both in the run."""
    names = {arm.name for arm in plan.arms}
    found = OmegaConf.select(config, "contrasts") or []
    return [list(line) for line in found if set(line[:2]) <= names]


def _shown(config: Any, arm: Arm) -> str | None:
    """The PI of an arm; None where no teacher takes part."""
    if arm.source != "given" and arm.teacher == "none":
        return None
    return config.privileged.kind if arm.pi == "own" else arm.pi


def _tactic_policy(data: run_data.RunData) -> str:
    """Which tactics do not count, as the rows say; empty where nothing is proved in Lean."""
    if not any(row["reward_model"]["style"] == "lean" for row in data.heldout):
        return ""
    forbidden = {tuple(r["extra_info"].get("forbid") or ()) for r in data.heldout}
    if forbidden <= {()}:
        return "every tactic counts"
    names = sorted({name for names in forbidden for name in names})
    return f"these tactics do not count: {', '.join(names)}"


def describe(job: Job) -> list[str]:
    """The derived numbers, the views of one row and the command to come."""
    config, plan, data = job.config, job.plan, job.data
    per_step = responses_a_step(config)
    trained = sum(stage.steps for stage in plan.stages if stage.phase != "collect")
    heldout = len(data.heldout) * config.evaluation.samples
    evaluations = sum(
        heldout if rows is None else min(rows, len(data.heldout)) * config.evaluation.samples
        for stage in plan.stages
        for rows in stage.evaluate.values()
    )
    sampled = sum(
        s.steps * s.batch_size * s.sampling.n * _attempts(s)
        for s in plan.stages
        if s.sampling.source in ("rollout", "ladder")
    )
    parameters = parameter_count(job.model_path)
    row = (data.train or data.heldout)[0]
    lines = [
        f"profile           {config.profile_name}, rollout {config.rollout}",
        f"model             {job.model_path} ({parameters / 1e6:.0f} M parameters)",
        f"verifier          {job.verifier}",
        f"rows              {len(data.train)} train, {len(data.heldout)} held out, "
        f"{[len(w) for w in data.warmup]} warm-up, {len(data.dropped)} dropped",
        f"longest prompt    {data.longest} tokens of {config.max_prompt_tokens}",
        f"stages            {', '.join(s.name for s in plan.stages)}",
        f"gradient steps    {trained} in all, {config.steps} an arm",
        f"a step            {config.batch_size} prompts x {config.samples_per_prompt} = "
        f"{per_step} trajectories, up to {config.max_tokens_per_micro_batch} tokens a micro-batch",
        f"responses         {sampled} at most sampled for training, {evaluations} for evaluation, "
        f"{config.max_response_tokens} tokens each at most",
        *memory_estimate(config, plan, parameters, "wasm" in job.verifier),
        "",
        "student's view of the first row:",
        *_indented(_text(job, row, "none")),
        *_other_texts(job, row),
        "",
        "Everything is valid. The run: the same command without dry_run=true.",
    ]
    return lines


def _other_texts(job: Job, row: dict) -> list[str]:
    """What else the model is shown: the teacher's view, and what is said after a failure."""
    config, lines = job.config, []
    if config.privileged.kind != "none":
        lines += ["teacher's view:", *_indented(_text(job, row, config.privileged.kind))]
    for stage in job.plan.stages:
        if stage.sampling.ladder is None or stage.seed != config.seeds[0] or stage.round > 1:
            continue
        settings = LadderSettings.of(stage.sampling.ladder)
        if settings.scheme == "retry":
            told = privileged_content(row, settings.pi)
            lines += [f"{stage.arm}, after a failure:", *_indented(settings.retry_text(told))]
    return lines


def _attempts(stage: Stage) -> int:
    """Attempts a task at most; a budget in tokens is the ladder's of another arm."""
    if stage.sampling.ladder is None or stage.budget is not None:
        return 1
    return LadderSettings.of(stage.sampling.ladder).last()


def _text(job: Job, row: dict, kind: str) -> str:
    from algorithms.runtime.prompts import row_views
    from algorithms.runtime.stages import Sampling

    template = {"position": job.config.privileged.position}
    if job.config.privileged.template:
        template["template"] = job.config.privileged.template
    sampling = Sampling(
        pi_kind=kind, max_prompt_tokens=job.config.max_prompt_tokens, template=template
    )
    chat = run_data.chat_kwargs(job.config)
    views = row_views(job.tokenizer, row, row["prompt"], sampling, **chat)
    return job.tokenizer.decode(views.teacher_ids)


def _indented(text: str) -> list[str]:
    return [f"    {line}" for line in text.splitlines()]
