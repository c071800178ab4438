"""Worker side of the ``transformers`` rollout: sends the trained weights to the replica's server.

verl hands over full tensors one by one (gathered from their FSDP2 shards on every rank). They are
cast to the rollout's dtype and packed into byte buffers of at most
``checkpoint_engine.update_weights_bucket_megabytes``, which travel through Ray's shared-memory
object store: the server reads them in place, and Ray frees them even when a process is killed.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np
import ray
import torch
from verl.utils.torch_dtypes import PrecisionType
from verl.workers.rollout.base import BaseRollout
from verl.workers.rollout.utils import ensure_async_iterator

from algorithms.runtime.cpu.server import server_name

if TYPE_CHECKING:
    from collections.abc import Generator

_ALIGNMENT = 64  # bytes; a cache line, and a multiple of every element size
_LARGEST_BUCKET_MB = 256  # verl's default of 2048 would not fit a small object store


class TransformersRollout(BaseRollout):
    """verl's rollout adapter; ``generate`` goes straight to the server, not through here."""

    def __init__(
        self, config: Any, model_config: Any, device_mesh: Any, replica_rank: int = -1
    ) -> None:
        super().__init__(config, model_config, device_mesh)
        rank = int(os.environ["RANK"]) if replica_rank == -1 else replica_rank
        self._server_name = server_name(str(self.config.name), "", rank)
        self._server: Any = None
        self._dtype = PrecisionType.to_dtype(self.config.dtype)
        megabytes = self.config.checkpoint_engine.update_weights_bucket_megabytes
        self._bucket_bytes = min(megabytes, _LARGEST_BUCKET_MB) << 20

    @property
    def server(self) -> Any:
        """The replica's server actor, which starts after this worker."""
        if self._server is None:
            self._server = ray.get_actor(self._server_name)
        return self._server

    async def resume(self, tags: list[str]) -> None:
        """Called before and after an update; the server needs no waking."""
        await self.server.wake_up.remote(tags)

    async def release(self) -> None:
        """Free the server's cache of keys and values."""
        await self.server.sleep.remote()

    @torch.no_grad()
    async def update_weights(
        self,
        weights: Generator[tuple[str, torch.Tensor], None, None],
        wire_format: str = "named_tensors",
        global_steps: int | None = None,
        peft_config: Any = None,
        **kwargs: Any,
    ) -> None:
        """Send every weight to the server and name the version.

        Raises:
            ValueError: a delta update, or LoRA adapters that are not merged.
        """
        if wire_format != "named_tensors":
            raise ValueError(f"the transformers rollout takes full tensors, got {wire_format!r}")
        if peft_config is not None:
            raise ValueError(
                "the transformers rollout takes merged weights: set "
                "actor_rollout_ref.model.lora.merge=True"
            )
        bucket = _Bucket(self._bucket_bytes, self._dtype)
        async for name, tensor in ensure_async_iterator(weights):
            if not bucket.fits(tensor):
                await self._send(bucket)
            bucket.add(name, tensor)
        await self._send(bucket)
        if global_steps is not None:
            await self.server.set_global_steps.remote(global_steps)

    async def _send(self, bucket: _Bucket) -> None:
        if not bucket.manifest:
            return
        reference = ray.put(bucket.content())
        await self.server.load_bucket.remote(reference, bucket.manifest)
        bucket.clear()


class _Bucket:
    """Weights of one message: a byte buffer and where each weight lies in it."""

    def __init__(self, limit: int, dtype: torch.dtype) -> None:
        self._limit = limit
        self._dtype = dtype
        self._buffer = np.empty(0, dtype=np.uint8)
        self.clear()

    def clear(self) -> None:
        self.manifest: list[tuple[str, list[int], int]] = []
        self._used = 0

    def fits(self, tensor: torch.Tensor) -> bool:
        """True when the weight fits, or the bucket is empty (a large weight travels alone)."""
        return not self.manifest or self._used + self._size(tensor) <= self._limit

    def add(self, name: str, tensor: torch.Tensor) -> None:
        size = self._size(tensor)
        if self._used + size > self._buffer.size:
            grown = np.empty(max(size, self._limit), dtype=np.uint8)
            grown[: self._used] = self._buffer[: self._used]
            self._buffer = grown
        place = torch.from_numpy(self._buffer[self._used : self._used + size])
        place[: tensor.numel() * self._dtype.itemsize].view(self._dtype).view(tensor.shape).copy_(
            tensor
        )
        self.manifest.append((name, list(tensor.shape), self._used))
        self._used += size

    def content(self) -> np.ndarray:
        return self._buffer[: self._used]

    def _size(self, tensor: torch.Tensor) -> int:
        exact = tensor.numel() * self._dtype.itemsize
        return -(-exact // _ALIGNMENT) * _ALIGNMENT
