"""Ray server of the ``transformers`` rollout, with the calls verl makes on a rollout server.

One server actor per replica (one training rank). It answers ``generate`` for verl's agent loop and
takes weight updates from the worker side (:mod:`algorithms.runtime.cpu.rollout`).
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import ray
import torch
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
from verl.utils.config import omega_conf_to_dataclass
from verl.utils.torch_dtypes import PrecisionType
from verl.workers.config import HFModelConfig
from verl.workers.rollout.replica import RolloutReplica, TokenOutput

from algorithms.runtime.cpu.decode_loop import DecodeLoop
from algorithms.runtime.cpu.decoder import ABORTED, Decoder, DecoderLimits, Request
from algorithms.runtime.cpu.model import RolloutModel
from algorithms.runtime.cpu.sampling import SamplingParams
from algorithms.runtime.cpu.threads import threads_per_process

if TYPE_CHECKING:
    from verl.workers.config import RolloutConfig

logger = logging.getLogger(__name__)

ENGINE_KEY = "transformers"


@dataclass(frozen=True)
class ServerOptions:
    """``rollout.engine_kwargs.transformers``.

    ``num_threads`` None shares the cores among the replicas; ``kv_cache_gb`` bounds keys and
    values; ``prefix_cache_gb`` bounds those of finished rows, kept for conversations that go on (0:
    none); ``prefill_tokens`` bounds the padded size of one prefill; ``window_ms`` is how long an
    idle server waits for a burst of requests; ``pack_weights`` stores bf16 weights in oneDNN's
    layout.
    """

    num_threads: int | None = None
    kv_cache_gb: float = 1.0
    prefix_cache_gb: float = 0.5
    prefill_tokens: int = 2048
    window_ms: float = 30.0
    pack_weights: bool = True


class TransformersServer:
    """Serves one replica. Made a Ray actor by :class:`TransformersReplica`."""

    def __init__(
        self, config: RolloutConfig, model_config: Any, replica_rank: int, replicas: int
    ) -> None:
        self.config = omega_conf_to_dataclass(config)
        self.model_config: HFModelConfig = omega_conf_to_dataclass(
            model_config, dataclass_type=HFModelConfig
        )
        self.options = ServerOptions(**(self.config.engine_kwargs.get(ENGINE_KEY) or {}))
        self.replica_rank = replica_rank
        self.global_steps: int | None = None
        self._threads = self.options.num_threads or threads_per_process(replicas)
        self._open = asyncio.Event()
        self._open.set()
        self._rejecting = False
        self._copies: Counter[bytes] = Counter()
        self._loop: DecodeLoop | None = None

    async def launch_server(self) -> None:
        """Load the model and start decoding."""
        # One thread here: a second OpenMP pool beside the decoding thread's would make libgomp's
        # threads sleep instead of spin between the many short operations of a decoding step.
        torch.set_num_threads(1)
        model_config, tokenizer = self.model_config, self.model_config.tokenizer
        model = RolloutModel.load(
            str(model_config.local_path),
            dtype=PrecisionType.to_dtype(self.config.dtype),
            eos_ids=eos_token_ids(model_config),
            vocab_size=None if tokenizer is None else len(tokenizer),
            trust_remote_code=model_config.trust_remote_code,
            pack=self.options.pack_weights,
        )
        context = model.config.get_text_config().max_position_embeddings
        decoder = Decoder(
            model,
            DecoderLimits(
                rows=self.config.max_num_seqs,
                positions=min(self.config.max_model_len or context, context),
                cache_bytes=int(self.options.kv_cache_gb * 2**30),
                prefill_tokens=self.options.prefill_tokens,
                prefix_bytes=int(self.options.prefix_cache_gb * 2**30),
            ),
            logprobs_mode=self.config.logprobs_mode or "processed_logprobs",
            decode_text=None if tokenizer is None else tokenizer.decode,
        )
        self._positions = decoder.limits.positions
        self._loop = DecodeLoop(decoder, self._threads, self.options.window_ms / 1000)

    async def generate(
        self,
        prompt_ids: list[int],
        sampling_params: dict[str, Any],
        request_id: str,
        image_data: Any = None,
        video_data: Any = None,
        audio_data: Any = None,
        mm_processor_kwargs: dict[str, Any] | None = None,
        mm_processor_output: Any = None,
        priority: int = 0,
    ) -> TokenOutput:
        """Token ids in, token ids out; a stop token is part of the output.

        Raises:
            SamplingError, PromptError: the request cannot be served as asked.
            ValueError: images, video or audio.
        """
        if any(data is not None for data in (image_data, video_data, audio_data)):
            raise ValueError("the transformers rollout serves text only: use rollout.name=vllm")
        while not self._open.is_set():
            if self._rejecting:
                return self._output([], None, ABORTED)
            await self._open.wait()
        request = self._request(prompt_ids, sampling_params, request_id)
        done = await self._running.generate(request)
        log_probs = done.log_probs if done.params.logprobs else None
        return self._output(done.tokens, log_probs, done.stop_reason)

    def _request(
        self, prompt_ids: list[int], sampling_params: dict[str, Any], request_id: str
    ) -> Request:
        prompt = tuple(int(i) for i in prompt_ids)
        given = {"ignore_eos": self.config.ignore_eos, **sampling_params}
        # verl's own default when the caller names no limit (see its vLLM server).
        default = min(
            self.config.response_length,
            self.config.prompt_length + self.config.response_length - len(prompt),
        )
        room = max(1, self._positions - len(prompt))
        named = "max_tokens" in given or "max_new_tokens" in given
        params = SamplingParams.parse(given, room if named else max(1, min(default, room)))
        seed = self._default_seed(prompt) if params.seed is None else params.seed
        return Request(request_id, prompt, params, seed)

    def _default_seed(self, prompt: tuple[int, ...]) -> int:
        """A seed from what is being asked rather than from when it arrived.

        The n-th request for one prompt under one version of the weights gets the n-th stream, so a
        repeated run draws the same responses in whatever order its requests come in.
        """
        digest = hashlib.blake2b(np.asarray(prompt, dtype=np.int64).tobytes(), digest_size=8)
        copy = self._copies[digest.digest()]
        self._copies[digest.digest()] += 1
        parts = (self.config.seed, self.replica_rank, self.global_steps or 0, copy)
        digest.update(np.asarray(parts, dtype=np.int64).tobytes())
        return int.from_bytes(digest.digest(), "little")

    def _output(
        self, tokens: list[int], log_probs: list[float] | None, stop_reason: str | None
    ) -> TokenOutput:
        return TokenOutput(
            token_ids=tokens,
            log_probs=log_probs,
            stop_reason=stop_reason,
            extra_fields={"global_steps": self.global_steps},
        )

    @property
    def _running(self) -> DecodeLoop:
        if self._loop is None:
            raise RuntimeError("the rollout server was asked to work before launch_server()")
        return self._loop

    # -- weights -------------------------------------------------------------------------------

    async def load_bucket(self, bucket: np.ndarray, manifest: list[tuple[str, list[int], int]]):
        """Load weights from one flat byte buffer, which Ray hands over without a copy.

        ``manifest`` lists ``(name, shape, byte offset)``; the elements have the rollout's dtype.
        """
        dtype = PrecisionType.to_dtype(self.config.dtype)
        # torch warns about read-only arrays; these are only read.
        flat = torch.frombuffer(bucket.data, dtype=torch.uint8)

        def load(decoder: Decoder) -> None:
            torch_views = []
            for name, shape, offset in manifest:
                size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
                torch_views.append((name, flat[offset : offset + size].view(dtype).view(shape)))
            decoder.load_weights(torch_views)

        await self._running.call(load)

    async def set_global_steps(self, global_steps: int) -> None:
        """Name the version of the weights; default seeds start over with it."""
        self.global_steps = global_steps
        self._copies.clear()

    # -- pausing -------------------------------------------------------------------------------

    async def abort_all_requests(
        self, reset_prefix_cache: bool = True, reject_request: bool = False
    ) -> dict[str, Any]:
        """Abort what runs; later requests wait, or are rejected, until they are admitted again."""
        self._open.clear()
        self._rejecting = reject_request
        aborted = await self._running.abort()
        if reset_prefix_cache:
            await self.clear_kv_cache()
        return {"aborted_count": len(aborted), "request_ids": aborted}

    async def abort_request(self, request_id: str) -> dict[str, Any]:
        """Abort one request; its caller gets the tokens generated so far."""
        aborted = await self._running.abort([request_id])
        return {"aborted": bool(aborted), "request_id": request_id}

    async def resume_generation(self) -> None:
        """Admit requests again."""
        self._rejecting = False
        self._open.set()

    async def wait_for_requests_to_drain(self) -> None:
        """Return once nothing waits and nothing decodes."""
        while not await self._running.call(lambda decoder: decoder.idle):
            await asyncio.sleep(0.01)

    # -- memory --------------------------------------------------------------------------------

    async def sleep(self) -> None:
        """Free the cache of keys and values; weights in main memory have nowhere to go."""
        await self._running.call(lambda decoder: decoder.release_cache())

    async def release_kv_cache(self) -> None:
        """Same as :meth:`sleep`."""
        await self.sleep()

    async def wake_up(self, tags: list[str] | None = None) -> None:
        """Nothing to restore: the cache grows on demand."""

    async def resume_kv_cache(self) -> None:
        """Nothing to restore: the cache grows on demand."""

    async def clear_kv_cache(self) -> None:
        """Drop the keys and values that are kept of finished rows."""
        await self._running.call(lambda decoder: decoder.forget())

    async def start_profile(self, **kwargs: Any) -> None:
        """The server has no profiler of its own."""

    async def stop_profile(self) -> None:
        """The server has no profiler of its own."""

    async def stats(self) -> dict[str, int]:
        """Tokens generated and prompt tokens computed since the start."""

        def read(decoder: Decoder) -> dict[str, int]:
            return {
                "generated_tokens": decoder.generated_tokens,
                "prefilled_tokens": decoder.prefilled_tokens,
                "reused_tokens": decoder.reused_tokens,
            }

        return await self._running.call(read)


def eos_token_ids(model_config: HFModelConfig) -> set[int]:
    """Stop tokens of a model: the tokenizer's and those of its generation configuration."""
    ids: set[int] = set()
    if model_config.tokenizer is not None and model_config.tokenizer.eos_token_id is not None:
        ids.add(model_config.tokenizer.eos_token_id)
    configured = getattr(model_config.generation_config, "eos_token_id", None)
    if configured is not None:
        ids.update([configured] if isinstance(configured, int) else configured)
    return ids


