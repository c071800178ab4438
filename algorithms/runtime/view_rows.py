"""Which views of which trajectories a worker trains on: rows of the queue to rows of the engine.

A row of the queue holds both views of one trajectory and six weights. The engine gets a row for
each view with a weight; its distill term pulls it toward the other view.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from tensordict import TensorDict
from torch import Tensor
from verl.utils import tensordict_utils as tu

from algorithms.base import VIEWS
from algorithms.runtime.shared_prompts import prompt_keys, prompts_together
from algorithms.terms import TERMS

# Fields of the queue that the engine does not need, and must not copy for every row.
_QUEUE_ONLY = ("teacher_input_ids", "prompts", "sampled_view", "has_privileged")


def stacked(column: Tensor) -> Tensor:
    """A column with one value, or one vector, a row: TransferQueue hands all back as jagged."""
    return torch.stack(list(column.unbind())) if column.is_nested else column


def trained_views(data: TensorDict, group: dist.ProcessGroup | None) -> TensorDict:
    """One row for each view with a weight; a trajectory without any keeps its student's view.

    All ranks get the same number of rows, since they have to cut theirs into equally many
    micro-batches: a rank with fewer repeats its shortest one without weight.
    """
    weights_B23 = stacked(data["term_weights"]).view(-1, len(VIEWS), len(TERMS))
    active_B2 = (weights_B23 > 0).any(-1)
    active_B2[~active_B2.any(-1), 0] = True
    views_R = torch.cat([torch.full((int(active_B2[:, v].sum()),), v) for v in range(len(VIEWS))])
    index_R = torch.cat([active_B2[:, v].nonzero().squeeze(1).cpu() for v in range(len(VIEWS))])
    weights_R3 = weights_B23[index_R, views_R]
    missing = _most_rows(len(index_R), weights_B23.device, group) - len(index_R)
    if missing:
        shortest = int(data["input_ids"].offsets().diff().argmin())
        index_R = torch.cat([index_R, torch.full((missing,), shortest)])
        views_R = torch.cat([views_R, torch.zeros(missing, dtype=views_R.dtype)])
        weights_R3 = torch.cat([weights_R3, weights_R3.new_zeros(missing, len(TERMS))])
    order_R = _by_prompt(data, index_R, views_R)
    index_R, views_R, weights_R3 = index_R[order_R], views_R[order_R], weights_R3[order_R]
    return chosen_views(data, index_R, views_R, weights_R3)


def _by_prompt(data: TensorDict, index_R: Tensor, views_R: Tensor) -> list[int]:
    """An order in which rows with the same prompt follow each other, for the sake of sharing it."""
    responses = data["responses"].offsets().diff().tolist()
    keys = [prompt_keys(data[name], responses) for name in ("input_ids", "teacher_input_ids")]
    pairs = zip(index_R.tolist(), views_R.tolist(), strict=True)
    return prompts_together([(view, keys[view][index]) for index, view in pairs])


def _most_rows(rows: int, device: torch.device, group: dist.ProcessGroup | None) -> int:
    most = torch.tensor(rows, device=device)
    dist.all_reduce(most, op=dist.ReduceOp.MAX, group=group)
    return int(most)


def chosen_views(
    data: TensorDict, index_R: Tensor, views_R: Tensor, weights_R3: Tensor
) -> TensorDict:
    """The rows ``index_R`` of ``data`` in the views ``views_R``, with the weights of three terms.

    ``input_ids`` become the chosen view's and ``reference_input_ids`` the other's.
    """
    ids = (list(data["input_ids"].unbind()), list(data["teacher_input_ids"].unbind()))
    rows = tu.index_select_tensor_dict(data.exclude(*_QUEUE_ONLY), index_R)
    pairs = list(zip(index_R.tolist(), views_R.tolist(), strict=True))
    inputs, references = (
        [ids[view if own else 1 - view][index] for index, view in pairs] for own in (True, False)
    )
    for prefix, of_view in (("", inputs), ("reference_", references)):
        rows[f"{prefix}input_ids"] = _jagged(of_view)
        rows[f"{prefix}position_ids"] = _positions(of_view)
    rows["term_weights"] = weights_R3
    rows["view"] = views_R.to(weights_R3.device)
    return rows


def _positions(rows: list[Tensor]) -> Tensor:
    return _jagged([torch.arange(len(row), device=row.device) for row in rows])


def _jagged(tensors: list[Tensor]) -> Tensor:
    return torch.nested.as_nested_tensor(tensors, layout=torch.jagged)
