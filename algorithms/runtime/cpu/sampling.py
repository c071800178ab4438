"""Sampling parameters and the vectorised sampler of the CPU rollout.

A row's token depends on its own logits and on one uniform number drawn for (request seed, token
index), never on the rows it shares a batch with. Tokens are drawn by inverting the cumulative
distribution, which needs one random number per row where the Gumbel trick needs one per entry.

Log-probs follow vLLM's ``logprobs_mode``, since verl compares them with the actor's:

* ``processed_logprobs`` (verl's default): of the distribution sampled from, after temperature and
  top-k/top-p. verl's actor divides its logits by the temperature too, so the two agree when no
  top-k/top-p is set. A greedy request (temperature 0) reports them at temperature 1, as vLLM does.
* ``raw_logprobs``: of the model's own distribution, before temperature and truncation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

LOGPROBS_MODES = ("processed_logprobs", "raw_logprobs")
_BLOCK = 256  # entries per block of the two-level cumulative sum
_TOP_P_CANDIDATES = 1024  # entries sorted before a full sort is tried

# Parameters of vLLM's SamplingParams that change nothing at these values.
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "n": (1,),
    "repetition_penalty": (1, 1.0),
    "presence_penalty": (0, 0.0),
    "frequency_penalty": (0, 0.0),
    "min_p": (0, 0.0),
    "prompt_logprobs": (None,),
    "logit_bias": (None,),
    "bad_words": (None, []),
    "skip_special_tokens": (True, False),
    "include_stop_str_in_output": (True, False),
    "detokenize": (True, False),
}


class SamplingError(ValueError):
    """A sampling parameter is out of range or not supported by the transformers rollout."""


@dataclass(frozen=True)
class SamplingParams:
    """What one request asks for. ``temperature`` 0 is greedy; ``top_k`` 0 keeps every token.

    ``seed`` None lets the server choose one. ``stop`` strings and stop tokens stay in the output,
    as verl trains on every sampled token.
    """

    max_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_tokens: int = 1
    seed: int | None = None
    stop: tuple[str, ...] = ()
    stop_token_ids: frozenset[int] = frozenset()
    ignore_eos: bool = False
    logprobs: bool = False

    def __post_init__(self) -> None:
        checks = (
            (self.max_tokens >= 1, f"max_tokens must be 1 or more, got {self.max_tokens}"),
            (self.temperature >= 0, f"temperature must be 0 or more, got {self.temperature}"),
            (0 < self.top_p <= 1, f"top_p must be in (0, 1], got {self.top_p}"),
            (self.top_k >= 0, f"top_k must be -1, 0 or positive, got {self.top_k}"),
            (self.min_tokens >= 0, f"min_tokens must be 0 or more, got {self.min_tokens}"),
        )
        for holds, message in checks:
            if not holds:
                raise SamplingError(message)

    @classmethod
    def parse(cls, given: Mapping[str, Any], max_tokens: int) -> SamplingParams:
        """Read verl's sampling dictionary (vLLM's names); ``max_tokens`` is the server's limit.

        Raises:
            SamplingError: a value out of range, or a parameter that this rollout does not apply.
        """
        rest = dict(given)
        asked = rest.pop("max_tokens", rest.pop("max_new_tokens", None))
        stop = rest.pop("stop", None) or ()
        top_k = rest.pop("top_k", 0)
        seed = rest.pop("seed", None)
        params = cls(
            max_tokens=max_tokens if asked is None else max(1, min(int(asked), max_tokens)),
            temperature=float(rest.pop("temperature", 1.0)),
            top_p=float(rest.pop("top_p", 1.0)),
            top_k=0 if top_k in (None, -1) else int(top_k),
            min_tokens=int(rest.pop("min_tokens", 1)),
            seed=None if seed is None else int(seed),
            stop=(stop,) if isinstance(stop, str) else tuple(stop),
            stop_token_ids=frozenset(int(i) for i in rest.pop("stop_token_ids", None) or ()),
            ignore_eos=bool(rest.pop("ignore_eos", False)),
            logprobs=bool(rest.pop("logprobs", False)),
        )
        for name, value in rest.items():
            if name not in _NEUTRAL or value not in _NEUTRAL[name]:
                raise SamplingError(
                    f"the transformers rollout does not apply {name}={value!r}: leave it out, or "
                    "use rollout.name=vllm"
                )
        return params


def uniforms(seed: int, count: int) -> np.ndarray:
    """``count`` numbers in [0, 1) for one request, from a counter-based generator keyed by seed."""
    return np.random.Generator(np.random.Philox(key=seed & (2**64 - 1))).random(count)


def sample(
    logits_BV: torch.Tensor,
    params_B: Sequence[SamplingParams],
    uniforms_B: Sequence[float],
    mode: str = "processed_logprobs",
) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw one token per row.

    Args:
        logits_BV: float logits; ``-inf`` entries are never drawn. Not modified.
        params_B: per-row parameters.
        uniforms_B: per-row number in [0, 1), ignored by greedy rows.
        mode: which log-prob to report, one of :data:`LOGPROBS_MODES`.

    Returns:
        ``(tokens_B, log_probs_B)``: int64 and float32.
    """
    if mode not in LOGPROBS_MODES:
        raise SamplingError(f"logprobs_mode must be one of {LOGPROBS_MODES}, got {mode!r}")
    raw_BV = logits_BV.float()
    scaled_BV = _apply_temperature(raw_BV, params_B)
    scaled_BV = _truncate(scaled_BV, params_B)
    peak_B = scaled_BV.amax(dim=-1, keepdim=True)
    weights_BV = (scaled_BV - peak_B).exp_()
    tokens_B, total_B = _invert_cdf(weights_BV, uniforms_B)
    greedy_B = torch.tensor([p.temperature == 0 for p in params_B])
    if bool(greedy_B.any()):
        tokens_B = torch.where(greedy_B, raw_BV.argmax(dim=-1), tokens_B)
    if mode == "raw_logprobs":
        chosen_B = raw_BV.gather(1, tokens_B[:, None]).squeeze(1)
        return tokens_B, chosen_B - torch.logsumexp(raw_BV, dim=-1)
    chosen_B = (scaled_BV.gather(1, tokens_B[:, None]) - peak_B).squeeze(1)
    return tokens_B, chosen_B - torch.log(total_B).float()