class TransformersReplica(RolloutReplica):
    """One replica per training rank: a :class:`TransformersServer` on that rank's node."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.world_size != 1:
            raise ValueError(
                "the transformers rollout runs one replica per rank: set "
                "actor_rollout_ref.rollout.tensor_model_parallel_size=1, data_parallel_size=1 and "
                f"pipeline_model_parallel_size=1 (their product is {self.world_size})"
            )

    async def launch_servers(self) -> None:
        """Start the server actor next to its worker and wait until it can serve."""
        worker = self.workers[0]
        node_id, replicas = await worker.__ray_call__.remote(_node_and_local_ranks)
        kind = "reward_" if self.is_reward_model else "teacher_" if self.is_teacher_model else ""
        name = f"{server_name(str(self.config.name), kind, self.replica_rank)}{self.name_suffix}"
        server = (
            ray.remote(TransformersServer)
            .options(
                scheduling_strategy=NodeAffinitySchedulingStrategy(node_id=node_id, soft=False),
                name=name,
                max_concurrency=self.max_concurrency,
            )
            .remote(self.config, self.model_config, self.replica_rank, replicas)
        )
        await server.launch_server.remote()
        self.servers = [server]
        self._server_handle = server
        self._server_address = name  # there is no HTTP server; verl uses this as the server's key

    async def abort_request(self, request_id: str) -> dict[str, Any]:
        """Abort one request on this replica."""
        return await self._server_handle.abort_request.remote(request_id)


def server_name(rollout: str, kind: str, replica_rank: int) -> str:
    """Ray name under which the worker side finds the server."""
    return f"{rollout}_server_{kind}{replica_rank}_0"


def _node_and_local_ranks(_worker: Any) -> tuple[str, int]:
    import os

    return ray.get_runtime_context().get_node_id(), int(os.environ.get("RAY_LOCAL_WORLD_SIZE", "1"))
