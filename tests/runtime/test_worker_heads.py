"""Which models the term forward takes, and that binding it leaves the plain forward alone."""

from __future__ import annotations

import pytest
import tiny_model
import torch
from torch import nn
from transformers import AutoModelForCausalLM

from algorithms.runtime.term_forward import HiddenRequest, UnsupportedModel, bind, check_head

PROMPT = torch.tensor([[5, 6, 7, 8]])


@pytest.fixture
def model(tmp_path):
    return AutoModelForCausalLM.from_pretrained(tiny_model.save_model(tmp_path, tied=False)).eval()


def test_a_plain_linear_head_is_taken(model):
    check_head(model)


def test_a_biased_head_is_refused(model):
    model.lm_head = nn.Linear(32, tiny_model.VOCAB, bias=True)
    with pytest.raises(UnsupportedModel, match="bias"):
        check_head(model)


def test_a_model_without_a_head_is_refused(model):
    model.lm_head = None
    with pytest.raises(UnsupportedModel, match="missing"):
        check_head(model)


@pytest.mark.parametrize(
    ("setting", "value"),
    [("final_logit_softcapping", 30.0), ("logit_scale", 0.0625), ("logits_scaling", 8.0)],
)
def test_capped_or_scaled_logits_are_refused(model, setting, value):
    setattr(model.config, setting, value)
    with pytest.raises(UnsupportedModel, match=f"{setting}.*Use a Llama"):
        bind(model)


@pytest.mark.parametrize(("setting", "value"), [("logit_scale", 1.0), ("logits_scaling", None)])
def test_a_setting_without_effect_is_no_obstacle(model, setting, value):
    setattr(model.config, setting, value)
    check_head(model)


def test_the_plain_forward_stays(model):
    with torch.no_grad():
        before = model(PROMPT).logits
        bind(model)
        assert torch.equal(model(PROMPT).logits, before)


def test_hidden_states_times_the_head_are_the_logits(model):
    bind(model)
    with torch.no_grad():
        logits_TV = model(PROMPT).logits[0]
        request = HiddenRequest(torch.tensor([1, 3]), with_head=True)
        output = model(PROMPT, term_request=request)
    assert torch.allclose(output["hidden"] @ output["head"].T, logits_TV[[1, 3]], atol=1e-5)
    assert output["head"].data_ptr() != model.lm_head.weight.data_ptr()
