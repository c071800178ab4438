"""What a run is going to do: for the dry run in words, for the report as plan.json."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from omegaconf import OmegaConf

from algorithms.retry.settings import FEEDBACK, LadderSettings
from algorithms.runtime.prompts import privileged_content, row_views
from algorithms.runtime.stages import Sampling, Stage
from data_prep import leak
from recipes import data as run_data
from recipes import retry_plan
from recipes.arms import Arm
from recipes.estimate import memory_estimate, parameter_count
from recipes.plan import Plan, responses_a_step

if TYPE_CHECKING:
    from recipes.prepare import Job


def _shown_settings(arm: Arm) -> dict[str, Any]:
    rate = {} if arm.learning_rate is None else {"learning rate": arm.learning_rate}
    return {**arm.settings, **arm.retry, **rate}


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
                "steps": _steps(plan, arm, config.seeds[0]),
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
        "heldout": {
            "n": len(job.data.heldout),
            "new_structure": new,
            "compared": job.data.compared,
            "leak_guard": f"the same statement, or {leak.OVERLAP:.0%} of its {leak.NGRAM}-grams",
        },
        "baseline_views": next(sorted(s.evaluate) for s in plan.stages if s.name == "baseline"),
        "verifier": job.verifier,
        "tactic_policy": _tactic_policy(job.data),
        "stages": [stage.name for stage in plan.stages],
    }


def _steps(plan: Plan, arm: Arm, seed: int) -> int:
    """Training steps of an arm, over all its rounds."""
    stages = [s for s in plan.stages if (s.arm, s.seed, s.phase) == (arm.name, seed, "train")]
    return sum(stage.steps for stage in stages)


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
    bound = " at most" if any(s.sampling.ladder for s in plan.stages) else ""
    parameters = parameter_count(job.model_path)
    row = (data.train or data.heldout)[0]
    lines = [
        f"profile           {config.profile_name}, rollout {config.rollout}",
        f"model             {job.model_path} ({parameters / 1e6:.0f} M parameters)",
        f"verifier          {job.verifier}",
        f"rows              {_of(data, 'train', data.train)} train, "
        f"{_of(data, 'heldout', data.heldout)} held out, "
        f"{' and '.join(str(len(w)) for w in data.warmup) or 'no'} warm-up",
        *_dropped(config, data),
        f"longest prompt    {data.longest} tokens of {config.max_prompt_tokens}",
        f"stages            {', '.join(s.name for s in plan.stages)}",
        f"gradient steps    {trained} in all",
        f"a step            {config.batch_size} prompts x {config.samples_per_prompt} = "
        f"{per_step} trajectories, up to {config.max_tokens_per_micro_batch} tokens a micro-batch",
        f"responses         {sampled}{bound} sampled for training, {evaluations} for evaluation, "
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


def _of(data: run_data.RunData, role: str, rows: list[Any]) -> str:
    given = data.given.get(role, len(rows))
    return f"{len(rows)}" if given == len(rows) else f"{len(rows)} of {given}"


def _dropped(config: Any, data: run_data.RunData) -> list[str]:
    """Rows that do not fit, by role, and the setting that they do not fit."""
    roles = Counter(line["arm"] for line in data.dropped)
    told = ", ".join(f"{count} {role}" for role, count in roles.items())
    limit = f"do not fit max_prompt_tokens={config.max_prompt_tokens}"
    return [f"dropped           {told}: {limit}"] if told else []


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
            said = "(what the verifier says of the attempt)"
            told = said if settings.pi == FEEDBACK else privileged_content(row, settings.pi)
            lines += [f"{stage.arm}, after a failure:", *_indented(settings.retry_text(told))]
    return lines


def _attempts(stage: Stage) -> int:
    """Attempts a task at most; a budget in tokens is the ladder's of another arm."""
    if stage.sampling.ladder is None or stage.budget is not None:
        return 1
    return LadderSettings.of(stage.sampling.ladder).last()


def _text(job: Job, row: dict, kind: str) -> str:
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
