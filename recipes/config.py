"""A recipe's configuration: composed by Hydra from ``recipes/conf``, checked before anything runs."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any

from hydra import compose, initialize_config_module
from hydra.errors import ConfigCompositionException, HydraException
from omegaconf import DictConfig, OmegaConf


class ConfigError(ValueError):
    """The configuration cannot run; the message names the key and what to set."""


def default_profile() -> str:
    """``gpu`` where CUDA is there, else ``cpu``."""
    import torch

    return "gpu" if torch.cuda.is_available() else "cpu"


def load(name: str, overrides: Sequence[str]) -> DictConfig:
    """Compose ``recipes/conf/<name>.yaml`` with command line overrides.

    Raises:
        ConfigError: an override that Hydra refuses, with the nearest known key.
    """
    overrides = list(overrides)
    if not any(o.split("=")[0].strip() == "profile" for o in overrides):
        overrides.insert(0, f"profile={default_profile()}")
    try:
        with initialize_config_module("recipes.conf", version_base="1.3"):
            return compose(name, overrides=overrides)
    except (ConfigCompositionException, HydraException) as error:
        raise ConfigError(_explain(name, str(error), overrides)) from error


def _explain(name: str, message: str, overrides: Sequence[str]) -> str:
    with initialize_config_module("recipes.conf", version_base="1.3"):
        known = sorted(_leaves(OmegaConf.to_container(compose(name), resolve=False)))
    lines = [message.splitlines()[0]]
    for override in overrides:
        key = override.split("=")[0].lstrip("+~")
        if key not in known and not key.startswith(("verl.", "arm_definitions.", "profile")):
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            lines.append(f"{key!r} is not a setting of {name}{hint}")
    lines.append(f"All settings: python -m recipes.{name} --help")
    return "\n".join(lines)


def _leaves(tree: Any, prefix: str = "") -> set[str]:
    if not isinstance(tree, dict):
        return {prefix}
    found = {prefix} if prefix else set()
    for key, value in tree.items():
        found |= _leaves(value, f"{prefix}.{key}" if prefix else str(key))
    return found


def verl_config(settings: dict[str, Any]) -> DictConfig:
    """verl's own trainer configuration with ``settings`` (a nested dict) merged over it.

    Raises:
        ConfigError: a key that verl does not have.
    """
    with initialize_config_module("verl.trainer.config", version_base=None):
        config = compose("ppo_trainer")
    OmegaConf.set_struct(config, False)
    return OmegaConf.merge(config, OmegaConf.create(settings))  # type: ignore[return-value]
