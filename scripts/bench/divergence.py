"""Time of the full-vocabulary divergence, forward and backward, against its floor.

    python scripts/bench/divergence.py --hidden 576 --vocab 49152 --tokens 1024 --threads 2

Side by side in one run: `divergence_loss`, plain autograd on full logits, and the four matrix
products that any exact method needs (student head, teacher head, gradient of the hidden states,
gradient of the head), which are the floor. The contestants take turns and the smallest time of
each is printed, so that a busy machine hurts all alike. Where others use the machine too, CPU time
on one thread (`--threads 1 --clock cpu`) says more than wall time.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

from algorithms.divergence import divergence_loss


@cache
def buffers(
    hidden_shape: torch.Size, head_shape: torch.Size, dtype: torch.dtype, device: torch.device
) -> tuple[Tensor, Tensor, Tensor]:
    """Kept from call to call: the floor is the products alone, without page faults."""
    logits = torch.empty(hidden_shape[0], head_shape[0], dtype=dtype, device=device)
    return logits, logits.new_empty(hidden_shape), logits.new_empty(head_shape)


def floor(student: Tensor, teacher: Tensor, head: Tensor) -> None:
    with torch.no_grad():
        logits, grad_hidden, grad_head = buffers(student.shape, head.shape, head.dtype, head.device)
        torch.mm(teacher, head.t(), out=logits)
        torch.mm(student, head.t(), out=logits)
        torch.mm(logits, head, out=grad_hidden)
        torch.mm(logits.t(), student, out=grad_head)


def plain(student: Tensor, teacher: Tensor, head: Tensor) -> None:
    with torch.no_grad():
        log_q = torch.log_softmax((teacher @ head.t()).float(), -1)
    log_p = torch.log_softmax((student @ head.t()).float(), -1)
    (log_p.exp() * (log_p - log_q)).sum().backward()


def ours(student: Tensor, teacher: Tensor, head: Tensor) -> None:
    divergence_loss(student, teacher, head).loss.backward()


def ours_no_grad(student: Tensor, teacher: Tensor, head: Tensor) -> None:
    with torch.no_grad():
        divergence_loss(student, teacher, head)


def timed(call: Callable[..., None], inputs: tuple[Tensor, ...], clock: str) -> float:
    now = time.process_time if clock == "cpu" else time.perf_counter
    for tensor in inputs:
        tensor.grad = None
    start = now()
    call(*inputs)
    if inputs[0].is_cuda:
        torch.cuda.synchronize()
    return now() - start


def make_inputs(args: argparse.Namespace, dtype: torch.dtype) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(0)
    student = torch.randn(args.tokens, args.hidden, generator=generator)
    teacher = student + 0.3 * torch.randn(args.tokens, args.hidden, generator=generator)
    head = torch.randn(args.vocab, args.hidden, generator=generator) * 2.0 / args.hidden**0.5
    student, teacher, head = (x.to(args.device, dtype) for x in (student, teacher, head))
    return student.requires_grad_(), teacher, head.requires_grad_()


def main() -> None:
    parser = argparse.ArgumentParser(description="Time of the full-vocabulary divergence.")
    for name, default in (("hidden", 576), ("vocab", 49152), ("tokens", 1024), ("threads", 2)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--clock", choices=["wall", "cpu"], default="wall")
    parser.add_argument("--dtypes", nargs="+", default=["float32", "bfloat16"])
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    print(f"H={args.hidden} V={args.vocab} T={args.tokens} {args.device} threads={args.threads}")
    print(f"{'dtype':10}{'what':16}{'seconds':>9}{'x floor':>9}{'x fp32 floor':>14}")
    first_floor = None
    for dtype in args.dtypes:
        inputs = make_inputs(args, getattr(torch, dtype))
        calls = (floor, plain, ours, ours_no_grad)
        rounds = []
        for _ in range(args.repeats + 1):  # the first round warms up
            rounds.append([timed(call, inputs, args.clock) for call in calls])
        best = [min(times) for times in zip(*rounds[1:], strict=True)]
        first_floor = first_floor or best[0]
        for call, seconds in zip(calls, best, strict=True):
            ratios = f"{seconds / best[0]:9.2f}{seconds / first_floor:14.2f}"
            print(f"{dtype:10}{call.__name__:16}{seconds:9.3f}{ratios}")


if __name__ == "__main__":
    main()
