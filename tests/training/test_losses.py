"""Losses against loops over tokens, and the edges: nothing to learn, everything ignored."""

import math

import pytest
import torch

from minillm.data import IGNORE_INDEX
from minillm.training import causal_lm_loss, causal_lm_sum, info_nce, masked_lm_loss, masked_lm_sum, sequence_logprobs


def example(B=3, T=7, V=11):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(B, T, V, generator=generator, requires_grad=True)
    labels = torch.randint(0, V, (B, T), generator=generator)
    labels[torch.rand(B, T, generator=generator) < 0.4] = IGNORE_INDEX
    return logits, labels


def slow_causal(logits, labels):
    terms = [
        -torch.log_softmax(logits[b, t], 0)[labels[b, t + 1]]
        for b in range(labels.size(0))
        for t in range(labels.size(1) - 1)
        if labels[b, t + 1] != IGNORE_INDEX
    ]
    return sum(terms), len(terms)


def test_the_causal_loss_equals_a_loop_in_value_and_gradient():
    logits, labels = example()
    total, count = slow_causal(logits, labels)
    expected = torch.autograd.grad(total / count, logits)[0]
    torch.testing.assert_close(causal_lm_sum(logits, labels)[0], total)
    assert causal_lm_sum(logits, labels)[1] == count
    torch.testing.assert_close(torch.autograd.grad(causal_lm_loss(logits, labels), logits)[0], expected)


def test_the_last_logits_may_be_left_out():
    logits, labels = example()
    assert torch.equal(causal_lm_loss(logits[:, :-1], labels), causal_lm_loss(logits, labels))
    assert torch.equal(sequence_logprobs(logits[:, :-1], labels), sequence_logprobs(logits, labels))
    with pytest.raises(ValueError, match="logits for 5 positions do not belong to labels of 7"):
        causal_lm_loss(logits[:, :-2], labels)


def test_the_masked_loss_does_not_shift():
    logits, labels = example()
    terms = [-torch.log_softmax(logits[b, t], 0)[labels[b, t]] for b, t in (labels >= 0).nonzero().tolist()]
    torch.testing.assert_close(masked_lm_loss(logits, labels), sum(terms) / len(terms))


def test_equal_logits_cost_the_logarithm_of_the_vocabulary():
    assert causal_lm_loss(torch.zeros(1, 3, 8), torch.tensor([[5, 1, 7]])).item() == pytest.approx(math.log(8))


@pytest.mark.parametrize("loss", [causal_lm_loss, masked_lm_loss])
def test_a_batch_with_nothing_to_learn_has_loss_and_gradient_zero(loss):
    logits, labels = example()
    value = loss(logits, torch.full_like(labels, IGNORE_INDEX))
    value.backward()
    assert value.item() == 0 and logits.grad.abs().sum() == 0
    assert loss(torch.zeros(0, 4, 11), torch.zeros(0, 4, dtype=torch.long)).item() == 0


def test_padding_columns_change_neither_loss_nor_gradient():
    logits, labels = example()
    wide_logits = torch.cat([logits, torch.randn(3, 5, 11)], dim=1)
    wide_labels = torch.cat([labels, torch.full((3, 5), IGNORE_INDEX)], dim=1)
    for function in (causal_lm_sum, masked_lm_sum):
        torch.testing.assert_close(function(wide_logits, wide_labels)[0], function(logits, labels)[0])


def test_sums_over_micro_batches_divided_once_are_the_mean_of_the_whole_batch():
    logits, labels = example(B=6)
    parts = [causal_lm_sum(logits[i : i + 2], labels[i : i + 2]) for i in range(0, 6, 2)]
    torch.testing.assert_close(sum(p[0] for p in parts) / sum(p[1] for p in parts), causal_lm_loss(logits, labels))


def test_sequence_logprobs_equal_a_loop_and_average_by_their_own_length():
    logits, labels = example()
    labels[2] = IGNORE_INDEX
    for b in range(3):
        terms = [
            torch.log_softmax(logits[b, t], 0)[labels[b, t + 1]].item()
            for t in range(6)
            if labels[b, t + 1] != IGNORE_INDEX
        ]
        assert sequence_logprobs(logits, labels)[b].item() == pytest.approx(sum(terms), abs=1e-5)
        mean = sum(terms) / max(len(terms), 1)
        assert sequence_logprobs(logits, labels, average=True)[b].item() == pytest.approx(mean, abs=1e-5)


def test_losses_are_computed_in_fp32_whatever_the_logits_are():
    logits, labels = example()
    assert causal_lm_loss(logits.bfloat16(), labels).dtype == torch.float32


def test_info_nce_equals_a_loop_and_knows_its_edges():
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.nn.functional.normalize(torch.randn(4, 3, generator=generator), dim=-1) for _ in range(2))
    terms = []
    for one, other in ((a, b), (b, a)):
        for i in range(4):
            scores = [(one[i] @ other[j]).item() / 0.2 for j in range(4)]
            terms.append(math.log(sum(map(math.exp, scores))) - scores[i])
    assert info_nce(a, b, 0.2).item() == pytest.approx(sum(terms) / 8, rel=1e-5)
    assert info_nce(torch.eye(2), torch.eye(2), 1.0).item() == pytest.approx(math.log(1 + math.exp(-1)))
    assert info_nce(a[:0], b[:0]).item() == 0 and info_nce(a[:1], b[:1]).item() == 0
    with pytest.raises(ValueError, match="the temperature is 0"):
        info_nce(a, b, 0)
