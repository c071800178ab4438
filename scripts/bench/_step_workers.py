"""Workers and batches of scripts/bench/step.py: ours and verl's own, on one rank without Ray."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from typing import Any

os.environ.setdefault("VERL_PLATFORM", "cuda" if os.environ.get("BENCH_CUDA") else "cpu")

import torch
from tensordict import TensorDict
from verl.utils import tensordict_utils as tu
from verl.workers.utils.padding import left_right_2_no_padding, no_padding_2_padding


@dataclass(frozen=True)
class Sizes:
    """Rows of a step, how many of them answer the same prompt, and tokens of prompt, privileged
    information and response of a row."""

    rows: int
    samples: int
    prompt: int
    privileged: int
    response: int
    micro_batch: int


@dataclass(frozen=True)
class Rows:
    """Random tokens; responses have between half and all of the length allowed."""

    prompts: list[torch.Tensor]
    privileged: list[torch.Tensor]
    responses: list[torch.Tensor]

    @classmethod
    def make(cls, sizes: Sizes, vocab: int) -> Rows:
        generator = torch.Generator().manual_seed(0)

        def ids(count: int) -> torch.Tensor:
            return torch.randint(10, vocab, (count,), generator=generator)

        lengths = torch.randint(
            sizes.response // 2, sizes.response + 1, (sizes.rows,), generator=generator
        )

        def of_tasks(count: int) -> list[torch.Tensor]:
            tasks = [ids(count) for _ in range(-(-sizes.rows // sizes.samples))]
            return [tasks[row // sizes.samples] for row in range(sizes.rows)]

        return cls(
            of_tasks(sizes.prompt), of_tasks(sizes.privileged), [ids(int(n)) for n in lengths]
        )


def one_rank() -> None:
    """The environment of a run on a single rank."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    os.environ.update(
        RANK="0", WORLD_SIZE="1", LOCAL_RANK="0", LOCAL_WORLD_SIZE="1", MASTER_ADDR="127.0.0.1",
        MASTER_PORT=str(port), DIST_INIT_METHOD=f"tcp://127.0.0.1:{port}",
    )  # fmt: skip


def worker(model: str, sizes: Sizes, *, ours: bool, forward_only: bool = False) -> Any:
    """A training worker of ours or of verl, in bfloat16 over float32 parameters."""
    from verl.trainer.config import CheckpointConfig
    from verl.workers.config import (
        FSDPEngineConfig,
        FSDPOptimizerConfig,
        HFModelConfig,
        TrainingWorkerConfig,
    )
    from verl.workers.engine_workers import TrainingWorker

    from algorithms.runtime.engine import term_loss
    from algorithms.runtime.worker import PrivilegedTrainingWorker

    kind: Any = PrivilegedTrainingWorker if ours else TrainingWorker
    attention = {}
    if os.environ["VERL_PLATFORM"] == "cpu":
        from algorithms.runtime.cpu.engine import CpuTrainingWorker, install_training_backend

        install_training_backend()
        kind = kind if ours else CpuTrainingWorker
        attention = {"override_config": {"attn_implementation": "packed_sdpa"}}
    made = kind(
        TrainingWorkerConfig(
            model_type="language_model",
            model_config=HFModelConfig(
                path=model,
                use_remove_padding=True,
                enable_gradient_checkpointing=False,
                **attention,
            ),
            engine_config=FSDPEngineConfig(
                strategy="fsdp2",
                forward_only=forward_only,
                mixed_precision={
                    "param_dtype": "bf16", "reduce_dtype": "fp32", "buffer_dtype": "fp32"
                },
                model_dtype="fp32",
                use_torch_compile=False,
                use_dynamic_bsz=True,
                max_token_len_per_gpu=sizes.micro_batch,
                infer_max_token_len_per_gpu=sizes.micro_batch,
                infer_micro_batch_size_per_gpu=1,
            ),
            optimizer_config=FSDPOptimizerConfig(lr=1e-6),
            checkpoint_config=CheckpointConfig(),
        )
    )  # fmt: skip
    made.reset()
    made.set_loss_fn(term_loss if ours else _grpo_loss(sizes))
    return made


