"""The model of the CPU rollout: an HF causal language model, its weights packed for inference."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch
from transformers import AutoModelForCausalLM

from algorithms.runtime.cpu.kv_cache import ATTENTION, RowCache
from algorithms.runtime.cpu.packed_linear import PackedLinear, packing_supported

if TYPE_CHECKING:
    from collections.abc import Iterable

    from transformers import PretrainedConfig, PreTrainedModel

_WEIGHT = ".weight"


class UnsupportedModelError(ValueError):
    """The model's attention is not one the transformers rollout computes."""


class WeightMismatchError(ValueError):
    """An update names a weight that the model has not, or has another shape."""


class RolloutModel:
    """Hidden states, logits and weight updates of a decoder-only HF model with full attention.

    Args:
        model: built with ``attn_implementation=ATTENTION``.
        eos_ids: tokens that end a response.
        vocab_size: tokens from here on have no text (padding of the embedding) and are never drawn.
        pack: store linear weights in oneDNN's layout where the CPU supports it.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        eos_ids: Iterable[int] = (),
        vocab_size: int | None = None,
        pack: bool = True,
    ) -> None:
        check_supported(model)
        self.config = model.config
        self.eos_ids = frozenset(eos_ids)
        self.vocab_size = vocab_size
        self.dtype = model.dtype
        self._model = model.eval().requires_grad_(False)
        self._head: torch.nn.Module = cast("torch.nn.Module", model.get_output_embeddings())
        embedding = cast("torch.nn.Embedding", model.get_input_embeddings())
        self._tied = self._head.weight is embedding.weight
        self._embedding_name = _parameter_name(model, embedding.weight)
        self._packed: dict[str, PackedLinear] = {}
        if pack and packing_supported(self.dtype):
            self._pack()

    @classmethod
    def load(
        cls,
        path: str,
        dtype: torch.dtype,
        eos_ids: Iterable[int] = (),
        vocab_size: int | None = None,
        trust_remote_code: bool = False,
        pack: bool = True,
    ) -> RolloutModel:
        """Read a model from a folder or the hub."""
        model = AutoModelForCausalLM.from_pretrained(
            path, dtype=dtype, attn_implementation=ATTENTION, trust_remote_code=trust_remote_code
        )
        return cls(model, eos_ids, vocab_size, pack)

    def new_cache(self) -> RowCache:
        """An empty cache of this model's shape."""
        config = self.config.get_text_config()
        heads = config.num_attention_heads
        return RowCache(
            layers=config.num_hidden_layers,
            heads=getattr(config, "num_key_value_heads", None) or heads,
            head_dim=getattr(config, "head_dim", None) or config.hidden_size // heads,
            dtype=self.dtype,
        )

    def hidden(
        self, ids_BT: torch.Tensor, positions_BT: torch.Tensor, cache: RowCache
    ) -> torch.Tensor:
        """Last hidden states ``[B, T, H]``; keys and values go to the rows the cache announced."""
        out = self._model.base_model(
            input_ids=ids_BT,
            position_ids=positions_BT,
            past_key_values=cache,
            use_cache=True,
            row_cache=cache,
        )
        return out.last_hidden_state

    def logits(self, hidden_BH: torch.Tensor) -> torch.Tensor:
        """Float32 logits ``[B, V]``, ``-inf`` beyond the tokenizer's vocabulary."""
        logits_BV = self._head(hidden_BH).float()
        if self.vocab_size is not None and self.vocab_size < logits_BV.shape[-1]:
            logits_BV[:, self.vocab_size :] = float("-inf")
        return logits_BV

    def load_weights(self, weights: Iterable[tuple[str, torch.Tensor]]) -> None:
        """Copy named HF weights into the model, casting to its dtype.

        Raises:
            WeightMismatchError: an unknown name or another shape; nothing later is loaded.
        """
        targets: dict[str, torch.Tensor] = dict(self._model.named_buffers())
        targets.update(self._model.named_parameters(remove_duplicate=False))
        with torch.inference_mode():
            for name, tensor in weights:
                self._load_one(name, tensor, targets)

    def _load_one(self, name: str, tensor: torch.Tensor, targets: dict[str, torch.Tensor]) -> None:
        module = self._packed.get(name)
        shape = targets[name].shape if name in targets else None
        if module is not None:
            shape = torch.Size((module.out_features, module.in_features))
        if shape is None:
            raise WeightMismatchError(
                f"the rollout model has no weight {name!r}: the trainer's model and the rollout's "
                "must be of the same architecture (with LoRA set model.lora.merge=True)"
            )
        if shape != tensor.shape:
            raise WeightMismatchError(
                f"weight {name!r} has shape {tuple(tensor.shape)} in the update and "
                f"{tuple(shape)} in the rollout model"
            )
        if module is not None:
            module.pack(tensor.to(self.dtype))
            return
        targets[name].copy_(tensor)
        if self._tied and name == self._embedding_name and isinstance(self._head, PackedLinear):
            self._head.pack(tensor.to(self.dtype))

    def _pack(self) -> None:
        """Swap every linear layer for its packed twin; a tied head gets a copy of its own."""
        for parent_name, parent in list(self._model.named_modules()):
            for child_name, child in list(parent.named_children()):
                if type(child) is not torch.nn.Linear:
                    continue
                packed = PackedLinear(child)
                setattr(parent, child_name, packed)
                full_name = f"{parent_name}.{child_name}" if parent_name else child_name
                if child is self._head:
                    self._head = packed
                self._packed[full_name + _WEIGHT] = packed


def attends_to_everything(config: PretrainedConfig) -> bool:
    """Whether every layer of a text model attends to all that came before."""
    window = getattr(config, "sliding_window", None)
    listed = getattr(config, "layer_types", None) is not None
    windowed = not listed and window is not None and window < config.max_position_embeddings
    return _attention_kinds(config) == {"full_attention"} and not windowed


def _attention_kinds(config: PretrainedConfig) -> set[str]:
    return set(getattr(config, "layer_types", None) or ["full_attention"])


def check_supported(model: PreTrainedModel) -> None:
    """Refuse models whose layers attend otherwise than to everything before them.

    Raises:
        UnsupportedModelError: sliding-window, linear or chunked attention, or a model whose code
            does not take its attention function from HF's registry.
    """
    config = model.config.get_text_config()
    if not attends_to_everything(config):
        raise UnsupportedModelError(
            f"the transformers rollout computes full attention only; {config.model_type!r} has "
            f"{sorted(_attention_kinds(config))} with "
            f"sliding_window={getattr(config, 'sliding_window', None)}: use rollout.name=vllm"
        )
    if not getattr(model, "_supports_attention_backend", False):
        raise UnsupportedModelError(
            f"{type(model).__name__} does not take attention functions from transformers' "
            "registry: use rollout.name=vllm"
        )


def _parameter_name(model: PreTrainedModel, parameter: torch.Tensor) -> str:
    """The first name under which ``parameter`` is registered."""
    return next(name for name, known in model.named_parameters() if known is parameter)
