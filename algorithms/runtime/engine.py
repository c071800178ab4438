"""verl's FSDP engine with the term forward: its own batching, sharding and optimiser, but the
model is asked for losses or hidden states instead of logits.

A micro-batch without ``term_mode`` takes verl's stock path untouched.
"""

from __future__ import annotations

from typing import Any

import torch
from tensordict import TensorDict
from torch import Tensor
from verl.utils import tensordict_utils as tu
from verl.utils.metric import AggregationType, Metric

from algorithms.approximations import SAMPLED
from algorithms.base import VIEWS, LossSettings
from algorithms.runtime.shared_prompts import LAYOUT, SharedPrompts
from algorithms.runtime.term_forward import bind
from algorithms.runtime.term_requests import (
    PREFIX,
    HiddenRequest,
    LossRequest,
    MeasureRequest,
    TermTokens,
)
from algorithms.terms import TERMS

# The model type under which the engines are registered with verl, beside verl's own.
MODEL_TYPE = "language_model_with_terms"

# Sums that the distill term returns, and the metric that each is the token mean of.
DIVERGENCE = {"distill/divergence_sum": "distill/kl"}
ENTROPY = {"distill/entropy_sum": "entropy"}
BOTH_KLS = {
    "distill/kl_own_sum": "distill/kl_own_other",
    "distill/kl_other_sum": "distill/kl_other_own",
}
IMPORTANCE = {
    "distill/ratio_sum": "distill/ratio",
    "distill/ratio_squared_sum": "distill/ratio_squared",
}


def distill_metrics(kind: str, settings: LossSettings) -> dict[str, str]:
    """Which of these sums a distill term of this kind returns."""
    found = dict(DIVERGENCE)
    if kind in SAMPLED:
        found |= ENTROPY
    elif settings.support == "full":
        found |= ENTROPY | BOTH_KLS
    return found | (IMPORTANCE if settings.max_importance_ratio is not None else {})


