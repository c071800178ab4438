"""The divergence against brute force in float64: values, gradients, and what must not matter."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from algorithms.divergence import KINDS, DivergenceOutput, divergence_loss

SEEDS = st.integers(0, 2**31 - 1)
FEW = settings(max_examples=25, deadline=None)


def reference_divergence(
    student: Tensor,
    teacher: Tensor,
    head: Tensor,
    kind: str,
    *,
    weights: Tensor | None = None,
    temperature: float = 1.0,
    w: float = 0.5,
    teacher_head: Tensor | None = None,
    keep_V: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """(loss, D_t) by autograd over full logits, as the formulas read."""
    student_head = head if keep_V is None else head[keep_V]
    teacher_head = (head if teacher_head is None else teacher_head).detach()
    teacher_head = teacher_head if keep_V is None else teacher_head[keep_V]
    p = torch.softmax(student @ student_head.t() / temperature, -1)
    q = torch.softmax(teacher.detach() @ teacher_head.t() / temperature, -1)
    m = w * q + (1 - w) * p
    per_token = {
        "reverse_kl": lambda: (p * (p.log() - q.log())).sum(-1),
        "forward_kl": lambda: (q * (q.log() - p.log())).sum(-1),
        "jsd": lambda: (
            w * (q * (q.log() - m.log())).sum(-1) + (1 - w) * (p * (p.log() - m.log())).sum(-1)
        ),
    }[kind]()
    return (per_token if weights is None else per_token * weights).sum(), per_token.detach()


def make(seed: int, tokens=7, hidden=5, vocab=11, dtype=torch.float64, scale=1.0):
    generator = torch.Generator().manual_seed(seed)
    shapes = ((tokens, hidden), (tokens, hidden), (vocab, hidden))
    student, teacher, head = (
        torch.randn(shape, generator=generator, dtype=torch.float64).mul(scale).to(dtype)
        for shape in shapes
    )
    weights = torch.randn(tokens, generator=generator, dtype=torch.float64)
    return student.requires_grad_(), teacher, head.requires_grad_(), weights


def run(student, teacher, head, **options) -> tuple[DivergenceOutput, Tensor, Tensor]:
    """(output, d/d student, d/d head)."""
    output = divergence_loss(student, teacher, head, **options)
    grad_student, grad_head = torch.autograd.grad(output.loss, (student, head))
    return output, grad_student, grad_head


def close(actual: Tensor | None, expected: Tensor, tolerance: float = 1e-10) -> None:
    torch.testing.assert_close(actual, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("temperature", [1.0, 0.7, 3.0])
@pytest.mark.parametrize("chunk", ["auto", 1, 3])
def test_value_and_gradients_equal_brute_force(kind, temperature, chunk):
    student, teacher, head, weights = make(0)
    output, *grads = run(
        student, teacher, head, kind=kind, weights_T=weights, temperature=temperature,
        chunk_tokens=chunk, jsd_weight=0.3,
    )  # fmt: skip
    loss, per_token = reference_divergence(
        student, teacher, head, kind, weights=weights, temperature=temperature, w=0.3
    )
    close(output.loss, loss)
    close(output.per_token_T, per_token)
    for grad, expected in zip(grads, torch.autograd.grad(loss, (student, head)), strict=True):
        close(grad, expected)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("own_head", [False, True])
def test_gradcheck(kind, own_head):
    student, teacher, head, weights = make(1, tokens=4, hidden=3, vocab=6)
    other = torch.randn(6, 2, dtype=torch.float64) if own_head else None
    wide = torch.randn(4, 2, dtype=torch.float64) if own_head else None
    fixed_teacher_head = head.detach().clone() if other is None else other

    def loss(student: Tensor, head: Tensor) -> Tensor:
        return divergence_loss(
            student, teacher if wide is None else wide, head, kind=kind, weights_T=weights,
            mask_T=torch.tensor([1, 0, 1, 1]), temperature=1.3, jsd_weight=0.8, chunk_tokens=2,
            teacher_head_weight_VH=fixed_teacher_head,
        ).loss  # fmt: skip

    assert torch.autograd.gradcheck(loss, (student, head))


def test_a_literal_worked_by_hand():
    # p = (1/2, 1/2), q = (1/4, 3/4): the head is the identity, so hidden states are logits.
    logits = torch.tensor([[0.0, math.log(3.0)]], dtype=torch.float64)
    zero, eye = torch.zeros(1, 2, dtype=torch.float64), torch.eye(2, dtype=torch.float64)
    reverse = 0.5 * math.log(4 / 3)  # ½ ln 2 + ½ ln ⅔
    forward = 0.25 * math.log(0.5) + 0.75 * math.log(1.5)
    m = (0.375, 0.625)
    jsd = 0.5 * (0.25 * math.log(0.25 / m[0]) + 0.75 * math.log(0.75 / m[1])) + 0.5 * (
        0.5 * math.log(0.5 / m[0]) + 0.5 * math.log(0.5 / m[1])
    )
    for kind, expected in (("reverse_kl", reverse), ("forward_kl", forward), ("jsd", jsd)):
        output, grad, _ = run(zero.requires_grad_(), logits, eye.requires_grad_(), kind=kind)
        assert output.loss.item() == pytest.approx(expected, abs=1e-14)
        if kind == "forward_kl":  # p - q
            close(grad, torch.tensor([[0.25, -0.25]], dtype=torch.float64))
        if kind == "reverse_kl":  # p (log p/q - KL)
            value = 0.5 * (math.log(2) - reverse)
            close(grad, torch.tensor([[value, -value]], dtype=torch.float64))


@given(seed=SEEDS, kind=st.sampled_from(KINDS), scale=st.floats(0.01, 6.0))
@FEW
def test_never_negative_and_zero_with_zero_gradient_for_equal_views(seed, kind, scale):
    student, teacher, head, _ = make(seed, scale=scale)
    assert (divergence_loss(student, teacher, head, kind=kind).per_token_T >= -1e-12).all()
    output, *grads = run(student, student.detach().clone(), head, kind=kind)
    assert output.loss.abs() < 1e-12
    assert all(grad.abs().max() < 1e-12 for grad in grads)


@given(seed=SEEDS, kind=st.sampled_from(KINDS))
@FEW
def test_vocabulary_and_position_order_change_nothing(seed, kind):
    student, teacher, head, weights = make(seed)
    output, grad_student, grad_head = run(student, teacher, head, kind=kind, weights_T=weights)
    generator = torch.Generator().manual_seed(seed)
    v, t = torch.randperm(11, generator=generator), torch.randperm(7, generator=generator)
    permuted, grad_student_2, grad_head_2 = run(
        student.detach()[t].requires_grad_(), teacher[t], head.detach()[v].requires_grad_(),
        kind=kind, weights_T=weights[t],
    )  # fmt: skip
    close(permuted.loss, output.loss)
    close(permuted.per_token_T, output.per_token_T[t])
    close(grad_student_2, grad_student[t])
    close(grad_head_2, grad_head[v])


@given(seed=SEEDS, kind=st.sampled_from(KINDS), chunk=st.integers(1, 9), cut=st.integers(0, 7))
@FEW
def test_chunks_and_micro_batches_change_nothing(seed, kind, chunk, cut):
    student, teacher, head, weights = make(seed, dtype=torch.float32)
    weights = weights.float()
    whole, *grads = run(student, teacher, head, kind=kind, weights_T=weights)
    chunked, *chunked_grads = run(
        student, teacher, head, kind=kind, weights_T=weights, chunk_tokens=chunk
    )
    parts = [
        divergence_loss(student[part], teacher[part], head, kind=kind, weights_T=weights[part])
        for part in (slice(0, cut), slice(cut, 7))
    ]
    split = parts[0].loss + parts[1].loss
    split_grads = torch.autograd.grad(split, (student, head))
    for loss, others in ((chunked.loss, chunked_grads), (split, split_grads)):
        close(loss, whole.loss, 1e-5)
        for other, grad in zip(others, grads, strict=True):
            close(other, grad, 1e-5)


@given(seed=SEEDS, kind=st.sampled_from(KINDS))
@FEW
def test_nan_at_unvisited_positions_changes_nothing(seed, kind):
    student, teacher, head, weights = make(seed)
    keep = torch.rand(7, generator=torch.Generator().manual_seed(seed)) < 0.5
    weights = weights.masked_fill(~keep, math.nan)
    dirty = [
        x.detach().masked_fill(~keep[:, None], bad)
        for x, bad in ((student, math.nan), (teacher, math.inf))
    ]
    options = dict(kind=kind, token_ids_T=torch.full((7,), 3).masked_fill(~keep, -100))
    output, grad, grad_head = run(
        dirty[0].requires_grad_(), dirty[1], head, weights_T=weights, mask_T=keep, **options
    )
    clean, clean_grad, clean_head = run(
        student.detach()[keep].requires_grad_(),
        teacher[keep],
        head,
        kind=kind,
        weights_T=weights[keep],
    )
    close(output.loss, clean.loss)
    close(output.per_token_T[keep], clean.per_token_T)
    close(grad[keep], clean_grad)
    close(grad_head, clean_head)
    for values in (output.per_token_T, output.log_prob_T, output.entropy_T, grad):
        assert values is not None
        assert (values[~keep] == 0).all()


def test_zero_weight_is_a_mask_and_weights_of_one_are_no_weights():
    student, teacher, head, _ = make(3)
    ones = run(student, teacher, head, weights_T=torch.ones(7))
    none = run(student, teacher, head)
    assert torch.equal(ones[0].loss, none[0].loss)
    assert torch.equal(ones[1], none[1]) and torch.equal(ones[2], none[2])
    mask = torch.tensor([1, 0, 1, 1, 0, 0, 1])
    poisoned = student.detach().clone()
    poisoned[1] = math.nan
    by_weight = run(poisoned.requires_grad_(), teacher, head, weights_T=mask.double())
    by_mask = run(student, teacher, head, mask_T=mask)
    assert torch.equal(by_weight[0].loss, by_mask[0].loss)
    assert torch.equal(by_weight[1], by_mask[1])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("how", ["mask", "mask over nan", "-inf rows", "-inf teacher rows"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_padded_vocabulary_rows_drop_out(kind, how, dtype):
    student, teacher, head, weights = make(4, dtype=dtype)
    keep_V = torch.ones(11, dtype=torch.bool)
    keep_V[[2, 9, 10]] = False
    filled = {"mask": 0.7, "mask over nan": math.nan}.get(how, -math.inf)
    teacher_head = head.detach().clone()
    if how == "-inf teacher rows":
        teacher_head[~keep_V] = -math.inf
    else:
        head = head.detach().masked_fill(~keep_V[:, None], filled).requires_grad_()
    options = {"vocab_mask_V": keep_V} if how.startswith("mask") else {}
    output, grad, grad_head = run(
        student, teacher, head, kind=kind, weights_T=weights,
        token_ids_T=torch.zeros(7, dtype=torch.long),
        teacher_head_weight_VH=teacher_head, **options,
    )  # fmt: skip
    wide = [x.detach().double().requires_grad_() for x in (student, head)]
    loss, per_token = reference_divergence(
        wide[0], teacher.double(), wide[1], kind, weights=weights, keep_V=keep_V,
        teacher_head=teacher_head.double(),
    )  # fmt: skip
    expected, _ = torch.autograd.grad(loss, wide)
    tolerance = {torch.float64: 1e-10, torch.float32: 1e-5, torch.bfloat16: 5e-2}[dtype]
    close(output.loss.double(), loss, tolerance)
    close(output.per_token_T.double(), per_token, tolerance)
    close(grad.double(), expected, tolerance)
    assert (grad_head[~keep_V] == 0).all()
    assert output.entropy_T is not None and output.entropy_T.isfinite().all()
    assert grad_head.isfinite().all()


@pytest.mark.parametrize("kind", KINDS)
def test_far_apart_distributions_stay_finite(kind):
    student = torch.tensor([[300.0, 0.0, -300.0]], requires_grad=True)
    teacher, eye = torch.tensor([[-300.0, 0.0, 300.0]]), torch.eye(3, requires_grad=True)
    output, *grads = run(student, teacher, eye, kind=kind)
    expected = {"reverse_kl": 600.0, "forward_kl": 600.0, "jsd": math.log(2.0)}[kind]
    assert output.loss.item() == pytest.approx(expected, rel=1e-6)
    assert all(grad.isfinite().all() for grad in grads)


@pytest.mark.parametrize("mask", [torch.zeros(7), None])
def test_no_position_to_visit_is_a_zero_that_touches_the_graph(mask):
    student, teacher, head, _ = make(5)
    if mask is None:
        student, teacher = student.detach()[:0].requires_grad_(), teacher[:0]
    output, grad, grad_head = run(
        student, teacher, head, mask_T=mask, token_ids_T=torch.zeros(len(teacher), dtype=torch.long)
    )
    assert output.loss.item() == 0.0
    assert output.loss.requires_grad
    assert (grad == 0).all() and grad.shape == student.shape
    assert (grad_head == 0).all() and grad_head.shape == head.shape


def test_log_probs_and_entropy_come_from_the_same_pass():
    student, teacher, head, _ = make(6)
    tokens = torch.arange(7)
    output = divergence_loss(
        student, teacher, head, token_ids_T=tokens, temperature=0.8, chunk_tokens=2
    )
    log_p = torch.log_softmax(student @ head.t() / 0.8, -1).detach()
    close(output.log_prob_T, log_p[tokens, tokens])
    close(output.entropy_T, -(log_p.exp() * log_p).sum(-1))
    assert output.log_prob_T is not None and not output.log_prob_T.requires_grad
    assert not output.per_token_T.requires_grad


def test_jsd_scaled_limits_are_the_two_kls():
    student, teacher, head, _ = make(7)
    with torch.no_grad():
        value = {
            (kind, w): divergence_loss(student, teacher, head, kind=kind, jsd_weight=w).loss
            for kind, w in (
                ("jsd", 1e-6),
                ("jsd", 1 - 1e-6),
                ("forward_kl", 0.5),
                ("reverse_kl", 0.5),
            )
        }
    close(value["jsd", 1e-6] / 1e-6, value["forward_kl", 0.5], 1e-3)
    close(value["jsd", 1 - 1e-6] / 1e-6, value["reverse_kl", 0.5], 1e-3)


BAD = {
    "kind": ({"kind": "k1"}, "reverse_kl, forward_kl, jsd"),
    "temperature": ({"temperature": 0.0}, "temperature"),
    "nan temperature": ({"temperature": math.nan}, "temperature"),
    "jsd at 0": ({"kind": "jsd", "jsd_weight": 0.0}, "forward_kl"),
    "jsd at 1": ({"kind": "jsd", "jsd_weight": 1.0}, "reverse_kl"),
    "chunk": ({"chunk_tokens": 0}, "chunk_tokens"),
    "chunk name": ({"chunk_tokens": "all"}, "chunk_tokens"),
    "mask": ({"mask_T": torch.ones(6)}, "mask_T"),
    "weights": ({"weights_T": torch.ones(1, 7)}, "weights_T"),
    "weights with gradient": ({"weights_T": torch.ones(7, requires_grad=True)}, "detach"),
    "tokens": ({"token_ids_T": torch.ones(8, dtype=torch.long)}, "token_ids_T"),
    "vocabulary mask": ({"vocab_mask_V": torch.ones(7)}, "vocab_mask_V"),
    "no vocabulary": ({"vocab_mask_V": torch.zeros(11)}, "every vocabulary row"),
    "teacher's head": ({"teacher_head_weight_VH": torch.ones(11, 4)}, "hidden sizes"),
    "teacher's vocabulary": ({"teacher_head_weight_VH": torch.ones(12, 5)}, "vocabularies"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_options_are_refused_with_the_fix(name):
    options, message = BAD[name]
    student, teacher, head, _ = make(8)
    with pytest.raises(ValueError, match=message):
        divergence_loss(student, teacher, head, **options)


def test_bad_tensors_are_refused():
    student, teacher, head, _ = make(8)
    with pytest.raises(ValueError, match="same positions"):
        divergence_loss(student, teacher[:3], head)
    with pytest.raises(ValueError, match="flatten"):
        divergence_loss(student[None], teacher[None], head)
    with pytest.raises(TypeError, match="float16"):
        divergence_loss(student.half(), teacher.half(), head.half())
    with pytest.raises(TypeError, match="floating point"):
        divergence_loss(student, teacher, head.long())