def _apply_temperature(raw_BV: torch.Tensor, params_B: Sequence[SamplingParams]) -> torch.Tensor:
    temperatures = [p.temperature or 1.0 for p in params_B]
    if all(t == 1.0 for t in temperatures):
        return raw_BV
    return raw_BV / torch.tensor(temperatures)[:, None]


def _truncate(scaled_BV: torch.Tensor, params_B: Sequence[SamplingParams]) -> torch.Tensor:
    """Set what top-k and top-p remove to ``-inf``; greedy rows are left alone, as in vLLM."""
    cut = [
        row for row, p in enumerate(params_B) if p.temperature > 0 and (p.top_k > 0 or p.top_p < 1)
    ]
    if not cut:
        return scaled_BV
    result_BV = scaled_BV.clone()
    for row in cut:
        result_BV[row] = _truncate_row(scaled_BV[row], params_B[row])
    return result_BV


def _truncate_row(scaled_V: torch.Tensor, params: SamplingParams) -> torch.Tensor:
    size = scaled_V.numel()
    limit = min(params.top_k, size) if params.top_k > 0 else size
    ordered_K, ids_K = torch.topk(scaled_V, min(limit, _TOP_P_CANDIDATES, size))
    total = torch.logsumexp(ordered_K if limit <= ordered_K.numel() else scaled_V, dim=-1)
    mass = torch.exp(ordered_K - total).double().cumsum(-1)
    if ordered_K.numel() < limit and mass[-1] < params.top_p:
        ordered_K, ids_K = torch.topk(scaled_V, limit)
        total = torch.logsumexp(ordered_K, dim=-1)
        mass = torch.exp(ordered_K - total).double().cumsum(-1)
    if params.top_p < 1:
        # The smallest set whose mass reaches top_p, so at least one token.
        keep = int(torch.searchsorted(mass, torch.tensor(params.top_p, dtype=mass.dtype))) + 1
        ids_K = ids_K[:keep]
    result_V = torch.full_like(scaled_V, float("-inf"))
    result_V[ids_K] = scaled_V[ids_K]
    return result_V


def _invert_cdf(
    weights_BV: torch.Tensor, uniforms_B: Sequence[float]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens whose cumulative weight first exceeds ``u * total``; sums are kept in float64."""
    rows, size = weights_BV.shape
    padded_BV = torch.nn.functional.pad(weights_BV, (0, -size % _BLOCK))
    blocks_BKW = padded_BV.view(rows, -1, _BLOCK)
    ends_BK = blocks_BKW.sum(-1).double().cumsum(-1)
    total_B = ends_BK[:, -1]
    target_B = total_B * torch.as_tensor(np.asarray(uniforms_B, dtype=np.float64))
    block_B = torch.searchsorted(ends_BK, target_B[:, None], right=True).squeeze(1)
    block_B = block_B.clamp(max=ends_BK.shape[1] - 1)
    index_B = torch.arange(rows)
    start_B = torch.where(block_B > 0, ends_BK[index_B, (block_B - 1).clamp(min=0)], 0.0)
    inner_BW = blocks_BKW[index_B, block_B]
    inner_ends_BW = inner_BW.double().cumsum(-1)
    offset_B = torch.searchsorted(inner_ends_BW, (target_B - start_B)[:, None], right=True)
    offset_B = offset_B.squeeze(1).clamp(max=_BLOCK - 1)
    # Rounding at a block's edge may land on an entry of weight 0: take the block's heaviest.
    landed_B = inner_BW[index_B, offset_B] > 0
    offset_B = torch.where(landed_B, offset_B, inner_BW.argmax(dim=-1))
    return block_B * _BLOCK + offset_B, total_B
