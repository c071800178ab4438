"""Packed rows that begin with the same prompt keep it once.

Of the rows of one task the first keeps its prompt, and the others' responses attend to that one:
what a prompt's tokens cost, in all layers, forward and backward, is paid once a group. The
attention function that reads such a layout gets it under the keyword :data:`LAYOUT`.

Shape suffixes: _F tokens of the packed rows, _U those that stay.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from itertools import groupby

import torch
import torch.distributed as dist
from torch import Tensor

# Keyword under which a model's attention function finds the layout.
LAYOUT = "shared_prompts"


@dataclass(frozen=True)
class Segment:
    """A run of packed tokens. ``prompt``: the number of the segment that they attend to besides
    those before them in their own; None for one that begins a row."""

    length: int
    prompt: int | None = None


@dataclass(frozen=True)
class SharedPrompts:
    """Where the tokens of packed rows are once each prompt is there only once.

    Attributes:
        kept_U: of the tokens that stay, their places among all.
        places_F: of all tokens, their places among those that stay.
        segments: what stays, in order.
    """

    kept_U: Tensor
    places_F: Tensor
    segments: tuple[Segment, ...]
    _masks: dict[int, Tensor] = field(default_factory=dict, compare=False)

    def mask(self, number: int) -> Tensor:
        """For a segment behind a prompt: what its tokens attend to, 0 or -inf, [1, 1, own, prompt
        and own]. One for all layers, which all keep it for their backward pass."""
        if number not in self._masks:
            own, prompt = self.segments[number], self.segments[number].prompt
            assert prompt is not None
            behind = self.segments[prompt].length
            mask = torch.full((own.length, behind + own.length), -math.inf)
            self._masks[number] = mask.triu(behind + 1).to(self.kept_U.device)[None, None]
        return self._masks[number]

    @classmethod
    def of(cls, input_ids: Tensor, response_lengths: Sequence[int]) -> SharedPrompts | None:
        """The layout of jagged ``input_ids``, rows of prompt and response; None where no two rows
        have a prompt in common."""
        groups: dict[bytes, list[int]] = {}
        for row, prompt in enumerate(prompt_keys(input_ids, response_lengths)):
            groups.setdefault(prompt, []).append(row)
        starts = input_ids.offsets().tolist()
        if len(groups) == len(starts) - 1:
            return None
        layout = _Layout(torch.empty(starts[-1], dtype=torch.long))
        for prompt_key, rows in groups.items():
            if len(rows) == 1 or not prompt_key:
                for row in rows:
                    layout.add(starts[row], starts[row + 1])
                continue
            splits = {row: starts[row + 1] - response_lengths[row] for row in rows}
            prompt, at = layout.add(starts[rows[0]], splits[rows[0]])
            for row in rows:
                layout.places_F[starts[row] : splits[row]] = at
                layout.add(splits[row], starts[row + 1], prompt)
        kept_U = torch.cat(layout.kept).to(input_ids.device)
        return cls(kept_U, layout.places_F.to(input_ids.device), tuple(layout.segments))


@dataclass
class _Layout:
    """A layout as it grows."""

    places_F: Tensor
    kept: list[Tensor] = field(default_factory=list)
    segments: list[Segment] = field(default_factory=list)
    end: int = 0

    def add(self, begin: int, end: int, prompt: int | None = None) -> tuple[int, Tensor]:
        """Keep tokens ``begin .. end``: the number of their segment, and their new places."""
        places = torch.arange(self.end, self.end + end - begin)
        if end > begin:
            self.places_F[begin:end] = places
            self.kept.append(torch.arange(begin, end))
            self.segments.append(Segment(end - begin, prompt))
            self.end += end - begin
        return len(self.segments) - 1, places


def prompt_keys(input_ids: Tensor, response_lengths: Sequence[int]) -> list[bytes]:
    """The prompt of each jagged row, to be compared."""
    rows = zip(input_ids.cpu().unbind(), response_lengths, strict=True)
    return [row[: len(row) - response].numpy().tobytes() for row, response in rows]


def prompts_together(keys: Sequence[Hashable]) -> list[int]:
    """An order of rows in which equal prompts follow each other, otherwise as they were."""
    first: dict[Hashable, int] = {}
    for row, key in enumerate(keys):
        first.setdefault(key, row)
    return sorted(range(len(keys)), key=lambda row: first[keys[row]])


def rows_to_keep_together(
    keys: Sequence[bytes],
    lengths: Sequence[int],
    most_tokens: int,
    device: torch.device,
    group: dist.ProcessGroup | None,
) -> int:
    """verl's ``force_group_size``: how many rows in a row must not be parted into micro-batches.

    1 where groups differ in size, within a rank or between ranks, or where one has more tokens than
    a micro-batch may.
    """
    sizes = [len(list(same)) for _, same in groupby(keys)]
    size = math.gcd(*sizes)
    largest = max(sum(lengths[i : i + size]) for i in range(0, len(lengths), size))
    own = size if largest <= most_tokens else 1
    bounds = torch.tensor([own, -own], device=device)
    dist.all_reduce(bounds, op=dist.ReduceOp.MAX, group=group)
    return own if int(bounds[0]) == -int(bounds[1]) else 1
