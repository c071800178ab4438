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
from algorithms.retry.conversation import Continuation
from algorithms.runtime.prompts import privileged_content
from algorithms.runtime.records import RunRecords
from algorithms.runtime.stages import check_plan
from algorithms.view_check import check_views
from algorithms.views import ViewTemplate
from recipes import data as run_data
from recipes import retry_settings
from recipes.arms import MADE, arms_of
from recipes.config import ConfigError
from recipes.describe import describe, report_plan
from recipes.plan import Plan, build_plan
from recipes.plan_check import check_arithmetic
from recipes.run_folder import open_run, versions, write_json
from recipes.verl_settings import check_rollout

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
    _note_pair(config)
    model_path = _model_path(config)
    try:
        tokenizer = AutoTokenizer.from_pretrained(model_path)
    except (OSError, ValueError) as error:
        raise ConfigError(f"model.path={config.model.path}: no tokenizer there: {error}") from error
    _settle_context(config, model_path)
    try:
        _check_conversation(config, tokenizer)
        arms = [arm for arm in arms_of(config) if arm.pi not in MADE]
        kinds = run_data.KindsOfArms(
            shown=tuple(arm.pi for arm in arms if not arm.retries(config)),
            told=tuple(arm.pi for arm in arms if arm.retries(config)),
        )
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
    check_arithmetic(config, data, plan)
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


def _note_pair(config: Any) -> None:
    """One's own data beside a bundled set may be meant, or half a command: say so."""
    train, held_out = config.data.train, config.data.eval
    if train is not None and (train in run_data.BUNDLED) != (held_out in run_data.BUNDLED):
        print(
            f"note: data.train={train} and data.eval={held_out}: one is a bundled set, the other "
            "is not"
        )


def _settle_context(config: Any, model_path: str) -> None:
    """A conversation of retries may be as long as the model reads, and no longer."""
    if OmegaConf.select(config, "retry") is None:
        return
    from transformers import AutoConfig

    model = AutoConfig.from_pretrained(model_path).get_text_config()
    most, wanted = model.max_position_embeddings, retry_settings.context_tokens(config)
    if wanted <= most:
        return
    if config.retry.context_tokens is not None:
        raise ConfigError(
            f"retry.context_tokens={wanted} is more than the {most} positions of {model_path}: "
            "lower it, or max_prompt_tokens and max_response_tokens"
        )
    print(f"note: conversations end at the {most} positions of the model, before all retries are")
    config.retry.context_tokens = most


def _check_conversation(config: Any, tokenizer: Any) -> None:
    """Refuse a chat template that cannot go on after an answer, before anything starts."""
    climbs = [arm for arm in arms_of(config) if arm.retries(config)]
    schemes = {retry_settings.of_arm(config, arm.name, arm.retry)["scheme"] for arm in climbs}
    if "retry" in schemes:
        Continuation(tokenizer, run_data.chat_kwargs(config))([], config.retry.prompt)


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


def _note_misspelt(rows: list[dict[str, Any]]) -> None:
    from rewards import row_verifier
    from rewards.verl_score import near_options

    keys: dict[str, set[str]] = {}
    for row in rows:
        style = row_verifier(row["reward_model"]["style"], row["data_source"])
        keys.setdefault(style, set()).update(row["extra_info"])
    for style, given in keys.items():
        for key, option in near_options(style, dict.fromkeys(given)).items():
            print(f"note: extra_info.{key} is no option of the verifier {style}: {option}?")


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
    _note_misspelt(rows)
    return "; ".join(described)
