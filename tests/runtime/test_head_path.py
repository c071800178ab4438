"""Which path a model's loss terms take, that both come to the same, and that binding leaves the
plain forward alone."""

from __future__ import annotations

from typing import Any

import pytest
import tiny_model
import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM

from algorithms.base import LossSettings
from algorithms.divergence import LogitMap
from algorithms.runtime.head_path import FUSED, head_path
from algorithms.runtime.term_forward import bind
from algorithms.runtime.term_requests import (
    HiddenRequest,
    LossRequest,
    MeasureRequest,
    TermTokens,
)

PROMPT = torch.tensor([[5, 6, 7, 8, 9, 10]])
PLACES = torch.tensor([1, 3, 4])
SMALL = {
    "vocab_size": tiny_model.VOCAB, "hidden_size": 32, "intermediate_size": 48,
    "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8,
    "max_position_embeddings": 64, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 1,
    "initializer_range": 0.3, "attn_implementation": "eager",
}  # fmt: skip
# Settings under which a mistaken map would be seen.
TELLING = {
    "granite": {"logits_scaling": 3.0},
    "cohere": {"logit_scale": 0.3},
    "cohere2": {"logit_scale": 0.3},
    "gemma2": {"final_logit_softcapping": 2.0},
    "gemma3_text": {"final_logit_softcapping": 2.0},
    "qwen2_moe": {"num_experts": 2, "moe_intermediate_size": 16, "num_experts_per_tok": 1},
    "qwen3_moe": {"num_experts": 2, "moe_intermediate_size": 16, "num_experts_per_tok": 1},
}


def build(kind: str, **settings) -> Any:
    torch.manual_seed(0)
    config = AutoConfig.for_model(kind, **(SMALL | TELLING.get(kind, {}) | settings))
    return AutoModelForCausalLM.from_config(config).float().eval()


@pytest.fixture
def model(tmp_path):
    return AutoModelForCausalLM.from_pretrained(tiny_model.save_model(tmp_path, tied=False)).eval()


@pytest.mark.parametrize("kind", sorted(FUSED))
def test_hidden_states_and_the_map_give_the_models_own_logits(kind):
    model = build(kind)
    with torch.no_grad():
        logits_TV = model(PROMPT).logits[0]
        path = bind(model)
        assert torch.equal(model(PROMPT).logits[0], logits_TV)
        output = model(PROMPT, term_request=HiddenRequest(PLACES, with_head=True))
    assert path.fused
    found = path.logit_map(output["hidden"] @ output["head"].T)
    torch.testing.assert_close(found, logits_TV[PLACES], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", sorted({*TELLING} - {"qwen2_moe", "qwen3_moe"}))
def test_the_settings_of_the_test_before_would_tell(kind):
    assert head_path(build(kind)).logit_map != LogitMap()


@pytest.mark.parametrize(("setting", "value"), [("logit_scale", 1.0), ("logits_scaling", None)])
def test_a_setting_without_effect_is_none(model, setting, value):
    setattr(model.config, setting, value)
    assert head_path(model).logit_map == LogitMap()


def biased(model: Any) -> Any:
    model.lm_head = nn.Linear(32, tiny_model.VOCAB, bias=True)
    return model


def headless(model: Any) -> Any:
    model.get_output_embeddings = lambda: None
    return model


def wrapped(model: Any) -> Any:
    """As of models that see: their text part is known, but what they make of it need not be."""
    model.config.model_type, text = "made_up", model.config
    model.config.get_text_config = lambda *_, **__: type(text)()
    return model


def unknown(model: Any) -> Any:
    model.config.model_type = "made_up"
    return model


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (biased, "bias"),
        (headless, "no linear output head"),
        (unknown, "compared it for made_up"),
        (wrapped, "compared it for made_up"),
    ],
)
def test_other_models_take_the_plain_path_and_say_so(model, change, why, caplog):
    path = bind(change(model))
    assert not path.fused and why in path.reason
    assert why in caplog.text and "[tokens, vocabulary]" in caplog.text


def test_the_fused_path_is_logged_as_well(model, caplog):
    bind(model)
    assert "LlamaForCausalLM: loss terms by the fused pass over the head" in caplog.text


def states(model: nn.Module, prompt: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return model(prompt, term_request=HiddenRequest(PLACES, with_head=True))["hidden"]


def request(reference: torch.Tensor, **settings) -> LossRequest:
    tokens = TermTokens(
        token_ids_T=torch.tensor([4, 9, 30]),
        view_T=torch.tensor([0, 1, 0]),
        policy_gradient_T=torch.tensor([0.3, 0.0, 0.0]),
        distill_T=torch.tensor([0.5, 0.2, 0.0]),
        nll_T=torch.tensor([0.0, 0.4, 0.6]),
        advantage_T=torch.tensor([1.5, 0.0, 0.0]),
        old_log_prob_T=torch.tensor([-3.0, -4.0, -5.0]),
        reference_hidden_DH=reference[:2],
    )
    return LossRequest(PLACES, tokens, LossSettings(**settings), 0.7)


@pytest.mark.parametrize("kind", ["llama", "gemma2", "granite"])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"divergence": "jsd", "divergence_temperature": 1.3},
        {"max_importance_ratio": 2.0},
        {"divergence": "k3"},
        {"support": "teacher", "top_k": 5, "max_importance_ratio": 1.5},
    ],
)
def test_both_paths_give_the_same_loss_gradients_and_metrics(kind, settings):
    outputs, gradients = [], []
    for fused in (True, False):
        model = build(kind, tie_word_embeddings=False)
        if not fused:
            model.config.model_type = "made_up"
        assert bind(model).fused is fused
        # FSDP gives the model inputs of a batch; the reference saw other words before these.
        reference = states(model, PROMPT.flip(1))
        output = model(PROMPT, term_request=request(reference, **settings))
        output["loss"].backward()
        outputs.append(output)
        gradients.append({n: p.grad for n, p in model.named_parameters() if p.grad is not None})
    torch.testing.assert_close(outputs[0]["loss"], outputs[1]["loss"], rtol=1e-5, atol=1e-6)
    assert outputs[0]["metrics"].keys() == outputs[1]["metrics"].keys()
    for name, value in outputs[0]["metrics"].items():
        torch.testing.assert_close(value, outputs[1]["metrics"][name], rtol=1e-4, atol=1e-5)
    assert gradients[0].keys() == gradients[1].keys() and len(gradients[0]) > 5
    for name, value in gradients[0].items():
        torch.testing.assert_close(value, gradients[1][name], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("estimator", ["exact", "k1"])
def test_both_paths_measure_the_same(estimator):
    found = []
    for kind in ("gemma2", "made_up"):
        model = build("gemma2", tie_word_embeddings=False)
        model.config.model_type = kind
        bind(model)
        asked = MeasureRequest(
            PLACES, token_ids_D=torch.tensor([4, 9, 30]),
            reference_hidden_DH=states(model, PROMPT.flip(1)), reference_head_VH=None,
            temperature=1.0, estimator=estimator,
        )  # fmt: skip
        with torch.no_grad():
            found.append(model(PROMPT, term_request=asked)["token_kl"])
    torch.testing.assert_close(found[0], found[1], rtol=1e-4, atol=1e-5)
    assert found[0].abs().max() > 1e-3


def test_the_head_is_a_copy(model):
    bind(model)
    output = model(PROMPT, term_request=HiddenRequest(PLACES, with_head=True))
    assert output["head"].data_ptr() != model.lm_head.weight.data_ptr()
