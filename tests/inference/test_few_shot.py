"""Few-shot questions: what is drawn, how likelihoods are corrected, and answers that are known beforehand."""

import json
import math
from pathlib import Path

import pytest
import torch

from minillm import tales
from minillm.hub import load_model
from minillm.inference import (
    answers_by_generation,
    answers_by_likelihood,
    contextual_calibration,
    draw_questions,
    few_shot_accuracy,
    few_shot_prompt,
    score_candidates,
    shuffle_answers,
)
from minillm.inference.few_shot import mutual_information, score_questions
from minillm.metrics import bootstrap_interval
from minillm.models import BigramLM, Decoder, ModelConfig
from minillm.text import Tokenizer

TOKENIZER = Tokenizer.characters("abcdefg:\n ")
LINES = {"template": "{input}: {answer}", "separator": "\n"}
EXAMPLES = [("ab", "c"), ("ba", "c"), ("fa", "d"), ("ga", "d"), ("ab", "c"), ("ag", "d")]
RUN = Path(__file__).resolve().parents[2] / "runs" / "pretrain"


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def decoder(context=96):
    torch.manual_seed(0)
    model = Decoder(ModelConfig(TOKENIZER.vocab_size, context, layers=2, width=32, heads=4))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model.eval()


def bigram(*follows):
    """A model that goes on from one character as often as said: ("a", "b", 0.5)."""
    model = BigramLM(TOKENIZER.vocab_size)
    torch.nn.init.constant_(model.table.weight, -1e9)
    for a, b, p in follows:
        (a,), (b,) = (TOKENIZER.encode(x) if len(x) == 1 else [TOKENIZER.eos_id] for x in (a, b))
        model.table.weight.data[a, b] = math.log(p)
    return model


def test_a_query_is_never_among_its_examples_not_even_as_a_duplicate():
    for seed in range(20):
        for question in draw_questions(EXAMPLES, EXAMPLES, 4, seeded(seed)):
            assert question["query"] not in [text for text, _ in question["examples"]]
            assert len(question["examples"]) == 4 and set(question["examples"]) <= set(EXAMPLES)
            assert question["candidates"] == ["c", "d"]


def test_a_seed_gives_one_draw_and_fewer_shots_begin_more():
    draws = [draw_questions(EXAMPLES, EXAMPLES, shots, seeded()) for shots in range(5)]
    assert (
        draws[3] == draw_questions(EXAMPLES, EXAMPLES, 3, seeded()) != draw_questions(EXAMPLES, EXAMPLES, 3, seeded(1))
    )
    for fewer, more in zip(draws, draws[1:]):
        assert all(a["examples"] == b["examples"][:-1] for a, b in zip(fewer, more))
    drawn = {
        text
        for seed in range(40)
        for text, _ in draw_questions(EXAMPLES[2:3], EXAMPLES, 1, seeded(seed))[0]["examples"]
    }
    assert drawn == {"ab", "ba", "ga", "ag"}


def test_a_pool_without_enough_examples_is_refused():
    with pytest.raises(ValueError, match="5 examples are asked for, and the pool has 4 without the query"):
        draw_questions(EXAMPLES, EXAMPLES, 5, seeded())


def test_shuffled_answers_keep_all_but_what_belongs_to_what():
    questions = tales.make_pattern_questions(300, seed=1, shots=6, kind="relation")
    shuffled, kept = shuffle_answers(questions, seeded()), 0
    for before, after in zip(questions, shuffled):
        assert [text for text, _ in before["examples"]] == [text for text, _ in after["examples"]]
        assert sorted(a for _, a in before["examples"]) == sorted(a for _, a in after["examples"])
        assert {**after, "examples": 0} == {**before, "examples": 0}
        # Two words may have one answer ("animal"); those questions tell nothing of how many are left.
        if len({a for _, a in before["examples"]}) == 6:
            kept += sum(a == b for a, b in zip(before["examples"], after["examples"])) - 1
    assert abs(kept) < 60  # one stays on average, with variance one
    assert shuffle_answers(questions[:1], seeded(1)) == shuffle_answers(questions[:1], seeded(1))


def test_calibration_equals_a_loop_with_shared_and_with_own_content_free_inputs():
    generator = seeded()
    logprobs, own = torch.randn(5, 4, generator=generator), torch.randn(5, 3, 4, generator=generator)
    for content_free in (own[0], own):
        calibrated = contextual_calibration(logprobs, content_free)
        for n in range(5):
            tables = content_free if content_free.dim() == 2 else content_free[n]
            p_cf = [sum(table.softmax(0)[k].item() for table in tables) / 3 for k in range(4)]
            q = [math.exp(logprobs[n, k]) / p_cf[k] for k in range(4)]
            torch.testing.assert_close(calibrated[n].exp(), torch.tensor([x / sum(q) for x in q]))


def test_what_says_nothing_gets_equal_probabilities_and_the_worked_example_holds():
    nothing = torch.tensor([[0.7, 0.2, 0.1]]).log()
    torch.testing.assert_close(contextual_calibration(nothing, nothing).exp(), torch.full((1, 3), 1 / 3))
    calibrated = contextual_calibration(torch.tensor([[0.8, 0.2]]).log(), torch.tensor([[0.9, 0.1]]).log())
    torch.testing.assert_close(calibrated.exp(), torch.tensor([[4 / 13, 9 / 13]]))
    with pytest.raises(ValueError, match="no content-free input"):
        contextual_calibration(nothing, torch.empty(0, 3))


