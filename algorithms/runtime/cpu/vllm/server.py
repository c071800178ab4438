"""verl's vLLM server and replica with the settings of a CPU, and the trainer's end of the transfer.

What differs from verl's own: the weight update (:mod:`algorithms.runtime.cpu.vllm.worker`), the
threads, the size of the cache, and a name for the transfer's socket that no other run can have.
"""

from __future__ import annotations

import os
from typing import Any

import ray
from verl.workers.rollout.vllm_rollout.vllm_async_server import vLLMHttpServer, vLLMReplica
from verl.workers.rollout.vllm_rollout.vllm_rollout import ServerAdapter
from vllm.platforms import current_platform

from algorithms.runtime.cpu.threads import threads_per_process

KV_CACHE_BYTES = 1 << 30
EXTENSION = "algorithms.runtime.cpu.vllm.worker.CpuWorkerExtension"


class CpuVLLMServer(vLLMHttpServer):
    """verl's server on a CPU build of vLLM; made a Ray actor by :class:`CpuVLLMReplica`."""

    async def launch_server(self, *args: Any, **kwargs: Any) -> None:
        """Start the engine, whose processes inherit the environment set here."""
        ranks = await self.workers[0].__ray_call__.remote(_local_ranks)
        os.environ.update(engine_environment(ranks))
        os.environ["VERL_RAY_JOB_ID"] = transfer_id()
        await super().launch_server(*args, **kwargs)

    def _get_worker_extension_cls(self) -> str:
        return EXTENSION

    def _preprocess_engine_kwargs(self, engine_kwargs: dict[str, Any]) -> None:
        super()._preprocess_engine_kwargs(engine_kwargs)
        if "VLLM_CPU_KVCACHE_SPACE" not in os.environ:
            # vLLM's default is gpu_memory_utilization, a share of the machine's whole memory.
            engine_kwargs.setdefault("kv_cache_memory_bytes", KV_CACHE_BYTES)

    def _validate_configs(self) -> None:
        """See verl's server.

        Raises:
            ValueError: vLLM is not a CPU build, or a setting that it does not have on a CPU.
        """
        super()._validate_configs()
        if not current_platform.is_cpu():
            raise ValueError(
                "VERL_PLATFORM=cpu with rollout.name=vllm needs a CPU build of vLLM, but the one "
                f"installed is for {current_platform.device_name}: run `make vllm` in an "
                "environment without it, or use rollout.name=transformers"
            )
        prefix = "actor_rollout_ref.rollout"
        if self.config.free_cache_engine or self.config.enable_sleep_mode:
            raise ValueError(
                "vLLM cannot free its memory between steps on a CPU: set "
                f"{prefix}.free_cache_engine=False and +{prefix}.enable_sleep_mode=False"
            )
        if self.lora_as_adapter:
            raise ValueError(
                "the vLLM rollout on a CPU takes merged weights: set "
                "actor_rollout_ref.model.lora.merge=True"
            )


class CpuVLLMReplica(vLLMReplica):
    """verl's replica with :class:`CpuVLLMServer`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.server_class = ray.remote(CpuVLLMServer)


class CpuServerAdapter(ServerAdapter):
    """verl's adapter in the training worker, sending to this run's socket."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        job = ray.get_runtime_context().get_job_id()
        self.zmq_handle = self.zmq_handle.replace(f"-{job}-", f"-{transfer_id()}-")


def transfer_id() -> str:
    """Names this run's transfer on this machine, the same in all its processes.

    verl uses Ray's job id, which is 01000000 in every local run: two runs side by side would take
    each other's weights. The namespace is unique to a driver.
    """
    context = ray.get_runtime_context()
    return f"{context.get_job_id()}-{context.namespace}"


def engine_environment(ranks: int) -> dict[str, str]:
    """Environment of vLLM's engine and workers, of which there are ``ranks`` on this machine.

    What the caller's environment sets already is left alone, but for ``OMP_NUM_THREADS``, which
    Ray sets to 1 in every actor.
    """
    defaults = {
        # Pinned threads would fight for a core with the trainer, Lean and other replicas.
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "VLLM_NO_USAGE_STATS": "1",
        "OMP_WAIT_POLICY": "PASSIVE",
    }
    chosen = {name: value for name, value in defaults.items() if name not in os.environ}
    return {**chosen, "OMP_NUM_THREADS": str(threads_per_process(ranks))}


def _local_ranks(_worker: Any) -> int:
    return int(os.environ.get("RAY_LOCAL_WORLD_SIZE", "1"))
