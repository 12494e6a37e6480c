"""Pairs whose beginning is read once: the same numbers and gradients as row by row, or the plain way."""

import pytest
import torch
from toys import TOKENIZER, ask, decoder, preferences

from minillm import peft
from minillm.align import logprobs_of_batch, pair_of_answers
from minillm.align.dpo import pair_logprob
from minillm.align.pairs import Beginnings, hidden_of_pairs, rewards_of_pairs, shares_beginnings
from minillm.data import Padded
from minillm.models import LSTMLM, RECIPES, LSTMConfig, RewardModel
from minillm.training import inputs_of

TALK = [*ask("a"), {"role": "assistant", "content": "bcd"}, *ask("c")]
PAIRS = [*preferences(6), (ask("c" * 17), "abcdefgh", "a"), (TALK, "d", "da"), (ask(""), "b", "abcdef")]
EXAMPLES = [pair_of_answers(*pair, TOKENIZER, 32) for pair in PAIRS]
PARTS = [peft.LoRA(rank=4), peft.IA3(), peft.PrefixTuning(length=3), peft.LlamaAdapter(length=3)]
WHOLE = [peft.SoftPrompt(length=3), peft.PTuning(length=3)]


def batch_of(examples=EXAMPLES, **more):
    return next(iter(Padded(examples, TOKENIZER.pad_id, len(examples), **more)))


def stirred(model):
    """No weight is 0, and every one learns."""
    generator = torch.Generator().manual_seed(2)
    for parameter in model.requires_grad_(True).parameters():
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator)
    return model.eval()


def adapted(method, **changes):
    model = decoder(layers=2, **changes)
    return stirred(peft.inject(model, method, generator=torch.Generator().manual_seed(1)))


def with_gradients(model, numbers):
    model.zero_grad()
    weights = torch.randn(len(numbers), generator=torch.Generator().manual_seed(3))
    (numbers * weights).sum().backward()
    return numbers.detach(), {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def readings(monkeypatch):
    """How often the beginnings are kept."""
    made = []
    monkeypatch.setattr("minillm.align.pairs.Beginnings", lambda: made.append(1) or Beginnings())
    return made


def row_by_row(model, batch):
    return model(**inputs_of(batch))


def agree(model, batch, plain=logprobs_of_batch, shared=pair_logprob):
    (a, one), (b, other) = (with_gradients(model, read(model, batch)) for read in (plain, shared))
    torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)
    assert one.keys() == other.keys() and any(g.abs().max() > 1e-3 for g in one.values())
    for name in one:
        size = max(1.0, one[name].abs().max().item())  # those through a norm of a small branch are large
        torch.testing.assert_close(one[name], other[name], atol=1e-5 * size, rtol=1e-5, msg=name)


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_says_and_learns_what_it_does_row_by_row(recipe, causal, monkeypatch):
    made = readings(monkeypatch)
    for changes in ({}, {"kv_heads": 1}, {"dropout": 0.5}):
        model, batch = decoder(recipe=recipe, layers=2, **changes), batch_of(causal=causal)
        agree(model, batch)
        means = logprobs_of_batch(model, batch, average=True)
        torch.testing.assert_close(pair_logprob(model, batch, average=True), means, atol=1e-5, rtol=0)
    assert len(made) == 6


@pytest.mark.parametrize("method", PARTS, ids=lambda method: method.key)
def test_a_model_that_is_adapted_in_its_parts_reads_the_beginning_once(method, monkeypatch):
    made, batch = readings(monkeypatch), batch_of(causal=True)
    for recipe in ("minillm", "llama"):
        model = adapted(method, recipe=recipe)
        agree(model, batch)
    assert len(made) == 2


@pytest.mark.parametrize("method", WHOLE, ids=lambda method: method.key)
def test_a_model_with_a_prompt_of_its_own_reads_row_by_row(method, monkeypatch):
    made, batch, model = readings(monkeypatch), batch_of(causal=True), adapted(method)
    agree(model, batch)
    scores = stirred(RewardModel(model))
    agree(scores, batch, row_by_row, rewards_of_pairs)
    assert not made


