"""Gated convolutions against the plain sum and against a slow reading; how far they reach; padding; `fit`."""

import doctest

import pytest
import torch

from minillm.hub import rebuild
from minillm.inference import generate
from minillm.models import ConvolutionConfig, ConvolutionLM, causal_convolution, convolution
from minillm.training import TrainConfig, causal_lm, describe, fit


def model(**changes):
    torch.manual_seed(0)
    return ConvolutionLM(
        ConvolutionConfig(**{"vocab_size": 20, "layers": 2, "width": 16, "kernel": 3} | changes)
    ).eval()


def test_the_layer_is_its_equation_and_the_plain_sum_a_loop():
    layer, x = model().blocks[0], torch.randn(2, 7, 16)
    weight, bias = layer.convolution.weight, layer.convolution.bias
    y = causal_convolution(layer.norm(x), weight, bias)
    torch.testing.assert_close(layer(x, None), x + y[..., :16] * y[..., 16:].sigmoid())
    slow = torch.zeros(2, 7, 32) + bias
    for t in range(7):
        for k in range(3):
            if t - 2 + k >= 0:
                slow[:, t] += layer.norm(x)[:, t - 2 + k] @ weight[:, :, k].T
    torch.testing.assert_close(y, slow)
    assert doctest.testmod(convolution, extraglobs={"torch": torch}).failed == 0


@torch.no_grad()
def test_the_last_logit_depends_on_just_the_tokens_within_reach():
    lm, ids = model(), torch.randint(0, 20, (1, 12))
    assert lm.reach == 5
    for place in range(12):
        other = ids.clone()
        other[0, place] = (other[0, place] + 1) % 20
        changed = (lm(other) - lm(ids)).abs().amax(-1)[0] > 0
        assert changed.tolist() == [place <= t < place + 5 for t in range(12)]


@torch.no_grad()
def test_padding_on_either_side_changes_nothing():
    lm, ids = model(), torch.randint(0, 20, (2, 8))
    junk, real, none = torch.randint(0, 20, (2, 5)), torch.ones(2, 8), torch.zeros(2, 5)
    torch.testing.assert_close(lm(torch.cat([junk, ids], 1), torch.cat([none, real], 1))[:, 5:], lm(ids))
    torch.testing.assert_close(lm(torch.cat([ids, junk], 1), torch.cat([real, none], 1))[:, :8], lm(ids))
    keep = torch.rand(2, 8) < 0.5
    torch.testing.assert_close(lm(ids, keep=keep), lm(ids)[keep])


def test_fit_takes_it_and_it_learns_what_it_can_reach():
    rows = torch.arange(24).view(2, 12) % 6
    lm = model(vocab_size=6)
    history = fit(
        lm, causal_lm, [{"input_ids": rows, "labels": rows}], TrainConfig(steps=100, learning_rate=2e-2), progress=False
    )
    assert history.records[-1]["loss"] < 0.1 < 1.0 < history.records[0]["loss"]


def test_a_run_holds_it_and_it_generates():
    lm, ids = model(), torch.randint(0, 20, (2, 3))
    again = rebuild(describe(lm))
    again.load_state_dict(lm.state_dict())
    torch.testing.assert_close(again.eval()(ids), lm(ids))
    written = generate(lm, ids, 4, temperature=0)
    for t in range(3, 7):
        assert written[:, t].equal(lm(written[:, :t])[:, -1].argmax(-1))


def test_a_size_that_cannot_be_is_refused():
    with pytest.raises(ValueError, match="kernel is 0: it must be at least 1"):
        ConvolutionConfig(9, kernel=0)
