"""Objectives: the output layer asked for the labelled positions alone gives the loss and the gradients of all."""

import math

import pytest
import torch
from torch import nn

from minillm.data import IGNORE_INDEX
from minillm.models import LSTMLM, RECIPES, BigramLM, Decoder, LSTMConfig, ModelConfig
from minillm.system import Compute, pick_device
from minillm.training import causal_lm, causal_lm_sum, mean_loss

MODELS = {
    "bigram": lambda: BigramLM(20),
    "lstm": lambda: LSTMLM(LSTMConfig(20, layers=1, width=16)),
    **{name: lambda name=name: Decoder(ModelConfig(20, 16, 2, 16, 2, recipe=name)) for name in RECIPES},
}


@pytest.mark.parametrize("name", MODELS)
def test_asking_for_the_labelled_positions_alone_changes_neither_loss_nor_gradient(name):
    torch.manual_seed(0)
    model = MODELS[name]()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)  # branches that begin at zero would hide a slip
    ids, labels = torch.randint(20, (2, 3, 10))
    labels[torch.rand(3, 10) < 0.5] = IGNORE_INDEX
    mask = torch.ones(3, 10, dtype=torch.long)
    mask[0, :4], mask[1, 7:] = 0, 0
    labels[mask == 0] = IGNORE_INDEX
    labels[2] = IGNORE_INDEX
    total, count = causal_lm(model, {"input_ids": ids, "labels": labels, "attention_mask": mask})
    all_total, all_count = causal_lm_sum(model(ids[:, :-1], mask[:, :-1]), labels)
    torch.testing.assert_close(total, all_total)
    assert count == all_count
    parameters = list(model.parameters())
    ours = torch.autograd.grad(total, parameters, allow_unused=True)
    for a, b in zip(ours, torch.autograd.grad(all_total, parameters, allow_unused=True), strict=True):
        torch.testing.assert_close(a, b)


def test_a_batch_without_labels_has_loss_zero_and_gradients_of_zero():
    model = Decoder(ModelConfig(20, 16, 1, 16, 2))
    ids = torch.randint(20, (2, 6))
    total, count = causal_lm(model, {"input_ids": ids, "labels": torch.full_like(ids, IGNORE_INDEX)})
    total.backward()
    assert total.item() == 0 and count == 0
    assert all(p.grad.abs().sum() == 0 for p in model.parameters())


def test_a_mean_loss_needs_no_more_than_model_loss_and_batches():
    model, batches = BigramLM(5), [{"input_ids": torch.tensor([[0, 1, 2]]), "labels": torch.tensor([[0, 1, 2]])}]
    assert mean_loss(model, causal_lm, batches) == pytest.approx(math.log(5))
    assert mean_loss(model, causal_lm, batches) == mean_loss(model, causal_lm, batches, pick_device("cpu", "fp32"))
    assert Compute.of(nn.Identity()).device.type == "cpu"
