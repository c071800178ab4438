"""Keys and values of the rows that are being decoded, and the attention that reads them.

Rows are kept dense: rows ``0 .. count-1`` are live, and a finished row's place is taken by the last
one. Each row holds its own length, so no padding is stored between prompt and response and a row's
result does not depend on its neighbours' lengths.

The model is HF's own; it reaches this cache through two public hooks: an attention function
registered under :data:`ATTENTION`, and the ``past_key_values`` object, whose ``update`` it calls.
"""

from __future__ import annotations

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

ATTENTION = "verl_pi_rollout"
_GRAIN = 64  # positions by which the capacity grows


class RowCache:
    """Keys and values in ``[row, head, position, dim]`` per layer, grown on demand.

    One forward pass is announced with :meth:`begin_prefill`, :meth:`begin_continuation` or
    :meth:`begin_decode`, then the model's layers call :meth:`update`.
    """

    def __init__(self, layers: int, heads: int, head_dim: int, dtype: torch.dtype) -> None:
        self.layers = layers
        self.heads = heads
        self.head_dim = head_dim
        self.dtype = dtype
        self.mask: torch.Tensor | None = None
        # Of each row that is prefilled, its queries and what they may attend to; None: decoding.
        self.spans: list[tuple[int, int]] | None = None
        self.keys: list[torch.Tensor] = []
        self.values: list[torch.Tensor] = []
        self.release()

    @property
    def bytes_per_position(self) -> int:
        """Bytes that one position of one row takes over all layers."""
        return 2 * self.layers * self.heads * self.head_dim * self.dtype.itemsize

    @property
    def capacity(self) -> tuple[int, int]:
        """Allocated ``(rows, positions)``."""
        return self.keys[0].shape[0], self.keys[0].shape[2]

    def release(self) -> None:
        """Give the memory back; the next :meth:`reserve` allocates anew."""
        empty = (0, self.heads, 0, self.head_dim)
        self.keys = [torch.empty(empty, dtype=self.dtype) for _ in range(self.layers)]
        self.values = [torch.empty(empty, dtype=self.dtype) for _ in range(self.layers)]

    def reserve(self, rows: int, positions: int) -> None:
        """Make room for ``rows`` rows of ``positions`` positions, keeping what is stored."""
        have_rows, have_positions = self.capacity
        if rows <= have_rows and positions <= have_positions:
            return
        rows = max(rows, have_rows)
        positions = max(-(-positions // _GRAIN) * _GRAIN, have_positions)
        for store in (self.keys, self.values):
            for layer, old in enumerate(store):
                # Zeros, not garbage: masked positions are multiplied by 0, and 0 * NaN is NaN.
                new = torch.zeros(rows, self.heads, positions, self.head_dim, dtype=self.dtype)
                new[:have_rows, :, :have_positions] = old
                store[layer] = new

    def copy_rows(self, source: list[int], target: list[int], positions: int) -> None:
        """Copy the first ``positions`` positions of rows ``source`` to rows ``target``."""
        if not source:
            return
        source_ids, target_ids = torch.tensor(source), torch.tensor(target)
        for store in (self.keys, self.values):
            for layer in store:
                layer[target_ids, :, :positions] = layer[source_ids, :, :positions]

    def states(self, row: int, positions: int) -> torch.Tensor:
        """A copy of the first ``positions`` of a row: ``[2, layer, head, position, dim]``."""
        return torch.stack(
            [
                torch.stack([layer[row, :, :positions] for layer in store])
                for store in (self.keys, self.values)
            ]
        )

    def put(self, row: int, states: torch.Tensor, positions: int) -> None:
        """Begin a row with the first ``positions`` of :meth:`states` of another."""
        for store, known in zip((self.keys, self.values), states, strict=True):
            for layer, of_layer in zip(store, known, strict=True):
                layer[row, :, :positions] = of_layer[:, :positions]

    def begin_prefill(self, rows: list[int], new: list[int]) -> None:
        """The next forward pass computes the first ``new`` positions of each of fresh rows.

        The model's input is padded on the right to the largest of ``new``.
        """
        self._rows = torch.tensor(rows)
        self._width = max(new)
        self._store = self._store_fresh
        self.mask, self.spans = None, [(length, length) for length in new]

    def begin_continuation(self, rows: list[int], known: list[int], new: list[int]) -> None:
        """The next forward pass computes ``new`` positions of each row behind its ``known`` ones.

        The model's input is padded on the right to the largest of ``new``; padding is not stored.
        """
        known_B, new_B = torch.tensor(known), torch.tensor(new)
        self._rows = torch.tensor(rows)
        self._width = int((known_B + new_B).max())
        places_T = torch.arange(int(new_B.max()))
        self._real_BT = places_T < new_B[:, None]
        self.spans = [(n, k + n) for k, n in zip(known, new, strict=True)]
        positions_BT = known_B[:, None] + places_T
        self._flat_rows = self._rows[:, None].expand_as(positions_BT)[self._real_BT]
        self._flat_positions = positions_BT[self._real_BT]
        hidden = torch.arange(self._width) > positions_BT[..., None]
        mask = torch.zeros(hidden.shape, dtype=self.dtype).masked_fill_(hidden, float("-inf"))
        self.mask = mask[:, None]
        self._store = self._store_continued

    def begin_decode(self, lengths: torch.Tensor) -> None:
        """The next forward pass appends one position to each of rows ``0 .. len(lengths)-1``."""
        rows, positions = self.capacity
        count = lengths.numel()
        longest = int(lengths.max()) + 1
        if count > rows or longest > positions:
            raise IndexError(
                f"{count} rows of {longest} positions exceed the reserved {rows} x {positions}"
            )
        self._store = self._store_next
        self._count = count
        self._width = min(positions, -(-longest // 16) * 16)
        self.spans = None
        places = torch.arange(count * self.heads).view(count, self.heads) * positions
        self._flat = (places + lengths[:, None]).flatten()
        hidden = torch.arange(self._width)[None, :] > lengths[:, None]
        mask = torch.zeros(count, 1, 1, self._width, dtype=self.dtype)
        self.mask = mask.masked_fill_(hidden[:, None, None, :], float("-inf"))

    def update(
        self, key: torch.Tensor, value: torch.Tensor, layer_idx: int, *_args, **_kwargs
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """HF's cache call: store ``[row, head, new, dim]``, return what attention shall read."""
        return self._store(self.keys[layer_idx], key), self._store(self.values[layer_idx], value)

    def _store_fresh(self, store: torch.Tensor, new: torch.Tensor) -> torch.Tensor:
        store[self._rows, :, : self._width] = new
        return new

    def _store_continued(self, store: torch.Tensor, new: torch.Tensor) -> torch.Tensor:
        store[self._flat_rows, :, self._flat_positions] = new.transpose(1, 2)[self._real_BT]
        return store[self._rows, :, : self._width]

    def _store_next(self, store: torch.Tensor, new: torch.Tensor) -> torch.Tensor:
        store.view(-1, self.head_dim).index_copy_(0, self._flat, new.reshape(-1, self.head_dim))
        return store[: self._count, :, : self._width]

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """HF asks for it only when no position ids are given; this rollout always gives them."""
        return 0


def rollout_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    row_cache: RowCache | None = None,
    **_kwargs,
) -> tuple[torch.Tensor, None]:
    """HF attention function: causal within a prefill, masked by row length behind known positions.

    A prompt is attended by itself, without the padding that its neighbours ask for: torch's kernel
    sums in an order that depends on the number of queries, and a row's result must not depend on
    what is computed beside it. While decoding, the query heads that share a key head become the
    query positions of one attention call, which spares repeating keys and values for grouped-query
    models.

    Shapes: query ``[row, head, new, dim]``; key and value ``[row, kv head, positions, dim]``;
    the result is ``[row, new, head, dim]``.
    """
    mask = None if row_cache is None else row_cache.mask
    rows, heads, new, dim = query.shape
    spans = [(new, new)] * rows if row_cache is None else row_cache.spans
    if spans is not None:
        out = torch.zeros_like(query)
        for row, (queries, keys) in enumerate(spans):
            out[row, :, :queries] = scaled_dot_product_attention(
                query[row : row + 1, :, :queries],
                key[row : row + 1, :, :keys],
                value[row : row + 1, :, :keys],
                None if mask is None else mask[row : row + 1, :, :queries, :keys],
                is_causal=mask is None,
                scale=scaling,
                enable_gqa=True,
            )[0]
        return out.transpose(1, 2).contiguous(), None
    grouped = query.reshape(rows, key.shape[1], heads // key.shape[1], dim)
    out = scaled_dot_product_attention(grouped, key, value, mask, scale=scaling)
    return out.reshape(rows, 1, heads, dim), None


AttentionInterface.register(ATTENTION, rollout_attention)
