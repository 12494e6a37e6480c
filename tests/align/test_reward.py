"""Reward models: where they look, where their loss begins, and what cannot be learned from."""

import math

import pytest
import torch
from toys import FP32, PROMPTS, TOKENIZER, ask, decoder, preferences, various

from minillm.align import (
    PPOConfig,
    RewardModelScorer,
    answer_example,
    pair_of_answers,
    preference,
    rewards_of,
    train_reward,
)
from minillm.align.best_of import best_of_n
from minillm.align.pairs import rewards_of_pairs
from minillm.align.ppo import train_ppo
from minillm.data import Padded
from minillm.inference import reply
from minillm.models import RewardModel
from minillm.system import Compute
from minillm.training import TrainConfig, preference_loss

COMPUTE = Compute(torch.device("cpu"), torch.float32)
ANSWERS = ["a", "bcd", "", "abcdabcd", "dd", "ca", "b", "acac"]


def reward_model(seed=0, **changes):
    model = RewardModel(decoder(seed, **changes))
    torch.nn.init.normal_(model.head.weight, generator=torch.Generator().manual_seed(seed))
    return model.eval()


def config(**changes):
    return TrainConfig(**({"steps": 3, "eval_every": 100, "warmup": 0, **FP32} | changes))


def test_the_loss_begins_at_ln_2_and_dropout_draws_nothing():
    histories = []
    for dropout in (0.0, 0.5):
        model = RewardModel(decoder(dropout=dropout), dropout=dropout)
        histories.append(train_reward(model, TOKENIZER, preferences(12), config(), progress=False))
        assert not model.training
    assert histories[0].records[0]["loss"] == pytest.approx(math.log(2), abs=1e-7)
    assert histories[0].records == histories[1].records


def test_the_last_real_token_is_read_whatever_stands_beside_it():
    model, texts = reward_model(), [[1, 2, 3], [4], [5, 6, 7, 8, 0]]
    alone = torch.stack([model(torch.tensor([ids]))[0] for ids in texts])
    last = torch.stack([model.head(model.trunk.hidden(torch.tensor([ids]))[0, -1])[0] for ids in texts])
    torch.testing.assert_close(alone, last)
    for side in ("left", "right"):
        batch = TOKENIZER.pad(texts, side=side)
        torch.testing.assert_close(model(**batch), alone, atol=1e-6, rtol=0)
        for filler in (3, TOKENIZER.eos_id):  # padding that looks like an end is no end
            batch["input_ids"][batch["attention_mask"] == 0] = filler
            torch.testing.assert_close(model(**batch), alone, atol=1e-6, rtol=0)


def test_the_reward_of_an_answer_is_that_of_the_whole_conversation_with_its_end_at_any_batch_size():
    model = reward_model()
    expected = []
    for conversation, answer in zip(PROMPTS, ANSWERS):
        ids, _ = TOKENIZER.apply_chat([*conversation, {"role": "assistant", "content": answer}])
        assert ids[-1] == TOKENIZER.eos_id
        expected.append(model(torch.tensor([ids])).item())
    for size in (1, 3, 32):
        found = RewardModelScorer(model, TOKENIZER, COMPUTE, batch_size=size)(PROMPTS, ANSWERS)
        assert found.tolist() == pytest.approx(expected, abs=1e-5) and not found.requires_grad
    assert RewardModelScorer(model, TOKENIZER, COMPUTE)([], []).shape == (0,)


def test_a_reward_keeps_its_digits_under_autocast():
    model = RewardModel(decoder())
    torch.nn.init.normal_(model.head.weight)
    examples = [answer_example(PROMPTS[0], text, TOKENIZER, 32) for text in ("ab", "ba", "abc", "cab")]
    batch = next(iter(Padded(examples, TOKENIZER.pad_id, 4)))
    with torch.autocast("cpu", torch.bfloat16):
        rewards = model(batch["input_ids"], batch["attention_mask"])
        paired = rewards_of_pairs(model, batch)
    assert rewards.dtype == paired.dtype == torch.float32
    assert not torch.equal(rewards, rewards.bfloat16().float())


