"""The loss by parts: the loss and the gradients of the whole, and fewer logits at once."""

import copy

import pytest
import torch

from minillm.models import LSTMLM, Decoder, LSTMConfig, ModelConfig
from minillm.peft import LoRA, SoftPrompt, freeze, inject
from minillm.training import by_parts, causal_lm, causal_lm_by_parts, causal_objective

V = 50


def batch(padded=False):
    ids = torch.randint(V, (3, 21), generator=torch.Generator().manual_seed(0))
    labels = ids.clone()
    labels[0, :9] = -100
    return {"input_ids": ids, "labels": labels} | ({"attention_mask": torch.ones_like(ids)} if padded else {})


def model(recipe, adapter=None):
    torch.manual_seed(0)
    made = Decoder(ModelConfig(V, context=40, layers=2, width=16, heads=2, recipe=recipe)).double()
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    if adapter is not None:
        made = inject(made, adapter, generator=torch.Generator().manual_seed(1))
        freeze(made)
    return made


def step(model, loss, padded):
    total, count = loss(model, batch(padded))
    (total / count).backward()
    return float(total.detach()), int(count), {name: p.grad for name, p in model.named_parameters()}


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("adapter", [None, LoRA(rank=2), LoRA(rank=2, targets=("head",)), SoftPrompt(length=3)])
@pytest.mark.parametrize("recipe", ["minillm", "llama-tied", "gpt2"])
def test_the_loss_and_every_gradient_are_those_of_the_whole(recipe, adapter, padded, monkeypatch):
    monkeypatch.setattr(by_parts, "PART", 7 * V)
    whole = model(recipe, adapter)
    loss, count, gradients = step(copy.deepcopy(whole), causal_lm, padded)
    found = step(whole, causal_lm_by_parts, padded)
    assert abs(found[0] - loss) < 1e-4 * loss and found[1] == count  # summed in fp32
    for name, gradient in gradients.items():
        assert (gradient is None) == (found[2][name] is None), name
        assert gradient is None or torch.allclose(gradient, found[2][name], rtol=1e-5, atol=1e-7), name
    with torch.no_grad():
        assert abs(float(causal_lm_by_parts(whole, batch(padded))[0]) - loss) < 1e-4 * loss


def test_no_more_logits_are_made_at_once_than_a_part(monkeypatch):
    monkeypatch.setattr(by_parts, "PART", 7 * V)
    seen, whole = [], model("llama")
    whole.head.register_forward_hook(lambda *call: seen.append(len(call[2])))
    causal_lm_by_parts(whole, batch())
    assert max(seen) == 7 and sum(seen) == 60 - 8


def test_a_large_vocabulary_is_what_it_is_for():
    large = Decoder(ModelConfig(by_parts.LARGE, context=8, layers=1, width=8, heads=1))
    assert causal_objective(large) is causal_lm_by_parts and causal_objective(model("llama")) is causal_lm
    assert causal_objective(LSTMLM(LSTMConfig(by_parts.LARGE, 1, 8))) is causal_lm_by_parts