def _grpo_loss(sizes: Sizes) -> Any:
    """verl's clipped policy loss with its KL toward the reference."""
    from functools import partial

    from verl.workers.config import FSDPActorConfig
    from verl.workers.utils.losses import ppo_loss

    config = FSDPActorConfig(
        strategy="fsdp2",
        ppo_mini_batch_size=sizes.rows,
        use_dynamic_bsz=True,
        use_kl_loss=True,
        kl_loss_coef=0.001,
        kl_loss_type="low_var_kl",
        rollout_n=1,
    )
    return partial(ppo_loss, config)


def opsd_batch(rows: Rows, *, reward: bool) -> TensorDict:
    """What our trainer sends: every row distils, with ``reward`` it has an advantage as well."""

    def jagged(values: list[torch.Tensor]) -> torch.Tensor:
        return torch.nested.as_nested_tensor(values, layout=torch.jagged)

    pairs = list(zip(rows.prompts, rows.privileged, rows.responses, strict=True))
    inputs = [torch.cat([p, r]) for p, _, r in pairs]
    masks = jagged([torch.ones_like(r) for r in rows.responses])
    count = len(pairs)
    fields = {
        "prompts": jagged(rows.prompts),
        "responses": jagged(rows.responses),
        "response_mask": masks,
        "loss_mask": masks,
        "input_ids": jagged(inputs),
        "position_ids": jagged([torch.arange(len(x)) for x in inputs]),
        "teacher_input_ids": jagged([torch.cat(pair) for pair in pairs]),
        "sampled_view": torch.zeros(count, dtype=torch.long),
        "has_privileged": torch.ones(count, dtype=torch.bool),
        "term_weights": torch.tensor([[float(reward), 1.0, 0.0, 0.0, 0.0, 0.0]] * count),
        "advantages": jagged([torch.full((len(r),), 0.5) for r in rows.responses]),
        "old_log_probs": jagged([torch.full((len(r),), -10.0) for r in rows.responses]),
    }
    batch = TensorDict(fields, batch_size=count)
    tu.assign_non_tensor(
        batch, temperature=1.0, loss_settings={}, pad_token_id=0, mini_batch_size=count, epochs=1
    )
    return batch


def padded_batch(rows: Rows) -> TensorDict:
    """Prompts and responses as verl's trainer holds them, padded to one length."""
    count, most = len(rows.prompts), max(len(r) for r in rows.responses)
    responses = torch.zeros(count, most, dtype=torch.long)
    response_mask = torch.zeros(count, most, dtype=torch.long)
    for i, response in enumerate(rows.responses):
        responses[i, : len(response)], response_mask[i, : len(response)] = response, 1
    prompts = torch.stack(rows.prompts)
    attention = torch.cat([torch.ones_like(prompts), response_mask], 1)
    return TensorDict(
        {
            "prompts": prompts,
            "responses": responses,
            "response_mask": response_mask,
            "input_ids": torch.cat([prompts, responses], 1),
            "attention_mask": attention,
            "position_ids": (attention.cumsum(1) - 1).clamp(min=0),
        },
        batch_size=count,
    )


def log_probs(of: Any, rows: Rows) -> torch.Tensor:
    """verl's pass for old or reference log-probabilities, [rows, response]."""
    batch = left_right_2_no_padding(padded_batch(rows))
    tu.assign_non_tensor(batch, temperature=1.0, calculate_entropy=False, compute_loss=False)
    output = of.infer_batch(batch)
    return no_padding_2_padding(tu.get(output, "log_probs"), batch).float()


def grpo_batch(rows: Rows, old: torch.Tensor, reference: torch.Tensor) -> TensorDict:
    """What verl's trainer sends to update the actor."""
    padded = padded_batch(rows)
    padded["old_log_probs"], padded["ref_log_prob"] = old, reference
    padded["advantages"] = 0.5 * padded["response_mask"].float()
    batch, count = left_right_2_no_padding(padded), len(rows.prompts)
    tu.assign_non_tensor(
        batch, temperature=1.0, calculate_entropy=False, distillation_use_topk=False,
        distillation_only=False, global_batch_size=count, mini_batch_size=count, epochs=1, seed=0,
        dataloader_kwargs={"shuffle": False}, compute_loss=True,
    )  # fmt: skip
    return batch