def test_a_model_without_keys_and_values_reads_row_by_row(monkeypatch):
    made, batch = readings(monkeypatch), batch_of(causal=True)
    model = LSTMLM(LSTMConfig(TOKENIZER.vocab_size, width=16)).eval()
    agree(model, batch)
    assert not made


@pytest.mark.parametrize("examples", [EXAMPLES, EXAMPLES[:1], EXAMPLES[6:7] * 2], ids=["ragged", "one", "alike"])
def test_a_reward_model_says_and_learns_what_it_does_row_by_row(examples, monkeypatch):
    made, batch = readings(monkeypatch), batch_of(examples)
    for recipe in RECIPES:
        model = stirred(RewardModel(decoder(recipe=recipe, layers=2), dropout=0.5))
        agree(model, batch, row_by_row, rewards_of_pairs)
    assert len(made) == len(RECIPES)
    for pooling in ("mean", "first"):  # another place than the last needs all of the row
        model = stirred(RewardModel(decoder(), pooling=pooling))
        agree(model, batch, row_by_row, rewards_of_pairs)
    assert len(made) == len(RECIPES)


def test_texts_padded_on_the_left_or_several_in_a_row_are_read_row_by_row():
    right, left = torch.tensor([[1, 1, 0], [1, 1, 1]]), torch.tensor([[0, 1, 1], [1, 1, 1]])
    packed = torch.tensor([[1, 1, 2], [1, 1, 1]])
    assert [shares_beginnings(decoder(), mask) for mask in (None, right, left, packed)] == [True, True, False, False]
    batch, model = batch_of(), stirred(RewardModel(decoder()))
    ids = TOKENIZER.pad([one["input_ids"] for pair in EXAMPLES for one in pair], side="left")
    torch.testing.assert_close(rewards_of_pairs(model, ids), rewards_of_pairs(model, batch), atol=1e-5, rtol=0)


@pytest.mark.parametrize("context", [16, 8])
def test_pairs_with_nothing_in_common_and_with_nothing_asked_are_read_as_well(context):
    model, generator = decoder(context=context), torch.Generator().manual_seed(0)
    for alike in ([0, 0, 0], [0, 3, 8], [8, 8, 8]):
        ids = torch.randint(TOKENIZER.vocab_size, (3, 2, 8), generator=generator)
        for row, n in zip(ids, alike):
            row[1, :n], row[1, n:] = row[0, :n], (row[0, n:] + 1) % TOKENIZER.vocab_size
        ids = ids.flatten(0, 1)
        for keep in (torch.rand(ids.shape, generator=generator) < 0.3, ids == -1, ids == ids):
            torch.testing.assert_close(hidden_of_pairs(model, ids, keep), model.hidden(ids)[keep], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("recipe", ["minillm", "gpt2"])
def test_a_long_prompt_beside_a_long_answer_of_another_is_within_the_context(recipe):
    pairs = [(ask("c" * 20), "ab", "a"), (ask("c"), "abcdefgh" * 3, "a")]
    batch, model = (
        batch_of([pair_of_answers(*pair, TOKENIZER, 32) for pair in pairs], causal=True),
        decoder(recipe=recipe),
    )
    agree(model, batch)


def test_the_beginning_is_read_once(monkeypatch):
    model, batch, read = decoder(layers=2), batch_of(causal=True), []
    model.blocks[0].register_forward_pre_hook(lambda _, inputs: read.append(inputs[0].shape[:2]))
    pair_logprob(model, batch)
    prompts, answers = read
    labelled = (batch["labels"] >= 0).sum(1).max().item()
    assert prompts[0] == len(EXAMPLES) and answers == (2 * len(EXAMPLES), labelled)
