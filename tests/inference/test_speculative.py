"""Speculative decoding is exact: all cases counted, many texts drawn, token by token when greedy; the cache."""

import doctest
import itertools

import pytest
import torch

from minillm.inference import accept, generate, generate_speculatively, residual_distribution, speculative
from minillm.models import LSTMLM, BigramLM, CountBigram, Decoder, LSTMConfig, ModelConfig


def small(recipe="minillm", seed=0, **changes):
    torch.manual_seed(seed)
    settings = {"vocab_size": 12, "context": 48, "layers": 2, "width": 16, "heads": 2, "recipe": recipe}
    model = Decoder(ModelConfig(**settings | changes))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model.eval()


def bigram(V=12, seed=0):
    model = BigramLM(V)
    torch.nn.init.normal_(model.table.weight, generator=torch.Generator().manual_seed(seed))
    return model


def distributions(shape, seed):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).softmax(-1)


@pytest.mark.parametrize("zeros", [False, True])
def test_the_next_token_of_each_draft_has_the_large_model_s_distribution_in_every_case(zeros):
    # Two tokens drafted of three; p depends on what was drafted before. All 3 x 3 drafts and both refusals, counted.
    first, second, after = distributions((3,), 0), distributions((3, 3), 1), distributions((3, 3, 3), 2)
    q_first, q_second = distributions((3,), 3), distributions((3, 3), 4)
    if zeros:
        first = torch.tensor([0.0, 0.3, 0.7], dtype=torch.float64)
        q_second[0] = torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64)
    told = torch.zeros(3, 3, 3, dtype=torch.float64)  # of the three tokens that come first, in all that can happen
    for a, b in itertools.product(range(3), repeat=2):
        drawn = q_first[a] * q_second[a, b]
        take_a, take_b = (first[a] / q_first[a]).clamp(max=1), (second[a, b] / q_second[a, b]).clamp(max=1)
        if drawn == 0:
            continue
        told[a, b] += drawn * take_a * take_b * after[a, b]
        rest = residual_distribution(second[a], q_second[a])
        told[a] += (drawn * take_a * (1 - take_b) * rest)[:, None] * after[a]  # the large model goes on from there
        rest = residual_distribution(first, q_first)
        told += (drawn * (1 - take_a) * rest)[:, None, None] * second[:, :, None] * after
    torch.testing.assert_close(told, first[:, None, None] * second[:, :, None] * after)


def test_accepting_is_by_these_chances():
    p, q, drafted = distributions((3, 4), 5), distributions((2, 4), 6), torch.tensor([1, 2])
    generator, counts, n = torch.Generator().manual_seed(0), torch.zeros(3), 4000
    for _ in range(n):
        found, rest = accept(p, q, drafted, generator)
        counts[found] += 1
        expected = p[2] if found == 2 else residual_distribution(p[found], q[found])
        assert torch.equal(rest, expected)
    chance = (p[[0, 1], [1, 2]] / q[[0, 1], [1, 2]]).clamp(max=1)
    expected = torch.stack([1 - chance[0], chance[0] * (1 - chance[1]), chance[0] * chance[1]]).float()
    assert ((counts / n - expected).abs() < 4 * (expected * (1 - expected) / n).sqrt() + 1e-9).all()


def test_texts_are_drawn_as_the_large_model_draws_them():
    large, draft, start, n = bigram(3, 1), bigram(3, 2), torch.tensor([[0]]), 2500
    table = large.table.weight.detach().softmax(-1)
    expected = table[0][:, None, None] * table[:, :, None] * table[None]
    generator, counts = torch.Generator().manual_seed(0), torch.zeros(3, 3, 3)
    for _ in range(n):
        ids, _ = generate_speculatively(large, draft, start, 3, generator=generator, ahead=2)
        counts[tuple(ids[0, 1:].tolist())] += 1
    chi_square = ((counts - n * expected) ** 2 / (n * expected)).sum()
    assert chi_square < 54.1  # 26 degrees of freedom, p = 0.001
    wrong = draft.table.weight.detach().softmax(-1)
    wrong = wrong[0][:, None, None] * wrong[:, :, None] * wrong[None]
    assert ((counts - n * wrong) ** 2 / (n * wrong)).sum() > 200  # the test would notice


@pytest.mark.parametrize("recipe", ["minillm", "gpt2", "llama"])
@pytest.mark.parametrize("ahead", [1, 3, 7])
def test_greedy_texts_are_those_of_generate_whatever_the_draft(recipe, ahead):
    large, prompt = small(recipe), torch.tensor([[3, 7, 1]])
    expected = generate(large, prompt, 40, temperature=0)
    counted = CountBigram(torch.randint(0, 12, (99,), generator=torch.Generator().manual_seed(0)), 12)
    lstm = LSTMLM(LSTMConfig(12, 1, 8))
    for draft in (bigram(), counted, lstm, small(seed=9), large):
        ids, told = generate_speculatively(large, draft, prompt, 40, temperature=0, ahead=ahead)
        assert torch.equal(ids, expected)
        assert told.tokens == 40 and 0 <= told.accepted <= told.drafted
    assert told.acceptance == 1 and told.reads == -(-40 // (ahead + 1))  # its own draft


def test_the_cache_is_taken_back_after_a_refusal_also_of_token_shift():
    large, draft, prompt = small(), small(seed=3), torch.tensor([[1, 2]])
    large.shift.share.data.fill_(0.7)
    reader = speculative.Reader(large, 20, (1.0, 0, 1.0, 0.0))
    for text, count in (([1, 2, 3, 4, 5], 3), ([1, 2, 3, 9], 1), ([1, 2, 3, 9, 4, 4], 2), ([1, 2, 8], 1)):
        whole = large(torch.tensor([text]))[0].softmax(-1)
        torch.testing.assert_close(reader.read(text, count), whole[-count:])
    generate_speculatively(large, draft, prompt, 10)
    assert not any(module._forward_pre_hooks for module in large.modules())


def test_stops_end_a_text_as_those_of_generate_and_top_k_holds():
    large, prompt = small(), torch.tensor([[3, 7, 1]])
    for stop in ([5], [[5, 2]], [4, 8]):
        expected = generate(large, prompt, 30, temperature=0, stop=stop)
        assert torch.equal(generate_speculatively(large, bigram(), prompt, 30, temperature=0, stop=stop)[0], expected)
    one, _ = generate_speculatively(large, bigram(), prompt, 20, top_k=1)
    assert torch.equal(one, generate(large, prompt, 20, temperature=0))


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match=r"input_ids are \[2, 3\]: speculative decoding takes one prompt"):
        generate_speculatively(small(), bigram(), torch.zeros(2, 3).long(), 4)
    with pytest.raises(ValueError, match="52 tokens do not fit into a model's context of 48"):
        generate_speculatively(small(), bigram(), torch.zeros(1, 2).long(), 50)
    with pytest.raises(ValueError, match="ahead is 0"):
        generate_speculatively(small(), bigram(), torch.zeros(1, 2).long(), 5, ahead=0)
    assert doctest.testmod(speculative, extraglobs={"torch": torch}).failed == 0
