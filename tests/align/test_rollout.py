"""Rollouts: which tokens are the policy's, and that what it is held to is what it was drawn from."""

from types import SimpleNamespace

import pytest
import torch
from toys import PROMPTS, TOKENIZER, ask, decoder

import minillm.inference.generation
from minillm.align import prompt_ids
from minillm.align import rollout as module
from minillm.align.actor import Actor
from minillm.align.rollout import Rollout, answer_logprobs, sample
from minillm.data import IGNORE_INDEX
from minillm.inference import filter_logits
from minillm.training import sequence_logprobs

A, B, C = TOKENIZER.encode("abc")
EOS, PAD, BOS = TOKENIZER.eos_id, TOKENIZER.pad_id, TOKENIZER.bos_id
USER, ASSISTANT = TOKENIZER.specials["<|user|>"], TOKENIZER.specials["<|assistant|>"]
X = IGNORE_INDEX


def drawn(policy, seed=0, temperature=1.0, length=8):
    return sample(policy, TOKENIZER, PROMPTS, length, temperature, torch.Generator().manual_seed(seed))


def test_labels_and_masks_of_ragged_prompts_equal_those_written_by_hand(monkeypatch):
    new = torch.tensor([[B, EOS, PAD, PAD], [A, B, C, A], [EOS, PAD, PAD, PAD], [C, PAD, USER, EOS]])
    monkeypatch.setattr(module, "generate", lambda policy, prompts, *_, **__: torch.cat((prompts, new), dim=1))
    found = sample(decoder(), TOKENIZER, [ask("a"), ask("ab"), ask("ab"), ask("b")], 4)
    assert found.input_ids.tolist() == [
        [PAD, BOS, USER, A, ASSISTANT, B, EOS, PAD, PAD],
        [BOS, USER, A, B, ASSISTANT, A, B, C, A],
        [BOS, USER, A, B, ASSISTANT, EOS, PAD, PAD, PAD],
        [PAD, BOS, USER, B, ASSISTANT, C, PAD, USER, EOS],
    ]
    assert found.attention_mask.tolist() == [
        [0, 1, 1, 1, 1, 1, 1, 0, 0],
        [1, 1, 1, 1, 1, 1, 1, 1, 1],
        [1, 1, 1, 1, 1, 1, 0, 0, 0],
        [0, 1, 1, 1, 1, 1, 1, 1, 1],  # padding that was drawn before the end is a token like any other
    ]
    assert found.labels.tolist() == [
        [X, X, X, X, X, B, EOS, X, X],
        [X, X, X, X, X, A, B, C, A],
        [X, X, X, X, X, EOS, X, X, X],
        [X, X, X, X, X, C, PAD, USER, EOS],
    ]
    assert found.ended.tolist() == [True, False, True, True] and found.answers == ["b", "abca", "", "c"]
    assert found.mask.sum(1).tolist() == [2, 4, 1, 4] and found.mask.shape == (4, 8)
    some = found.rows(torch.tensor([2, 0]))
    assert some.answers == ["", "b"] and torch.equal(some.labels, found.labels[[2, 0]])
    assert some.conversations == [ask("ab"), ask("a")] and some.ended.tolist() == [True, True]


@pytest.mark.parametrize("recipe", ["minillm", "gpt2", "llama"])
def test_log_probabilities_equal_those_of_each_text_alone_without_padding(recipe):
    policy = decoder(recipe=recipe)
    rollout = drawn(policy)
    assert rollout.ended.any() and not rollout.ended.all()
    found = answer_logprobs(policy, rollout)
    assert not found[~rollout.mask].any()
    for row, kept in enumerate(rollout.attention_mask.bool()):
        ids, labels = rollout.input_ids[row, kept][None], rollout.labels[row, kept][None]
        assert found[row].sum().item() == pytest.approx(sequence_logprobs(policy(ids), labels).item(), abs=1e-5)


@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_log_probabilities_are_those_under_which_the_tokens_were_drawn(monkeypatch, temperature):
    policy, chosen = decoder(dropout=0.5).train(), []
    choose_token = minillm.inference.generation.choose_token

    def recorded(logits, *settings):
        token = choose_token(logits, *settings)
        chosen.append(filter_logits(logits, *settings[:3]).log_softmax(-1).gather(1, token[:, None]))
        return token

    monkeypatch.setattr(minillm.inference.generation, "choose_token", recorded)
    rollout = drawn(policy, temperature=temperature)
    assert policy.training
    found, _, entropy = Actor(policy).eval()(rollout, temperature)
    drawn_with = torch.cat(chosen, dim=1)
    mask = rollout.mask[:, -drawn_with.size(1) :]
    torch.testing.assert_close(found[rollout.mask], drawn_with[mask], atol=1e-5, rtol=0)
    assert (entropy[rollout.mask] > 0).all() and not entropy[~rollout.mask].any()
    if temperature == 1:
        torch.testing.assert_close(answer_logprobs(policy, rollout), found, atol=1e-6, rtol=0)


def test_padding_on_the_other_side_changes_no_log_probability():
    policy = decoder()
    rollout = drawn(policy)
    right = []
    for key, fill in (("input_ids", PAD), ("attention_mask", 0), ("labels", IGNORE_INDEX)):
        rows = [row[kept] for row, kept in zip(getattr(rollout, key), rollout.attention_mask.bool())]
        right.append(torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=fill))
    other = Rollout(rollout.conversations, rollout.answers, *right, rollout.ended)
    assert (other.attention_mask[:, 0] == 1).all() and not other.attention_mask[:, -1].all()
    a, b = answer_logprobs(policy, rollout), answer_logprobs(policy, other)
    torch.testing.assert_close(b[other.mask], a[rollout.mask], atol=1e-5, rtol=0)