def test_an_end_within_the_prompt_is_not_where_the_reward_is_read():
    model = reward_model()
    talk = [*ask("a"), {"role": "assistant", "content": "b"}, *ask("c")]
    ids = answer_example(talk, "de", TOKENIZER, 32)["input_ids"]
    assert ids.count(TOKENIZER.eos_id) == 2
    expected = model.head(model.trunk.hidden(torch.tensor([ids]))[0, -1]).item()
    rewards = RewardModelScorer(model, TOKENIZER, COMPUTE)
    assert rewards([ask("gh"), talk], ["abc", "de"])[1].item() == pytest.approx(expected, abs=1e-5)


def test_a_reward_that_is_no_number_is_not_called_indifferent():
    model = reward_model()
    torch.nn.init.constant_(model.head.weight, math.nan)
    with pytest.raises(FloatingPointError, match="the reward of 'a' is nan: a reward must be a finite number"):
        RewardModelScorer(model, TOKENIZER, COMPUTE).standardise(PROMPTS, ANSWERS)


def test_standardised_rewards_have_mean_0_and_deviation_1_and_keep_their_order():
    rewards = RewardModelScorer(reward_model(), TOKENIZER, COMPUTE)
    raw = rewards(PROMPTS, ANSWERS)
    for _ in range(2):  # measured again, nothing changes
        rewards.standardise(PROMPTS, ANSWERS)
        found = rewards(PROMPTS, ANSWERS)
        assert found.mean().item() == pytest.approx(0, abs=1e-6) and found.std().item() == pytest.approx(1, abs=1e-5)
        torch.testing.assert_close(found, (raw - raw.mean()) / raw.std())
    indifferent = RewardModelScorer(RewardModel(decoder()), TOKENIZER, COMPUTE)
    with pytest.raises(ValueError, match="finds all answers alike"):
        indifferent.standardise(PROMPTS, ANSWERS)
    with pytest.raises(ValueError, match="finds all answers alike"):
        rewards.standardise(PROMPTS[:1], ANSWERS[:1])


@pytest.mark.parametrize("centre", [0.0, 0.1])
def test_the_objective_equals_a_loop_over_pairs_whatever_stands_together(centre):
    model, pairs = reward_model(), preferences(10)
    score = RewardModelScorer(model, TOKENIZER, COMPUTE, batch_size=1)
    chosen, rejected = (score([pair[0] for pair in pairs], [pair[side] for pair in pairs]) for side in (1, 2))
    expected = preference_loss(chosen, rejected, centre=centre).item()
    for size, some in ((1, pairs), (4, pairs), (10, pairs[::-1])):
        examples = [pair_of_answers(*pair, TOKENIZER, 32) for pair in some]
        parts = [preference(centre)(model, batch) for batch in Padded(examples, TOKENIZER.pad_id, size)]
        assert sum(count for _, count in parts) == 10
        assert sum(total.item() for total, _ in parts) / 10 == pytest.approx(expected, abs=1e-6)


def test_a_reward_model_learns_which_of_two_unseen_answers_is_preferred():
    model = RewardModel(decoder())
    rates = {"learning_rate": 1e-2, "matrix_learning_rate": 2e-2}
    history = train_reward(model, TOKENIZER, preferences(250), config(steps=80, **rates), batch_size=16, progress=False)
    assert history.records[-1]["loss"] < 0.3
    unseen = preferences(60, seed=1)
    score = RewardModelScorer(model, TOKENIZER, COMPUTE)
    chosen, rejected = (score([pair[0] for pair in unseen], [pair[side] for pair in unseen]) for side in (1, 2))
    assert (chosen > rejected).float().mean() >= 0.9


def test_labels_stand_on_the_answer_alone_and_not_on_what_was_answered_before():
    talk = [*ask("a"), {"role": "assistant", "content": "bb"}, *ask("c")]
    example = answer_example(talk, "de", TOKENIZER, 32)
    assert TOKENIZER.decode([i for i in example["labels"] if i >= 0]) == "de<|eos|>"
    assert [i for i in example["labels"] if i >= 0] == example["input_ids"][-3:]


