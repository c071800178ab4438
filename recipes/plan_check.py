"""What cannot be told from the plan alone: whether the data has what its stages need."""

from __future__ import annotations

from typing import Any

from omegaconf import OmegaConf

from algorithms import registry
from algorithms.group_pi import GROUP_KINDS
from algorithms.hints import SELF_HINT
from algorithms.retry.settings import FEEDBACK
from algorithms.runtime.prompts import privileged_content
from algorithms.runtime.stages import Stage
from recipes import data as run_data
from recipes.arms import MADE, Arm
from recipes.config import ConfigError
from recipes.plan import Plan, responses_a_step
from recipes.verl_settings import ranks_of


def check_arithmetic(config: Any, data: run_data.RunData, plan: Plan) -> None:
    """Refuse a plan that its data cannot fill.

    Raises:
        ConfigError: with the setting to change, or what to add to the data.
    """
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
        if arm.pi not in MADE and not any(privileged_content(r, arm.pi) for r in data.train):
            raise ConfigError(
                f"arm {arm.name!r} shows the teacher {arm.pi!r}, and no training row has any. Add "
                f"it to the data (python -m data_prep pi), or leave the arm out{_kinds_of(data)}"
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
            f"arm {arm.name!r} tells {arm.pi!r} after a failure, and no training row has any. Add "
            f"it to the data (python -m data_prep pi), or leave the arm out{_kinds_of(data)}"
        )


def _kinds_of(data: run_data.RunData) -> str:
    kinds = sorted({entry["kind"] for row in data.train for entry in row["privileged"]})
    return f"; the rows have {', '.join(kinds)}" if kinds else ""


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
