"""Time, memory and error of the full-vocabulary divergence, forward and backward.

    python scripts/bench/divergence.py                     SmolLM2-135M's and Qwen3-1.7B's heads
    python scripts/bench/divergence.py --shapes 4096,151936,2048 --dtypes bfloat16 --device cuda

Side by side in one run: ours, plain autograd on full logits, TRL's self-distillation loss over the
full vocabulary, Liger's fused linear JSD at its reverse-KL end, verl's top-k forward KL, and the
four matrix products that any exact method needs, which are the floor. Contestants take turns and
the smallest time of each counts, so that a busy machine hurts all alike; `--only` picks some.

Columns: seconds; multiples of the floor in the same dtype and of the first dtype's floor; memory at
the peak beyond inputs and gradients; largest error of the loss and of both gradients against
float64, relative to the largest entry. TRL and Liger: pip install -c constraints.txt -e '.[bench]'.
"""

from __future__ import annotations

import argparse
import gc
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from _divergence_peers import CONTESTANTS, EXACT, Contestant
from torch import Tensor

SHAPES = ("576,49152,1024", "2048,151936,512")
REFERENCE_CHUNK = 256


@dataclass
class Inputs:
    student: Tensor
    teacher: Tensor
    head: Tensor

    @classmethod
    def make(cls, shape: Sequence[int], dtype: torch.dtype, device: str) -> Inputs:
        hidden, vocab, tokens = shape
        generator = torch.Generator().manual_seed(0)
        student = torch.randn(tokens, hidden, generator=generator)
        teacher = student + 0.3 * torch.randn(tokens, hidden, generator=generator)
        head = torch.randn(vocab, hidden, generator=generator) * 2.0 / hidden**0.5
        student, teacher, head = (x.to(device, dtype) for x in (student, teacher, head))
        return cls(student.requires_grad_(), teacher, head.requires_grad_())

    def call(self, contestant: Contestant) -> float | None:
        """One forward and backward; the loss."""
        self.student.grad = self.head.grad = None
        loss = contestant(self.student, self.teacher, self.head)
        if loss is None:
            return None
        loss.backward()
        return loss.item()


def synchronize(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def seconds(inputs: Inputs, contestant: Contestant, clock: str) -> float:
    now = time.process_time if clock == "cpu" else time.perf_counter
    synchronize(inputs.head.device.type)
    start = now()
    inputs.call(contestant)
    synchronize(inputs.head.device.type)
    return now() - start


def peak_bytes(inputs: Inputs, contestant: Contestant) -> int:
    """Beyond the inputs and their gradients."""
    inputs.student.grad = inputs.head.grad = None
    gc.collect()
    if inputs.head.is_cuda:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        inputs.call(contestant)
        return max(torch.cuda.max_memory_allocated() - before - gradient_bytes(inputs), 0)
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts over
    before = _status("VmRSS")
    inputs.call(contestant)
    return max(_status("VmHWM") - before - gradient_bytes(inputs), 0)


def gradient_bytes(inputs: Inputs) -> int:
    gradients = (inputs.student.grad, inputs.head.grad)
    return sum(gradient.nbytes for gradient in gradients if gradient is not None)


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))


@dataclass
class Reference:
    """The reverse KL in float64, by autograd on full logits, a chunk at a time."""

    loss: float
    student_grad: Tensor
    head_grad: Tensor

    @classmethod
    def of(cls, inputs: Inputs) -> Reference:
        student, teacher, head = (
            x.detach().double().requires_grad_(x.requires_grad)
            for x in (inputs.student, inputs.teacher, inputs.head)
        )
        total = 0.0
        for start in range(0, len(student), REFERENCE_CHUNK):
            rows = slice(start, start + REFERENCE_CHUNK)
            log_p = torch.log_softmax(student[rows] @ head.t(), -1)
            log_q = torch.log_softmax(teacher[rows] @ head.detach().t(), -1)
            loss = (log_p.exp() * (log_p - log_q)).sum()
            loss.backward()
            total += loss.item()
        assert student.grad is not None and head.grad is not None
        return cls(total, student.grad, head.grad)

    def errors(self, inputs: Inputs, contestant: Contestant) -> list[float]:
        """Of the loss, of the hidden states' gradient, of the head's gradient."""
        loss = inputs.call(contestant)
        assert loss is not None
        found = [abs(loss - self.loss) / abs(self.loss)]
        for tensor, truth in (
            (inputs.student, self.student_grad),
            (inputs.head, self.head_grad),
        ):
            assert tensor.grad is not None
            found.append(float((tensor.grad.double() - truth).abs().max() / truth.abs().max()))
        return found


def available(names: Sequence[str]) -> dict[str, Contestant]:
    """Those whose package is there; the others are named."""
    found, tiny = {}, Inputs.make((8, 100, 4), torch.float32, "cpu")
    for name in names:
        try:
            tiny.call(CONTESTANTS[name])
        except (ImportError, RuntimeError) as error:
            print(f"{name} cannot run here: {str(error).splitlines()[0][:120]}")
        else:
            found[name] = CONTESTANTS[name]
    return found


def measure(args: argparse.Namespace, shape: Sequence[int], contestants: dict) -> None:
    print(f"\nH={shape[0]} V={shape[1]} T={shape[2]} {args.device} threads={args.threads}")
    columns = ("dtype", "what", "seconds", "x floor", "x first floor", "extra MiB", "errors")
    print("{:9}{:19}{:>9}{:>9}{:>15}{:>11}  {}".format(*columns))
    first_floor = None
    for dtype in args.dtypes:
        inputs = Inputs.make(shape, getattr(torch, dtype), args.device)
        rounds = []
        for _ in range(args.repeats + 1):  # the first round warms up
            rounds.append([seconds(inputs, call, args.clock) for call in contestants.values()])
        best = dict(zip(contestants, map(min, zip(*rounds[1:], strict=True)), strict=True))
        memory = {name: peak_bytes(inputs, call) for name, call in contestants.items()}
        reference = Reference.of(inputs) if args.errors else None
        own_floor = best.get("floor", float("nan"))
        first_floor = first_floor or own_floor
        for name, call in contestants.items():
            errors = ""
            if reference is not None and name in EXACT:
                errors = " ".join(f"{e:.0e}" for e in reference.errors(inputs, call))
            print(
                f"{dtype:9}{name:19}{best[name]:9.3f}{best[name] / own_floor:9.2f}"
                f"{best[name] / first_floor:15.2f}{memory[name] / 2**20:11.0f}  {errors}"
            )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shapes", nargs="+", default=SHAPES, metavar="H,V,T")
    parser.add_argument("--dtypes", nargs="+", default=["float32", "bfloat16"])
    parser.add_argument("--only", nargs="+", default=list(CONTESTANTS), choices=list(CONTESTANTS))
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--clock", choices=["wall", "cpu"], default="wall")
    parser.add_argument("--errors", action=argparse.BooleanOptionalAction, default=True)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    contestants = available(args.only)
    for shape in args.shapes:
        measure(args, [int(part) for part in shape.split(",")], contestants)


if __name__ == "__main__":
    main()
