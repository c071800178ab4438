"""A worker around a tiny real model, without Ray: what the runtime tests train."""

from __future__ import annotations

import os
import socket
from typing import Any

os.environ.setdefault("VERL_PLATFORM", "cpu")

import torch
from tensordict import TensorDict


def free_port() -> str:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return str(sock.getsockname()[1])


def rank_environment(rank: int, world_size: int, port: str) -> None:
    os.environ.update(
        RANK=str(rank), WORLD_SIZE=str(world_size), LOCAL_RANK="0", LOCAL_WORLD_SIZE="1",
        MASTER_ADDR="127.0.0.1", MASTER_PORT=port, DIST_INIT_METHOD=f"tcp://127.0.0.1:{port}",
        VERL_PI_CPU_THREADS="1",
    )  # fmt: skip


def make_worker(
    model_path: str,
    *,
    remove_padding: bool = False,
    checkpointing: bool = False,
    lora_rank: int = 0,
    precision: str = "fp32",
    optimiser: dict[str, Any] | None = None,
    **engine: Any,
) -> Any:
    """A ``PrivilegedTrainingWorker`` on this process's rank.

    Args:
        model_path: a folder of ``save_model``.
        remove_padding: pack the rows of a micro-batch instead of padding them.
        checkpointing: recompute activations in the backward pass.
        lora_rank: rank of adapters on all linear layers; 0 trains the whole model.
        precision: of the computation; the parameters are float32.
        optimiser: settings over ``FSDPOptimizerConfig`` with AdamW at 1e-2.
        engine: settings over ``FSDPEngineConfig``; the micro-batch budget counts for both passes.
    """
    from verl.trainer.config import CheckpointConfig
    from verl.workers.config import (
        FSDPEngineConfig,
        FSDPOptimizerConfig,
        HFModelConfig,
        TrainingWorkerConfig,
    )

    from algorithms.runtime.engine import term_loss
    from algorithms.runtime.worker import PrivilegedTrainingWorker

    dtypes = {"param_dtype": precision, "reduce_dtype": "fp32", "buffer_dtype": "fp32"}
    defaults = {"max_token_len_per_gpu": 1024, "use_dynamic_bsz": True, "model_dtype": "fp32"}
    engine = {**defaults, **engine}
    worker = PrivilegedTrainingWorker(
        TrainingWorkerConfig(
            model_type="language_model",
            model_config=HFModelConfig(
                path=model_path,
                use_remove_padding=remove_padding,
                enable_gradient_checkpointing=checkpointing,
                lora_rank=lora_rank,
                override_config={"attn_implementation": "packed_sdpa"},
            ),
            engine_config=FSDPEngineConfig(
                strategy="fsdp2",
                mixed_precision=dtypes,
                use_torch_compile=False,
                infer_max_token_len_per_gpu=engine["max_token_len_per_gpu"],
                infer_micro_batch_size_per_gpu=1,
                **engine,
            ),
            optimizer_config=FSDPOptimizerConfig(
                **{"lr": 1e-2, "weight_decay": 0.0, "clip_grad": 1e9, **(optimiser or {})}
            ),
            checkpoint_config=CheckpointConfig(),
        )
    )
    worker.reset()
    worker.set_loss_fn(term_loss)
    return worker


def make_batch(
    rows: list[dict[str, Any]], *, temperature: float = 1.0, **settings: Any
) -> TensorDict:
    """Rows of {prompt, reference, response, mask, weights, advantage, old} as the trainer sends.

    ``prompt`` is the student's and ``reference`` the teacher's. ``weights`` are those of policy
    gradient, distill and nll in the student's view, ``teacher_weights`` in the teacher's;
    ``settings`` are ``LossSettings``'.
    """
    from verl.utils import tensordict_utils as tu

    def jagged(values: list[torch.Tensor]) -> torch.Tensor:
        return torch.nested.as_nested_tensor(values, layout=torch.jagged)

    def tensor(key: str, dtype: torch.dtype) -> list[torch.Tensor]:
        return [torch.tensor(row[key], dtype=dtype) for row in rows]

    prompts, responses = tensor("prompt", torch.int64), tensor("response", torch.int64)
    references = tensor("reference", torch.int64)
    inputs = [torch.cat(pair) for pair in zip(prompts, responses, strict=True)]
    reference_inputs = [torch.cat(pair) for pair in zip(references, responses, strict=True)]
    masks = jagged(tensor("mask", torch.int64))
    fields = {
        "prompts": jagged(prompts),
        "responses": jagged(responses),
        "response_mask": masks,
        "loss_mask": masks,
        "input_ids": jagged(inputs),
        "position_ids": jagged([torch.arange(len(x)) for x in inputs]),
        "teacher_input_ids": jagged(reference_inputs),
        "sampled_view": torch.tensor([row.get("sampled_view", 0) for row in rows]),
        "has_privileged": torch.tensor([bool(row["weights"][1]) for row in rows]),
        "term_weights": torch.tensor(
            [[*row["weights"], *row.get("teacher_weights", (0.0, 0.0, 0.0))] for row in rows],
            dtype=torch.float32,
        ),
        "advantages": jagged(
            [torch.full((len(row["response"]),), float(row.get("advantage", 0.0))) for row in rows]
        ),
        "old_log_probs": jagged(
            [torch.tensor(row.get("old", [0.0] * len(row["response"]))) for row in rows]
        ),
    }
    batch = TensorDict(fields, batch_size=len(rows))
    tu.assign_non_tensor(batch, temperature=temperature, loss_settings=settings, pad_token_id=0)
    return batch