def test_pairs_from_which_nothing_can_be_learned_are_refused():
    with pytest.raises(ValueError, match="the chosen and the rejected answer are the same: 'ab'; leave it out"):
        pair_of_answers(ask("a"), "ab", "ab", TOKENIZER, 32)
    with pytest.raises(ValueError, match="the same within a context of 8 tokens: 'abcdef'; leave it out"):
        pair_of_answers(ask("a"), "abcdef", "abcdeg", TOKENIZER, 8)
    with pytest.raises(ValueError, match="the rejected answer is empty, beside 'b': leave this pair out"):
        pair_of_answers(ask("a"), "b", "", TOKENIZER, 32)
    with pytest.raises(ValueError, match="the chosen answer is empty"):
        pair_of_answers(ask("a"), "  ", "b", TOKENIZER, 32)
    with pytest.raises(ValueError, match="a prompt of 7 tokens leaves no room for an answer in a context of 7"):
        pair_of_answers(ask("abcd"), "a", "b", TOKENIZER, 7)
    with pytest.raises(ValueError, match="no pairs of answers"):
        train_reward(RewardModel(decoder()), TOKENIZER, [], config())


def test_a_reward_model_of_another_vocabulary_is_refused():
    other = TOKENIZER.characters("abc")
    sentence = "the reward model reads 18 different tokens and the tokenizer has 12: bring the tokenizer"
    with pytest.raises(ValueError, match=sentence):
        RewardModelScorer(reward_model(), other)
    with pytest.raises(ValueError, match=sentence):
        train_reward(reward_model(), other, preferences(2), config())
    with pytest.raises(ValueError, match="leaves no room for an answer in a context of 6"):
        RewardModelScorer(reward_model(context=6), TOKENIZER, COMPUTE)([ask("abcdef")], ["a"])


def test_a_decoder_that_was_not_made_a_reward_model_is_refused():
    sentence = r"a Decoder gives no rewards: wrap it in RewardModel\(\.\.\.\)"
    with pytest.raises(ValueError, match=sentence):
        train_reward(decoder(), TOKENIZER, preferences(2), config())
    with pytest.raises(ValueError, match=sentence):
        RewardModelScorer(decoder(), TOKENIZER)


def test_a_text_in_the_place_of_a_conversation_is_refused_wherever_it_is_given():
    policy, sentence = decoder(), "A conversation is a list of messages such as .* this one is 'abc'"
    for use in (
        lambda: train_reward(reward_model(), TOKENIZER, [("abc", "a", "b")], config()),
        lambda: best_of_n(policy, TOKENIZER, ["abc"], various, 2, 4),
        lambda: train_ppo(policy, TOKENIZER, ["abc"], various, PPOConfig(**FP32)),
        lambda: reply(policy, TOKENIZER, ["abc"], 4),
    ):
        with pytest.raises(ValueError, match=sentence):
            use()


def test_what_a_reward_says_is_checked_and_may_be_a_list():
    assert rewards_of(lambda c, a: [1, 2.5], PROMPTS[:2], ["a", "b"]).tolist() == [1, 2.5]
    with pytest.raises(FloatingPointError, match="the reward of 'b' is nan: a reward must be a finite number"):
        rewards_of(lambda c, a: [1, math.nan], PROMPTS[:2], ["a", "b"])
    with pytest.raises(FloatingPointError, match="'a' is -inf"):
        rewards_of(lambda c, a: torch.tensor([-math.inf, 0]), PROMPTS[:2], ["a", "b"])
    for wrong in (torch.zeros(2, 1), torch.zeros(3), 1.0):
        with pytest.raises(ValueError, match=r"the rewards of 2 answers have shape .*: one for each"):
            rewards_of(lambda c, a, wrong=wrong: wrong, PROMPTS[:2], ["a", "b"])
