"""What runs inside vLLM's worker process: verl's extension with a weight update for the CPU.

On a CPU vLLM keeps linear weights packed for oneDNN and frees the originals, so verl's update,
which writes into the parameters, has nothing to write to. vLLM's layer-wise reload unpacks nothing:
it builds every layer's weights anew from what arrives, packs them and swaps them in.
"""

from __future__ import annotations

from typing import Any

import torch
from verl.workers.rollout.vllm_rollout.bucketed_weight_transfer import BucketedWeightReceiver
from verl.workers.rollout.vllm_rollout.utils import vLLMColocateWorkerExtension
from vllm.model_executor.layers.vocab_parallel_embedding import ParallelLMHead


class CpuWorkerExtension(vLLMColocateWorkerExtension):
    """Mixed into vLLM's worker; verl calls it through ``collective_rpc``."""

    def update_weights_from_ipc(
        self,
        peft_config: dict[str, Any] | None = None,
        base_sync_done: bool = False,
        use_shm: bool = False,
    ) -> None:
        """Receive the full weights from verl's sender and reload the model with them.

        They are loaded once all of them are here: the buffer they come in is overwritten by the
        next bucket, and an error while loading would leave the sender waiting for ever. So a second
        copy of the weights, in the type they are sent in, exists for the time of the update.
        """
        received: list[tuple[str, torch.Tensor]] = []

        def keep(bucket: list[tuple[str, torch.Tensor]], is_last: bool) -> None:
            received.extend((name, tensor.clone()) for name, tensor in bucket)

        BucketedWeightReceiver(
            zmq_handle=self._get_zmq_handle(), device=torch.device("cpu"), use_shm=use_shm
        ).receive_weights(on_bucket_received=keep)
        self.reload_weights(weights_iterator=iter(received))
        repack_output_heads(self.model_runner.get_model())


def repack_output_heads(model: torch.nn.Module) -> None:
    """Pack the output heads from their present weights.

    A head that is tied to the embedding has no weights of its own in what arrives. The reload
    updates the shared parameter but not the head's packed copy, with which logits are computed.
    """
    for module in model.modules():
        if isinstance(module, ParallelLMHead):
            module.quant_method.process_weights_after_loading(module)  # type: ignore[operator]
