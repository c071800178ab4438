"""The divergence's precision, autocast, memory, and what it does not compute."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten
from torch.utils.checkpoint import checkpoint

from algorithms.divergence import KINDS, divergence_loss

T, H, V = 96, 32, 2000


def make(dtype=torch.float32) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    student = torch.randn(T, H, generator=generator)
    teacher = student + 0.3 * torch.randn(T, H, generator=generator)
    head = torch.randn(V, H, generator=generator) / 4
    student, teacher, head = (x.to(dtype) for x in (student, teacher, head))
    return student.requires_grad_(), teacher, head.requires_grad_()


def relative(actual: Tensor, expected: Tensor) -> float:
    return ((actual.double() - expected).norm() / expected.norm()).item()


def gradients(student, teacher, head, **options) -> tuple[Tensor, Tensor, Tensor]:
    loss = divergence_loss(student, teacher, head, **options).loss
    grad_student, grad_head = torch.autograd.grad(loss, (student, head))
    return loss.detach(), grad_student, grad_head


def exact(student, teacher, head, **options) -> tuple[Tensor, Tensor, Tensor]:
    wide = [x.detach().double() for x in (student, teacher, head)]
    return gradients(wide[0].requires_grad_(), wide[1], wide[2].requires_grad_(), **options)


@pytest.mark.parametrize("kind", KINDS)
def test_float32_error_against_float64(kind):
    inputs, weights = make(), torch.full((T,), 1.0 / T)
    results = gradients(*inputs, kind=kind, weights_T=weights, chunk_tokens=16)
    for actual, expected in zip(results, exact(*inputs, kind=kind, weights_T=weights), strict=True):
        assert relative(actual, expected) < 1e-5


def test_bfloat16_error_is_that_of_plain_autograd_in_bfloat16():
    student, teacher, head = make(torch.bfloat16)
    log_p = torch.log_softmax((student @ head.t()).float(), -1)
    log_q = torch.log_softmax((teacher @ head.t()).float(), -1).detach()
    loss = (log_p.exp() * (log_p - log_q)).sum()
    plain = (loss.detach(), *torch.autograd.grad(loss, (student, head)))
    ours = gradients(student, teacher, head, chunk_tokens=16)
    assert ours[0].dtype == torch.float32
    assert all(grad.dtype == torch.bfloat16 for grad in ours[1:])
    for a, b, expected in zip(ours, plain, exact(student, teacher, head), strict=True):
        assert relative(a, expected) < 1.2 * relative(b, expected) + 1e-4 < 0.1


def test_the_heads_gradient_is_accumulated_in_float32():
    """512 equal chunks: a bfloat16 running sum stops growing where steps fall below rounding."""
    student, teacher, head = make(torch.bfloat16)
    student, teacher = (x.detach()[:1].repeat(512, 1) for x in (student, teacher))
    student.requires_grad_()
    _, _, one_by_one = gradients(student, teacher, head, chunk_tokens=1)
    _, _, at_once = gradients(student, teacher, head, chunk_tokens=512)
    assert relative(one_by_one, at_once.double()) < 1e-2


@pytest.mark.parametrize("device_dtype", [torch.float32, torch.float64])
def test_autocast_chooses_the_products_only(device_dtype):
    student, teacher, head = make(device_dtype)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = divergence_loss(student, teacher, head)
        grads = torch.autograd.grad(output.loss, (student, head))
    assert output.loss.dtype == device_dtype  # the softmax is not in bfloat16
    assert all(grad.dtype == device_dtype for grad in grads)
    expected = exact(student, teacher, head)
    # float64 is left alone by autocast; float32 inputs get bfloat16's rounding.
    low, high = (0.0, 1e-12) if device_dtype == torch.float64 else (1e-5, 5e-2)
    for actual, value in zip((output.loss, *grads), expected, strict=True):
        assert low <= relative(actual.detach(), value) < high


class Recorder(TorchDispatchMode):
    """Operations run, and the most elements that any result had."""

    def __init__(self) -> None:
        super().__init__()
        self.products, self.largest = 0, 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        name = func.__name__.split(".")[0]
        self.products += name in ("mm", "addmm_", "addmm")
        tensors = [x for x in tree_flatten(result)[0] if isinstance(x, Tensor)]
        self.largest = max([self.largest, *(x.untyped_storage().nbytes() for x in tensors)])
        return result


@pytest.mark.parametrize("kind", KINDS)
def test_no_tensor_of_tokens_by_vocabulary_is_ever_made(kind):
    student, teacher, head = make()
    saved: list[Tensor] = []
    with (
        Recorder() as record,
        torch.autograd.graph.saved_tensors_hooks(lambda x: saved.append(x) or x, lambda x: x),
    ):
        output = divergence_loss(student, teacher, head, kind=kind, chunk_tokens=8)
        output.loss.backward()
    assert record.largest <= max(8 * V, V * H) * 4  # one chunk, or the head's gradient
    assert sorted(tuple(x.shape) for x in saved) == [(T, H), (V, H)]


@pytest.mark.parametrize(
    ("student_grad", "head_grad", "enabled", "products"),
    [(True, True, True, 4), (True, False, True, 3), (False, True, True, 3), (False, False, True, 2),
     (True, True, False, 2)],
)  # fmt: skip
def test_only_the_products_that_are_needed(student_grad, head_grad, enabled, products):
    student, teacher, head = make()
    student.requires_grad_(student_grad)
    head.requires_grad_(head_grad)
    with torch.set_grad_enabled(enabled), Recorder() as record:
        output = divergence_loss(student, teacher, head, chunk_tokens=T)
    assert record.products == products
    assert output.loss.requires_grad == (products > 2)
    expected = divergence_loss(*make())
    assert torch.equal(output.per_token_T, expected.per_token_T)


def test_the_teacher_gets_no_gradient():
    student, teacher, head = make()
    own_head = head.detach().clone().requires_grad_()
    teacher.requires_grad_()
    divergence_loss(student, teacher, head, teacher_head_weight_VH=own_head).loss.backward()
    assert teacher.grad is None
    assert own_head.grad is None


def test_masked_positions_cost_no_head():
    student, teacher, head = make()
    mask = torch.arange(T) < 8
    with torch.no_grad(), Recorder() as record:
        divergence_loss(student, teacher, head, mask_T=mask)
    assert record.largest <= V * H * 4  # the head itself


def test_scaled_and_repeated_backward():
    student, teacher, head = make()
    loss = divergence_loss(student, teacher, head).loss
    once = torch.autograd.grad(loss, (student, head), retain_graph=True)
    tripled = torch.autograd.grad(3.0 * loss, (student, head), retain_graph=True)
    again = torch.autograd.grad(loss, (student, head))
    for a, b, c in zip(once, tripled, again, strict=True):
        torch.testing.assert_close(3.0 * a, b)
        assert torch.equal(a, c)


def test_accumulating_two_backward_passes_keeps_them_apart():
    student, teacher, head = make()
    divergence_loss(student, teacher, head).loss.backward()
    assert head.grad is not None
    first = head.grad.clone()
    divergence_loss(student, teacher, head).loss.backward()
    torch.testing.assert_close(head.grad, 2.0 * first)


def test_second_derivatives_are_refused():
    student, teacher, head = make()
    loss = divergence_loss(student, teacher, head).loss
    (grad,) = torch.autograd.grad(loss, student, create_graph=True)
    with pytest.raises(RuntimeError):
        grad.sum().backward()


def test_it_fits_under_activation_checkpointing():
    student, teacher, head = make()
    layer = torch.nn.Linear(H, H)

    def part(x: Tensor) -> Tensor:
        return divergence_loss(layer(x), teacher, head).loss

    part(student).backward()
    assert student.grad is not None
    expected = student.grad.clone()
    student.grad = None
    checkpoint(part, student, use_reentrant=False).backward()
    torch.testing.assert_close(student.grad, expected)
