"""The ``verl.plugins`` entry point: what every process that imports verl registers.

verl imports this module at the end of its own import, in the driver and in every Ray worker, and
logs a failure at DEBUG level only. So the module stays light and side-effect free but for the
registrations, and :func:`registered` lets the task runner check that they took place.
"""

from __future__ import annotations

import os

CPU_PLATFORM = "cpu"
TRANSFORMERS_ROLLOUT = "transformers"
VLLM_ROLLOUT = "vllm"
TRAINER = "privileged"


def register() -> None:
    """Register verl-pi's extensions with verl. Calling it again changes nothing.

    The platform is always registered (a name in a dictionary). The rollouts are registered when
    ``VERL_PLATFORM=cpu``, so that accelerator jobs pay for no import and keep verl's own vLLM. The
    training engine is registered later, in the processes that build one (see
    :mod:`algorithms.runtime.cpu.external`).
    """
    _register_platform()
    if cpu_selected():
        _register_rollout()
        _register_vllm()


def cpu_selected() -> bool:
    """True when this process runs verl on the CPU (``VERL_PLATFORM=cpu``)."""
    return os.environ.get("VERL_PLATFORM", "").strip().lower() == CPU_PLATFORM


def registered() -> dict[str, bool]:
    """Which registrations verl sees in this process; all are true once :func:`register` ran."""
    from verl.plugin.platform.platform_manager import PlatformRegistry

    state = {"platform.cpu": PlatformRegistry.get(CPU_PLATFORM) is not None}
    if cpu_selected():
        from verl.workers.rollout import base, replica

        key = (TRANSFORMERS_ROLLOUT, "async")
        state["rollout.transformers"] = key in base._ROLLOUT_REGISTRY
        state["replica.transformers"] = (
            TRANSFORMERS_ROLLOUT in replica.RolloutReplicaRegistry._registry
        )
        loader = replica.RolloutReplicaRegistry._registry.get(VLLM_ROLLOUT)
        state["replica.vllm"] = loader is _load_vllm_replica
    return state


def _register_platform() -> None:
    from verl.plugin.platform.platform_manager import PlatformRegistry

    from algorithms.runtime.cpu.platform import CpuPlatform

    PlatformRegistry.register(platform=CPU_PLATFORM)(CpuPlatform)


def _register_rollout() -> None:
    from verl.workers.rollout import base, replica

    # verl offers a registration call for the replica but only this dictionary for the worker side.
    base._ROLLOUT_REGISTRY[(TRANSFORMERS_ROLLOUT, "async")] = (
        "algorithms.runtime.cpu.rollout.TransformersRollout"
    )
    replica.RolloutReplicaRegistry.register(TRANSFORMERS_ROLLOUT, _load_replica)


def _load_replica() -> type:
    from algorithms.runtime.cpu.server import TransformersReplica

    return TransformersReplica


def _register_vllm() -> None:
    """verl's vLLM rollout, made to run on the CPU; vLLM is imported once a job asks for it."""
    from verl.workers.rollout import base, replica

    from algorithms.runtime.cpu.vllm import distribution

    distribution.install()
    base._ROLLOUT_REGISTRY[(VLLM_ROLLOUT, "async")] = (
        "algorithms.runtime.cpu.vllm.server.CpuServerAdapter"
    )
    replica.RolloutReplicaRegistry.register(VLLM_ROLLOUT, _load_vllm_replica)


def _load_vllm_replica() -> type:
    from algorithms.runtime.cpu.vllm.server import CpuVLLMReplica

    return CpuVLLMReplica


class NotRegistered(RuntimeError):
    """verl does not see our registrations in this process."""


def register_engines() -> None:
    """Register the engines with the term forward; called in the processes that train."""
    from verl.workers.engine import EngineRegistry, FSDPEngineWithLMHead

    from algorithms.runtime.engine import MODEL_TYPE, TermEngineMixin

    if MODEL_TYPE in EngineRegistry._engines:
        return
    accelerated = type("TermFSDPEngine", (TermEngineMixin, FSDPEngineWithLMHead), {})
    EngineRegistry.register(MODEL_TYPE, ["fsdp", "fsdp2"], device=["cuda", "npu"])(accelerated)
    if cpu_selected():
        from algorithms.runtime.cpu.engine import CpuFSDPEngine

        on_cpu = type("TermCpuEngine", (TermEngineMixin, CpuFSDPEngine), {})
        EngineRegistry.register(MODEL_TYPE, ["fsdp2"], device="cpu")(on_cpu)


def register_trainer() -> None:
    """Register the trainer; called in the task runner, the one process that runs it."""
    from verl.trainer.ppo.v1.trainer_base import register_trainer as register_with_verl

    from algorithms.runtime.trainer import PrivilegedTrainer

    register_with_verl(TRAINER)(PrivilegedTrainer)


def assert_registered() -> None:
    """Check, in the task runner, that verl sees everything of ours.

    Raises:
        NotRegistered: a registration is missing, with the likely reason.
    """
    from verl.trainer.ppo.v1.trainer_base import TRAINER_REGISTRY

    state = {**registered(), f"trainer.{TRAINER}": TRAINER in TRAINER_REGISTRY}
    missing = [name for name, there in state.items() if not there]
    if missing:
        raise NotRegistered(
            f"verl does not see {', '.join(missing)} in this process. Install the package in the "
            "environment of every Ray node (pip install -e .) so that verl finds its verl.plugins "
            "entry point, and leave VERL_USE_EXTERNAL_PLUGINS unset"
        )


register()
