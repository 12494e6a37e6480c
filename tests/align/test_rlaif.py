"""A judge in the place of people: what it thinks, what it prefers, and that no order has a say."""

import math
from dataclasses import replace

import pytest
import torch
from toys import PROMPTS, TOKENIZER, ask, decoder, preferences, share

from minillm.align import RewardModelScorer, train_reward
from minillm.align.rlaif import Constitution, agreement, label_with_ai
from minillm.models import RewardModel
from minillm.system import Compute
from minillm.text import Tokenizer
from minillm.training import TrainConfig, sequence_logprobs

COMPUTE = Compute(torch.device("cpu"), torch.float32)
WORDS = Tokenizer.characters("abcdefgh yesno?{}\n")
QUESTIONS = ["a good one?", "a b?", "no need?"]
ANSWERS = ["a", "", "bcd {dog}", "{}"]


def judge(questions=QUESTIONS, batch_size=32, **changes):
    return Constitution(
        decoder(tokenizer=WORDS, **({"context": 64} | changes)),
        WORDS,
        questions,
        compute=COMPUTE,
        batch_size=batch_size,
    )


def test_opinions_equal_the_log_odds_of_each_sentence_alone():
    constitution = judge(dropout=0.5)
    expected = []
    for prompt, answer in zip(PROMPTS, ANSWERS):
        for question in QUESTIONS:
            said = []
            for reply in ("yes", "no"):
                talk = [*prompt, {"role": "assistant", "content": answer}, *ask(question)]
                ids, learned = WORDS.apply_chat([*talk, {"role": "assistant", "content": reply}])
                before = len(WORDS.apply_chat(talk, reply=True)[0])
                labels = [i if counts and at >= before else -100 for at, (i, counts) in enumerate(zip(ids, learned))]
                said.append(sequence_logprobs(constitution.model(torch.tensor([ids])), torch.tensor([labels])).item())
            expected.append(said[0] - said[1])
    expected = torch.tensor(expected).view(4, 3)
    for size in (1, 5, 32):
        constitution = judge(batch_size=size)
        torch.testing.assert_close(constitution.opinions(PROMPTS[:4], ANSWERS), expected, atol=1e-5, rtol=0)
        torch.testing.assert_close(constitution(PROMPTS[:4], ANSWERS), expected.mean(1), atol=1e-5, rtol=0)
    assert judge().opinions([], []).shape == (0, 3) and judge()([], []).shape == (0,)


def test_what_was_said_before_the_answer_has_a_say():
    talk = [*ask("a"), {"role": "assistant", "content": "b"}, *ask("c")]
    assert not torch.equal(judge()([talk], ["d"]), judge()([ask("c")], ["d"]))


def test_of_an_answer_that_is_too_long_for_the_question_the_end_is_left_out():
    context = len(
        WORDS.apply_chat([*ask("a"), {"role": "assistant", "content": "abc"}, *ask("no need?")], reply=True)[0]
    )
    small = judge(["no need?"], context=context + len("yes") + 1)
    torch.testing.assert_close(small([ask("a")] * 2, ["abcdefgh", "abcde"]), small([ask("a")] * 2, ["abc", "abc"]))
    assert not torch.equal(small([ask("a")], ["abc"]), small([ask("a")], ["ab"]))


def test_an_answer_is_not_cut_within_a_character():
    tokenizer = Tokenizer.train(["hello there"] * 20, 270)
    judge = decoder(tokenizer=tokenizer, context=200)
    for room in range(40, 60):
        judge.config = replace(judge.config, context=room)
        constitution = Constitution(judge, tokenizer, ["Is it kind?"], Compute(torch.device("cpu"), torch.float32))
        asked = constitution.asked(ask("hi"), "\N{GRINNING FACE}" * 20, "Is it kind?")
        assert set(asked[1]["content"]) <= {"\N{GRINNING FACE}"}
        length = len(tokenizer.apply_chat(asked, reply=True)[0])
        assert length + max(len(tokenizer.encode(word)) for word in ("yes", "no")) + 1 <= room
        assert constitution([ask("hi")], ["\N{GRINNING FACE}" * 20]).isfinite().all()


def test_a_constitution_that_cannot_be_asked_is_refused():
    with pytest.raises(ValueError, match="the constitution has no question: write at least one"):
        judge([])
    with pytest.raises(ValueError, match=r"the questions are the text 'Is it kind\?': give a list of questions"):
        judge("Is it kind?")
    with pytest.raises(ValueError, match="the judge cannot read 'b': its prompt and the question fill a context of 16"):
        judge(context=16)([ask("a" * 10)], ["b"])
    with pytest.raises(ValueError, match="the judge reads 18 different tokens"):
        Constitution(decoder(), WORDS, QUESTIONS)


PAIRS = [
    (ask("a"), "ab", "aab"),
    (ask("b"), "b", "a"),
    (ask("c"), "abab", "ba"),
    (ask("d"), "", "a"),
    (ask("e"), "c", "d"),
]


def flipped(pairs):
    return [(conversation, second, first) for conversation, first, second in pairs]


def test_the_order_of_a_pair_and_of_the_pairs_has_no_say():
    decided = [pair for pair, tie in zip(PAIRS, (False, False, True, False, True)) if not tie]
    found = label_with_ai(share("a"), decided)
    assert [(first, second) for _, first, second in found] == [("aab", "ab"), ("a", "b"), ("a", "")]
    assert label_with_ai(share("a"), flipped(decided)) == found
    assert label_with_ai(share("a"), decided[::-1]) == found[::-1]
    assert label_with_ai(share("a"), []) == []


def test_a_tie_is_decided_by_a_fair_coin_that_a_seed_fixes():
    ties = [(ask("a"), "b", "c")] * 1000
    first = label_with_ai(share("a"), ties, torch.Generator().manual_seed(0))
    assert first == label_with_ai(share("a"), ties, torch.Generator().manual_seed(0))
    assert 0.45 < agreement(first, ties) < 0.55
    other = label_with_ai(share("a"), ties, torch.Generator().manual_seed(1))
    assert 0.45 < agreement(first, other) < 0.55


def test_a_reward_model_labels_what_people_did_not_see():
    model = RewardModel(decoder())
    settings = TrainConfig(
        steps=60, eval_every=100, learning_rate=1e-2, matrix_learning_rate=2e-2, device="cpu", dtype="fp32"
    )
    train_reward(model, TOKENIZER, preferences(200), settings, batch_size=16, progress=False)
    truth = preferences(60, seed=1)
    found = label_with_ai(RewardModelScorer(model, TOKENIZER, COMPUTE), flipped(truth))
    assert agreement(found, truth) >= 0.85 and agreement(found, flipped(truth)) == pytest.approx(
        1 - agreement(found, truth)
    )


def test_judges_who_say_no_numbers_or_saw_other_pairs_are_refused():
    with pytest.raises(FloatingPointError, match="the reward of 'ab' is nan"):
        label_with_ai(lambda c, answers: [math.nan] * len(answers), PAIRS)
    with pytest.raises(ValueError, match="the rewards of 10 answers have shape"):
        label_with_ai(lambda c, answers: [1.0] * 5, PAIRS)
    with pytest.raises(ValueError, match="5 and 4 pairs: two judges must have judged the same, at least one"):
        agreement(PAIRS, PAIRS[1:])
    with pytest.raises(ValueError, match="0 and 0 pairs"):
        agreement([], [])