def generated_tokens(
    micro_batch: TensorDict, row_starts_B: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Where the generated tokens of a jagged micro-batch are predicted.

    Args:
        micro_batch: jagged ``input_ids``, ``responses``, ``response_mask``.
        row_starts_B: where each row starts in the flattened model input.

    Returns:
        ``positions_T`` (flat index of the hidden state that predicts the token), ``rows_T`` (its
        row) and ``token_ids_T``, for every token with a response mask of 1, row by row.
    """
    offsets = micro_batch["responses"].offsets()
    lengths_B = offsets.diff()
    prompt_lengths_B = micro_batch["input_ids"].offsets().diff() - lengths_B
    rows = torch.repeat_interleave(torch.arange(len(lengths_B), device=offsets.device), lengths_B)
    within_response = torch.arange(int(offsets[-1]), device=offsets.device) - offsets[:-1][rows]
    positions = row_starts_B[rows] + prompt_lengths_B[rows] - 1 + within_response
    selected = micro_batch["response_mask"].values().bool()
    token_ids = micro_batch["responses"].values()
    return positions[selected], rows[selected], token_ids[selected]


class TermEngineMixin:
    """Put before an ``FSDPEngineWithLMHead`` in the bases."""

    captured_head_VH: Tensor | None = None
    # Whether the model's attention reads the layout of rows that share their prompts.
    attends_shared_prompts = False

    def _build_module(self) -> torch.nn.Module:
        # verl's engines know their own model types only; ours differs in the forward alone.
        self.model_config.model_type = "language_model"  # type: ignore[attr-defined]
        module = super()._build_module()  # type: ignore[misc]
        bind(module)
        return module

    def prepare_model_inputs(
        self, micro_batch: TensorDict
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        model_inputs, output_args = super().prepare_model_inputs(micro_batch)  # type: ignore[misc]
        mode = tu.get_non_tensor_data(micro_batch, "term_mode", None)
        if mode is None:
            return model_inputs, output_args
        if self.use_ulysses_sp:  # type: ignore[attr-defined]
            raise ValueError(
                "the exact divergence does not run under Ulysses sequence parallelism: set "
                "actor_rollout_ref.actor.fsdp_config.ulysses_sequence_parallel_size=1"
            )
        positions_T, rows_T, ids_T = generated_tokens(
            micro_batch, _row_starts(micro_batch, model_inputs["input_ids"])
        )
        if self.attends_shared_prompts:
            positions_T = _share_prompts(micro_batch, model_inputs, positions_T)
        output_args["term_mode"] = mode
        if mode == "loss":
            request: Any = _loss_request(micro_batch, positions_T, rows_T, ids_T)
        else:
            wanted_T = micro_batch["term_weights"][rows_T, TERMS.index("distill")] > 0
            output_args["rows"] = rows_T[wanted_T]
            if mode == "hidden":
                with_head = tu.get_non_tensor_data(micro_batch, "with_head", False)
                request = HiddenRequest(
                    positions_T[wanted_T], with_head=with_head and self.captured_head_VH is None
                )
            else:
                request = _measure_request(micro_batch, positions_T[wanted_T], ids_T[wanted_T])
        model_inputs["term_request"] = request
        return model_inputs, output_args

    def prepare_model_outputs(
        self, output: Any, output_args: dict, micro_batch: TensorDict, logits_processor_func: Any
    ) -> dict[str, Any]:
        mode = output_args.get("term_mode")
        if mode is None:
            return super().prepare_model_outputs(  # type: ignore[misc]
                output, output_args, micro_batch, logits_processor_func
            )
        if mode == "loss":
            return {"loss": output["loss"], "metrics": output["metrics"]}
        if "head" in output:
            self.captured_head_VH = output["head"]
        name = "hidden" if mode == "hidden" else "token_kl"
        counts = torch.bincount(output_args["rows"], minlength=micro_batch.batch_size[0])
        rows = list(output[name].split(counts.tolist()))
        return {name: torch.nested.as_nested_tensor(rows, layout=torch.jagged)}


def _share_prompts(
    micro_batch: TensorDict, model_inputs: dict[str, Any], positions_T: Tensor
) -> Tensor:
    """Keep each prompt of a packed micro-batch once, in ``model_inputs``: the new positions."""
    rows = micro_batch["input_ids"]
    if model_inputs["input_ids"].shape != (1, rows.offsets()[-1]):
        return positions_T  # padded
    layout = SharedPrompts.of(rows, micro_batch["responses"].offsets().diff().tolist())
    if layout is None:
        return positions_T
    for name in ("input_ids", "position_ids"):
        model_inputs[name] = model_inputs[name].index_select(-1, layout.kept_U)
    model_inputs[LAYOUT] = layout
    return layout.places_F[positions_T]


def _row_starts(micro_batch: TensorDict, input_ids: Tensor) -> Tensor:
    rows = micro_batch.batch_size[0]
    if tu.get_non_tensor_data(micro_batch, "use_remove_padding", True):
        return micro_batch["input_ids"].offsets()[:-1]
    return torch.arange(rows, device=input_ids.device) * input_ids.shape[1]


def _loss_request(
    micro_batch: TensorDict, positions_T: Tensor, rows_T: Tensor, ids_T: Tensor
) -> LossRequest:
    settings = LossSettings(**tu.get_non_tensor_data(micro_batch, "loss_settings", {}))
    scale = float(tu.get_non_tensor_data(micro_batch, "dp_size", 1))
    weights_T3 = _token_weights(micro_batch, rows_T, settings.normalisation) * scale
    selected = micro_batch["response_mask"].values().bool()

    def of_tokens(key: str) -> Tensor | None:
        return micro_batch[key].values()[selected].float() if key in micro_batch.keys() else None  # noqa: SIM118

    advantage_T = of_tokens("advantages")
    counts = tu.get_non_tensor_data(micro_batch, "term_counts", {})
    distills = any(of_view["distill"]["tokens"] for of_view in counts.values())
    tokens = TermTokens(
        token_ids_T=ids_T,
        view_T=micro_batch["view"][rows_T],
        policy_gradient_T=weights_T3[:, 0],
        distill_T=weights_T3[:, 1],
        nll_T=weights_T3[:, 2],
        advantage_T=advantage_T if advantage_T is not None else torch.zeros_like(weights_T3[:, 0]),
        old_log_prob_T=of_tokens("old_log_probs"),
        reference_hidden_DH=(micro_batch["reference_hidden"].values() if distills else None),
        reference_head_VH=tu.get_non_tensor_data(micro_batch, "reference_head", None),
    )
    temperature = float(micro_batch["temperature"])
    return LossRequest(positions_T, tokens, settings, temperature)


def _measure_request(micro_batch: TensorDict, positions_D: Tensor, ids_D: Tensor) -> MeasureRequest:
    settings = LossSettings(**tu.get_non_tensor_data(micro_batch, "loss_settings", {}))
    return MeasureRequest(
        positions_D,
        token_ids_D=ids_D,
        reference_hidden_DH=micro_batch["reference_hidden"].values(),
        reference_head_VH=tu.get_non_tensor_data(micro_batch, "reference_head", None),
        temperature=settings.divergence_temperature,
        estimator=tu.get_non_tensor_data(micro_batch, "kl_estimator", "exact"),
    )


def _token_weights(micro_batch: TensorDict, rows_T: Tensor, normalisation: str) -> Tensor:
    """[T, 3]: each term's weight divided by that term's count, in that view, over the batch."""
    counts = tu.get_non_tensor_data(micro_batch, "term_counts", {})
    weights_T3 = micro_batch["term_weights"][rows_T].float()
    unit = "norm_tokens" if normalisation == "token_mean" else "norm_rows"
    norm_23 = torch.tensor([[max(counts[v][t][unit], 1) for t in TERMS] for v in VIEWS])
    weights_T3 = weights_T3 / norm_23.to(weights_T3)[micro_batch["view"][rows_T]]
    if normalisation == "token_mean":
        return weights_T3
    tokens_B = torch.bincount(rows_T, minlength=micro_batch.batch_size[0]).clamp(min=1)
    return weights_T3 / tokens_B[rows_T].unsqueeze(1)


def term_loss(model_output: dict, data: TensorDict, dp_group: Any = None) -> tuple[Tensor, dict]:
    """The loss function given to verl's engine: the loss is there already, metrics are named.

    Every rank and micro-batch reports the same names, since verl gathers them by name; sums over
    micro-batches and means over ranks make each one a mean over the global batch. The student's
    view has no prefix, the teacher's has ``teacher/``.
    """
    raw = model_output.pop("metrics")
    counts = tu.get_non_tensor_data(data, "term_counts", {})
    scale = float(tu.get_non_tensor_data(data, "dp_size", 1))
    metrics: dict[str, Metric] = {}

    def put(name: str, key: str, divisor: float) -> None:
        value = float(raw.get(key, 0.0)) * scale / max(divisor, 1.0)
        metrics[name] = Metric(AggregationType.SUM, value)

    settings = LossSettings(**tu.get_non_tensor_data(data, "loss_settings", {}))
    kinds = (settings.divergence, settings.teacher_divergence)
    for (view, of_view), kind in zip(counts.items(), kinds, strict=True):
        prefix = PREFIX[view]
        tokens = {term: of_view[term]["tokens"] for term in TERMS}
        for term in TERMS:
            if tokens[term]:
                # The loss already carries the normaliser and the data-parallel size.
                put(f"{prefix}{term}/loss", f"{prefix}{term}/loss", scale)
        if tokens["distill"]:
            for key, name in distill_metrics(kind, settings).items():
                put(f"{prefix}{name}", f"{prefix}{key}", tokens["distill"])
        sampled = max(tokens["policy_gradient"], tokens["nll"])
        if sampled:
            name = "sampled/entropy" if tokens["distill"] else "entropy"
            put(prefix + name, f"{prefix}sampled/entropy_sum", sampled)
        if tokens["policy_gradient"]:
            for key in ("ratio", "ratio_squared", "clipped_low", "clipped_high", "approx_kl"):
                name = f"{prefix}policy_gradient/{key}"
                put(name, f"{name}_sum", tokens["policy_gradient"])
    # What is left in the model output is detached and stored by verl: nothing.
    return model_output.pop("loss"), metrics