def test_an_end_within_the_prompt_ends_no_answer():
    talk = [*ask("a"), {"role": "assistant", "content": "b"}, *ask("c")]
    rollout = sample(decoder(), TOKENIZER, [talk, ask("def"), talk], 8, generator=torch.Generator().manual_seed(0))
    prompt = TOKENIZER.apply_chat(talk, reply=True)[0]
    for row in (0, 2):
        ids = rollout.input_ids[row][rollout.attention_mask[row] == 1].tolist()
        answer = rollout.labels[row][rollout.labels[row] != X].tolist()
        assert ids == prompt + answer and EOS in prompt and len(answer) >= 1
        assert rollout.ended[row] == (answer[-1] == EOS) and EOS not in answer[:-1]


def test_the_likeliest_answer_is_the_same_alone_and_in_a_batch():
    policy = decoder()
    together = sample(policy, TOKENIZER, PROMPTS, 6, temperature=0)
    alone = [sample(policy, TOKENIZER, [prompt], 6, temperature=0).answers[0] for prompt in PROMPTS]
    assert together.answers == alone


def test_an_answer_stops_where_the_context_ends():
    rollout = drawn(decoder(context=12), length=80)
    assert rollout.input_ids.size(1) <= 12 and rollout.mask.any(1).all()


def test_a_long_prompt_cuts_no_answer_short_but_its_own():
    long, longer, prompts = ask("gh ab" * 4 + "cde"), ask("gh ab" * 5), [ask("a"), ask("bc"), ask("def")]
    policy, generator = decoder(), torch.Generator()
    alone = sample(policy, TOKENIZER, prompts, 12, generator=generator.manual_seed(0))
    mixed = [prompts[0], longer, prompts[1], long, prompts[2], longer]
    beside = sample(policy, TOKENIZER, mixed, 12, generator=generator.manual_seed(0))
    assert beside.conversations == mixed and beside.input_ids.size(1) <= policy.config.context
    assert [beside.answers[i] for i in (0, 2, 4)] == alone.answers
    assert torch.equal(beside.ended[[0, 2, 4]], alone.ended) and max(map(len, alone.answers)) > 5
    lengths = beside.mask.sum(1).tolist()
    assert [lengths[i] for i in (0, 2, 4)] == alone.mask.sum(1).tolist()
    for row, prompt in enumerate(mixed):
        start = TOKENIZER.apply_chat(prompt, reply=True)[0]
        ids = beside.input_ids[row][beside.attention_mask[row] == 1].tolist()
        answer = beside.labels[row][beside.labels[row] != X].tolist()
        assert ids == start + answer and len(ids) <= policy.config.context
        assert answer[-1] == EOS or len(answer) == min(12, policy.config.context - len(start))
    found = answer_logprobs(policy, beside)
    for row, kept in enumerate(beside.attention_mask.bool()):  # the policy reads each as it would alone
        ids, labels = beside.input_ids[row, kept][None], beside.labels[row, kept][None]
        assert found[row].sum().item() == pytest.approx(sequence_logprobs(policy(ids), labels).item(), abs=1e-5)


def test_a_vocabulary_filled_up_with_rows_of_no_token_is_its_tokenizers(monkeypatch):
    padded = decoder(tokenizer=SimpleNamespace(vocab_size=64))
    new = torch.tensor([[A, 63, B, 40, EOS]])
    monkeypatch.setattr(module, "generate", lambda policy, prompts, *_, **__: torch.cat((prompts, new), dim=1))
    found = sample(padded, TOKENIZER, [ask("a")], 5)
    assert found.answers == ["ab"]
    assert found.labels[0, -5:].tolist() == new[0].tolist()  # what was drawn is learned from, whatever it says
    for size in (63, TOKENIZER.vocab_size - 1, 64 * 20):
        with pytest.raises(ValueError, match=f"the policy reads {size} different tokens and the tokenizer has 18"):
            sample(decoder(tokenizer=SimpleNamespace(vocab_size=size)), TOKENIZER, [ask("a")], 5)


def test_prompts_that_cannot_be_answered_are_refused():
    with pytest.raises(ValueError, match=r"a prompt of 11 tokens leaves no room .* a context of 8: shorten '<\|bos\|>"):
        sample(decoder(context=8), TOKENIZER, [ask("a"), ask("abcdefgh")], 4)
    with pytest.raises(ValueError, match="no prompts to answer: bring at least one"):
        sample(decoder(), TOKENIZER, [], 4)
    with pytest.raises(ValueError, match=r"the policy reads 18 different tokens and the tokenizer has 12"):
        sample(decoder(), TOKENIZER.characters("abc"), [ask("a")], 4)
    for length in (0, -3):
        with pytest.raises(ValueError, match=f"max_new_tokens is {length}: an answer takes at least 1"):
            sample(decoder(), TOKENIZER, [ask("a")], length)
    assert prompt_ids(TOKENIZER, [ask("abcd")], 8) == [TOKENIZER.apply_chat(ask("abcd"), reply=True)[0]]  # 7 of 8
