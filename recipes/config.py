"""A recipe's configuration: composed by Hydra from ``recipes/conf``, checked before it is used."""

from __future__ import annotations

import difflib
import importlib.util
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir, initialize_config_module
from hydra.errors import ConfigCompositionException, HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from recipes.check import problems

# Parts of verl's configuration that take any key: they are passed on to something else.
FREE_FORM = ("engine_kwargs", "override_config", "override_optimizer_config", "ray_init")


# Settings of verl that every stage sets anew, and the recipe's own key of each.
OURS = {
    "actor_rollout_ref.actor.optim.lr": "learning_rate, warmup.phases",
    "actor_rollout_ref.actor.ppo_mini_batch_size": "batch_size, mini_batches",
    "actor_rollout_ref.actor.ppo_epochs": "epochs",
    "actor_rollout_ref.rollout.n": "samples_per_prompt",
    "actor_rollout_ref.rollout.temperature": "sampling.temperature",
    "actor_rollout_ref.rollout.top_p": "sampling.top_p",
    "actor_rollout_ref.rollout.val_kwargs": "evaluation",
    "data.train_batch_size": "batch_size",
    "data.train_files": "data.train",
    "data.val_files": "data.eval",
    "data.seed": "seeds",
    "data.shuffle": "seeds",
    "trainer.total_epochs": "steps",
    "trainer.total_training_steps": "steps",
    "trainer.test_freq": "evaluation.every",
    "trainer.val_before_train": "evaluation.every",
    "trainer.save_freq": "checkpoint_every",
    "trainer.default_local_dir": "output_root, run",
    "trainer.experiment_name": "run",
}


class ConfigError(ValueError):
    """The configuration cannot run; the message names the key and what to set."""


def default_profile() -> str:
    """``gpu`` where CUDA is there, else ``cpu``."""
    import torch

    return "gpu" if torch.cuda.is_available() else "cpu"


def load(name: str, overrides: Sequence[str]) -> DictConfig:
    """Compose ``recipes/conf/<name>.yaml`` with command line overrides.

    ``verl.<key>=<value>`` sets a key of verl's own configuration, ``+verl.<key>=<value>`` one that
    verl's files do not have.

    Raises:
        ConfigError: an override that Hydra refuses, a value of the wrong kind or out of range, or
            a key that verl does not have; with the nearest known key.
    """
    overrides = list(overrides)
    if not any(o.split("=")[0].strip() == "profile" for o in overrides):
        overrides.insert(0, f"profile={default_profile()}")
    try:
        with initialize_config_module("recipes.conf", version_base="1.3"):
            config = compose(name, overrides=[_free_form(o) for o in overrides])
            profile = [o for o in overrides if o.startswith("profile=")]
            defaults = _plain(compose(name, overrides=profile))
        values = _plain(config)
    except (ConfigCompositionException, HydraException, OmegaConfBaseException) as error:
        raise ConfigError(_explain(name, str(error), overrides)) from error
    found = list(problems(values, defaults))
    if found:
        raise ConfigError("\n".join([*found, _help(name)]))
    _fit_bundled(config, [_key(o).lstrip("+") for o in overrides])
    new = [key.lstrip("+")[len("verl.") :] for key in map(_key, overrides) if key.startswith("+")]
    _refuse_ours(values["verl"])
    check_verl_keys(values["verl"], new)
    return config


def _fit_bundled(config: DictConfig, given: Sequence[str]) -> None:
    """A recipe's limits for its bundled set, which say nothing of other data."""
    from recipes.data import BUNDLED

    if config.data.train not in BUNDLED:
        return
    for key, value in (config.get("for_bundled") or {}).items():
        if key not in given:
            OmegaConf.update(config, key, value)


def _key(override: str) -> str:
    return override.split("=")[0].strip()


def _free_form(override: str) -> str:
    """These groups are empty in our files: Hydra wants to hear that their keys are added."""
    groups = ("verl.", "verl=", "algorithm_settings.")
    return f"++{override}" if override.startswith(groups) else override


def _plain(config: DictConfig) -> dict[str, Any]:
    tree = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    assert isinstance(tree, dict)
    return tree  # type: ignore[return-value]


def _help(name: str) -> str:
    return f"All settings: python -m recipes.{name} --help"


