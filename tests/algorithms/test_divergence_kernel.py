"""The Triton kernel in Triton's own interpreter, on the CPU, against the plain operations."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys

import pytest
import torch

from algorithms.divergence import divergence_loss, kernel_choice, kernels

TRITON = importlib.util.find_spec("triton") is not None
needs_triton = pytest.mark.skipif(not TRITON, reason="Triton is not installed: pip install triton")

# The interpreter is chosen when Triton is imported, so that a process of its own is needed.
COMPARE = """
import itertools, os, torch
from algorithms.divergence import KINDS, LogitMap, divergence_loss

def seen(choice, dtype, kind, vocab):
    os.environ["VERL_PI_DIVERGENCE_KERNEL"] = choice
    generator = torch.Generator().manual_seed(vocab)
    student, teacher, head = (
        (2.0 * torch.randn(shape, generator=generator)).bfloat16().to(dtype)
        for shape in ((5, 8), (5, 8), (vocab, 8))
    )
    student.requires_grad_(), head.requires_grad_()
    out = divergence_loss(
        student, teacher, head, kind=kind, weights_T=torch.randn(5, generator=generator),
        token_ids_T=torch.randint(vocab, (5,), generator=generator), jsd_weight=0.3,
        temperature=0.7, chunk_tokens=2, logit_map=LogitMap(scale=0.5),
    )
    out.loss.backward()
    return {
        "loss": out.loss, "values": out.per_token_T, "log-probs": out.log_prob_T,
        "entropy": out.entropy_T, "KL(p||q)": out.kl_student_T, "KL(q||p)": out.kl_teacher_T,
        "hidden": student.grad, "head": head.grad,
    }

compared = 0
# bfloat16 rounds the logits of both alike.
for dtype, exact, bound in (
    (torch.float32, torch.float64, 1e-5), (torch.bfloat16, torch.bfloat16, 2e-2)
):
    for kind, vocab in itertools.product(KINDS, (11, 5003)):
        truth = seen("never", exact, kind, vocab)
        for name, found in seen("always", dtype, kind, vocab).items():
            right = truth[name].double()
            error = (found.double() - right).abs().max() / right.abs().max()
            assert error < bound, (dtype, kind, vocab, name, float(error))
            compared += 1
print(compared, "compared")
"""


@needs_triton
def test_the_kernel_gives_what_float64_gives():
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", COMPARE],
        capture_output=True, text=True, env=environment, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.strip() == "96 compared"


def test_on_a_cpu_nothing_is_asked_of_it(monkeypatch):
    monkeypatch.setattr(kernels, "fused_values", lambda *_, **__: pytest.fail("asked"))
    monkeypatch.delenv(kernel_choice.SWITCH, raising=False)
    divergence_loss(torch.randn(3, 4), torch.randn(3, 4), torch.randn(7, 4))


@pytest.mark.parametrize("choice", ["never", "always"])
def test_the_environment_decides(monkeypatch, choice):
    asked = []
    monkeypatch.setenv(kernel_choice.SWITCH, choice)

    def fused_values(logits, *_, **__):
        asked.append(logits.shape)
        return {"divergence": torch.zeros(len(logits))}

    monkeypatch.setattr(kernels, "fused_values", fused_values)
    divergence_loss(torch.randn(3, 4), torch.randn(3, 4), torch.randn(7, 4))
    assert asked == ([(3, 7)] if choice == "always" else [])


def test_a_misspelt_choice_is_refused(monkeypatch):
    monkeypatch.setenv(kernel_choice.SWITCH, "sometimes")
    with pytest.raises(ValueError, match="measured, always, never; got 'sometimes'"):
        divergence_loss(torch.randn(3, 4), torch.randn(3, 4), torch.randn(7, 4))