def test_mutual_information_is_zero_where_the_prompt_tells_nothing():
    premise = torch.tensor([0.5, 0.1]).log()
    scores = mutual_information(torch.stack([premise, torch.tensor([0.5, 0.2]).log()]), premise)
    torch.testing.assert_close(scores, torch.tensor([[0.0, 0.0], [0.0, math.log(2)]]))
    # With one content-free input as the premise, it ranks as the calibration does.
    logprobs = torch.randn(20, 2, generator=seeded())
    expected = contextual_calibration(logprobs, premise[None]).argmax(1)
    assert torch.equal(mutual_information(logprobs, premise).argmax(1), expected)


@pytest.mark.parametrize("average", [False, True])
def test_questions_are_scored_as_their_prompts_are_and_calibrated_after_the_same_examples(average):
    model, questions = decoder(), draw_questions(EXAMPLES, EXAMPLES, 2, seeded())
    scores = score_questions(model, TOKENIZER, questions, **LINES, average=average)
    calibrated = score_questions(model, TOKENIZER, questions, **LINES, average=average, content_free=("", "g"))
    for row, question in enumerate(questions):
        prompts = [
            few_shot_prompt(question["examples"], query, LINES["template"], "\n")
            for query in (question["query"], "", "g")
        ]
        table = score_candidates(model, TOKENIZER, prompts, [" c", " d"], average)
        torch.testing.assert_close(scores[row], table[0], atol=1e-5, rtol=1e-5)
        expected = contextual_calibration(table[:1], table[1:])[0]
        torch.testing.assert_close(calibrated[row], expected, atol=1e-4, rtol=1e-4)


def test_calibration_takes_back_what_a_model_would_say_anyway():
    # After any colon it says c nine times in ten; b in front of the colon makes no difference to a bigram.
    model = bigram((" ", "c", 0.9), (" ", "d", 0.1), (":", " ", 1.0))
    questions = draw_questions(EXAMPLES, EXAMPLES, 1, seeded())
    assert answers_by_likelihood(model, TOKENIZER, questions, **LINES) == ["c"] * 6
    calibrated = score_questions(model, TOKENIZER, questions, **LINES, content_free=("g",))
    torch.testing.assert_close(calibrated.exp(), torch.full((6, 2), 0.5))


def test_a_candidate_that_begins_another_is_ended_by_the_separator():
    model = bigram((":", " ", 1.0), (" ", "c", 1.0), ("c", "d", 0.9), ("c", "\n", 0.1), ("d", "\n", 1.0))
    questions = [{"examples": [], "query": "a", "answer": "cd", "candidates": ["c", "cd"]}]
    torch.testing.assert_close(score_questions(model, TOKENIZER, questions, **LINES).exp(), torch.tensor([[0.1, 0.9]]))
    assert answers_by_likelihood(model, TOKENIZER, questions, **LINES) == ["cd"]


def test_answers_are_written_up_to_the_separator_or_the_end_and_no_longer_than_needed():
    questions = [{"examples": [], "query": "a", "answer": "cd", "candidates": ["c", "cd"]}]
    start = ((":", " ", 1.0), (" ", "c", 1.0), ("c", "d", 1.0))
    for ending, expected in [(("d", "\n", 1.0), "cd"), (("d", "end", 1.0), "cd"), (("d", "d", 1.0), "cdd")]:
        answers = answers_by_generation(bigram(*start, ending), TOKENIZER, questions, **LINES)
        assert answers == [expected]
        assert few_shot_accuracy(questions, answers).mean == (expected == "cd")


def test_accuracy_comes_with_its_bootstrap_interval():
    questions = draw_questions(EXAMPLES, EXAMPLES, 0, seeded())
    assert few_shot_accuracy(questions, ["c"] * 6) == bootstrap_interval([1, 1, 0, 0, 1, 0])
    with pytest.raises(ValueError):
        few_shot_accuracy(questions, ["c"] * 5)
    assert answers_by_likelihood(decoder(), TOKENIZER, []) == answers_by_generation(decoder(), TOKENIZER, []) == []


def test_what_does_not_fit_or_does_not_belong_together_is_refused():
    questions = draw_questions(EXAMPLES, EXAMPLES, 4, seeded())
    for answer in (answers_by_likelihood, answers_by_generation):
        with pytest.raises(
            ValueError, match=r"a prompt of 28 tokens with 4 examples, and an answer of .*context of 24"
        ):
            answer(decoder(context=24), TOKENIZER, questions, **LINES)
    with pytest.raises(ValueError, match="questions with different candidates"):
        answers_by_likelihood(decoder(), TOKENIZER, [questions[0], questions[1] | {"candidates": ["c"]}], **LINES)


@pytest.mark.skipif(not (RUN / "metrics.json").exists(), reason="the run of train.py is not there")
def test_the_pre_trained_model_learns_relations_from_the_examples_in_its_prompt():
    if json.loads((RUN / "metrics.json").read_text()).get("gap_closed", 0) < 0.95:
        pytest.skip("another run")
    model, tokenizer = load_model(RUN), Tokenizer.load(RUN / "tokenizer.json")
    options = {"template": "{input} : {answer}", "separator": "\n"}
    questions = [tales.make_pattern_questions(60, seed=4, shots=shots, kind="relation") for shots in (0, 4)]
    answers = [answers_by_generation(model, tokenizer, some, **options) for some in questions]
    zero, few = (few_shot_accuracy(*pair).mean for pair in zip(questions, answers))
    assert few > 0.9 and few > zero