def _explain(name: str, message: str, overrides: Sequence[str]) -> str:
    with initialize_config_module("recipes.conf", version_base="1.3"):
        known = sorted(_paths(OmegaConf.to_container(compose(name), resolve=False)))
    lines = [f"the settings cannot be read: {message.splitlines()[0]}"]
    for override in overrides:
        key = _key(override).lstrip("+~")
        if "=" not in override and not override.startswith("~"):
            lines.append(f"{override!r}: write key=value")
        elif key not in known and not key.startswith(
            ("verl.", "arm_definitions.", "algorithm_settings.", "profile")
        ):
            lines.append(f"{key!r} is not a setting of {name}{nearest(key, known)}")
    return "\n".join([*lines, _help(name)])


def nearest(key: str, known: Sequence[str]) -> str:
    """``; did you mean ...?`` for a misspelt dotted key; empty where nothing is near."""
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.75)
    if not near:  # perhaps the right name in the wrong place; the shortest path is the likeliest
        last = {path.rpartition(".")[2]: path for path in sorted(known, key=len, reverse=True)}
        names = difflib.get_close_matches(key.rpartition(".")[2], last, n=1, cutoff=0.75)
        near = [last[name] for name in names]
    return f"; did you mean {near[0]!r}?" if near else ""


def _paths(tree: Any, prefix: str = "") -> set[str]:
    """Every dotted key of a nested dict, groups included."""
    if not isinstance(tree, dict):
        return {prefix}
    found = {prefix} if prefix else set()
    for key, value in tree.items():
        found |= _paths(value, f"{prefix}.{key}" if prefix else str(key))
    return found


def verl_config(settings: dict[str, Any]) -> DictConfig:
    """verl's own trainer configuration with ``settings`` (a nested dict) merged over it.

    verl is not imported. ``check_verl_keys`` says which keys it does not have.
    """
    config = OmegaConf.merge(_verl_defaults(), OmegaConf.create(settings))
    assert isinstance(config, DictConfig)
    return config


@cache
def _verl_defaults() -> DictConfig:
    found = importlib.util.find_spec("verl")
    if found is None or not found.submodule_search_locations:
        raise ConfigError("verl is not installed: pip install 'verl[verl-core]==0.9.1'")
    folder = Path(found.submodule_search_locations[0], "trainer", "config").resolve()
    with initialize_config_dir(str(folder), version_base=None):
        config = compose("ppo_trainer")
    OmegaConf.set_struct(config, False)
    return config


def check_verl_keys(settings: dict[str, Any], new: Sequence[str] = ()) -> None:
    """Refuse settings of verl that verl would ignore.

    Args:
        settings: a nested dict to merge over verl's configuration.
        new: dotted keys that verl's configuration need not have, with what is below them.

    Raises:
        ConfigError: the unknown keys, each with the nearest.
    """
    if not settings:
        return
    defaults: Any = OmegaConf.to_container(_verl_defaults(), resolve=False)
    unknown = [
        key
        for key in _unknown(settings, defaults, "")
        if not any(key == n or key.startswith(f"{n}.") for n in new)
    ]
    if unknown:
        known = sorted(_paths(defaults))
        raise ConfigError(
            "\n".join(f"verl has no setting {key!r}{_instead(key, known)}" for key in unknown)
            + "\nWrite +verl.<key>=<value> for a key that is meant to be new."
        )


def _refuse_ours(settings: dict[str, Any]) -> None:
    given = _paths(settings)
    taken = [
        f"verl.{key} is set by the recipe: use {ours}" for key, ours in OURS.items() if key in given
    ]
    if taken:
        raise ConfigError("\n".join(taken))


def _instead(key: str, known: Sequence[str]) -> str:
    return "; it is a group of settings" if key in known else nearest(key, known)


def _unknown(settings: dict[str, Any], known: dict[str, Any], prefix: str) -> Iterator[str]:
    """Dotted keys of ``settings`` that ``known`` does not have, or where it has something else."""
    for key, value in settings.items():
        path, default = f"{prefix}{key}", known.get(key)
        if key not in known:
            yield from _leaves(value, path)
        elif key in FREE_FORM or default == {} or value is None:
            continue
        elif isinstance(default, dict) != isinstance(value, dict):
            yield from _leaves(value, path)
        elif isinstance(default, dict):
            yield from _unknown(value, default, f"{path}.")


def _leaves(tree: Any, prefix: str) -> Iterator[str]:
    """The dotted keys of a nested dict that have no keys below them."""
    if not isinstance(tree, dict) or not tree:
        yield prefix
        return
    for key, value in tree.items():
        yield from _leaves(value, f"{prefix}.{key}")
