"""Prompts to the character, and the likelihood of answers against a loop over tokens, whatever the model."""

import math

import pytest
import torch

from minillm import tales
from minillm.inference import few_shot_prompt, score_candidates, sentence_logprob, sentence_logprobs
from minillm.inference.prompting import answer_text
from minillm.models import LSTMLM, RECIPES, BigramLM, CountBigram, Decoder, LSTMConfig, ModelConfig
from minillm.text import Tokenizer

TOKENIZER = Tokenizer.characters("abcdefg ")
PROMPTS = ["a", "", "gab bed", "cafe fed dad"]


def model(kind="minillm"):
    torch.manual_seed(0)
    V = TOKENIZER.vocab_size
    if kind == "lstm":
        return LSTMLM(LSTMConfig(V, layers=2, width=16)).eval()
    if kind == "counted":
        return CountBigram(torch.randint(0, V, (500,)), V)
    built = BigramLM(V) if kind == "bigram" else Decoder(ModelConfig(V, 24, layers=2, width=32, heads=4, recipe=kind))
    for parameter in built.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return built.eval()


def slow(model, prompt, candidate):
    """log P(candidate | prompt), one token at a time."""
    so_far, total = [TOKENIZER.bos_id, *TOKENIZER.encode(prompt)], 0.0
    for token in TOKENIZER.encode(candidate):
        total += model(torch.tensor([so_far]))[0, -1].log_softmax(-1)[token].item()
        so_far.append(token)
    return total


def test_the_logprob_of_a_sentence_is_the_sum_over_its_tokens():
    decoder = model()
    for text, given in [("abc", ""), ("a", "fed"), ("gab", "ba d")]:
        ids = [TOKENIZER.bos_id, *TOKENIZER.encode(given), *TOKENIZER.encode(text)]
        logprobs = decoder(torch.tensor([ids])).log_softmax(-1)[0]
        start = len(ids) - len(text)
        expected = sum(logprobs[t - 1, ids[t]].item() for t in range(start, len(ids)))
        assert sentence_logprob(decoder, TOKENIZER, text, given) == pytest.approx(expected, abs=1e-4)


def test_logprobs_of_many_sentences_do_not_depend_on_their_company():
    decoder, texts = model(), ["a", "abc", "gfedcba", "", "bb"]
    together = sentence_logprobs(decoder, TOKENIZER, texts)
    alone = [sentence_logprob(decoder, TOKENIZER, text) for text in texts]
    assert together.tolist() == pytest.approx(alone, abs=1e-4) and together[3] == 0
    lengths = torch.tensor([1, 3, 7, 1, 2])
    torch.testing.assert_close(sentence_logprobs(decoder, TOKENIZER, texts, average=True), together / lengths)
    assert sentence_logprobs(decoder, TOKENIZER, []).shape == (0,)


def test_a_prompt_is_the_examples_and_the_query_without_its_answer():
    examples = [("fox", "den"), ("pig", "sty")]
    assert few_shot_prompt(examples, "bee", "{input} : {answer}", "\n") == "fox : den\npig : sty\nbee :"
    assert few_shot_prompt([], "bee", "{input} : {answer}", "\n") == "bee :"
    assert few_shot_prompt(examples[:1], "bee") == "Input: fox\nAnswer: den\n\nInput: bee\nAnswer:"
    assert answer_text("hive", "{input} : {answer}") == " hive" and answer_text("hive", "{input}({answer}") == "hive"


def test_braces_in_a_text_are_text():
    prompt = few_shot_prompt([("{answer}", "{input}")], "{}", "{input} = {answer}", "; ")
    assert prompt == "{answer} = {input}; {} ="


@pytest.mark.parametrize("template", ["", "{input}", "{answer}", "{answer} {input}", "{input} {answer}."])
def test_a_template_that_does_not_end_with_the_answer_is_refused(template):
    with pytest.raises(ValueError, match=r"must hold \{input\} and, at its end, \{answer\}"):
        few_shot_prompt([], "x", template)


@pytest.mark.parametrize("kind", ["bpe", "characters"])
@pytest.mark.parametrize(
    ("template", "separator"),
    [
        ("{input} : {answer}", "\n"),
        ("{input} = {answer}", "\n"),
        ("{input}\n{answer}", "\n\n"),
        ("{input}:  {answer}", " "),
    ],
)
def test_prompt_and_answer_have_apart_the_tokens_that_they_have_together(kind, template, separator):
    texts = [document.text for document in tales.make_patterns(200, seed=1)]
    tokenizer = Tokenizer.train(texts, 600) if kind == "bpe" else Tokenizer.characters([*texts, ":=\n "])
    question = tales.make_pattern_questions(1, seed=2, shots=3, kind="relation")[0]
    prompt = few_shot_prompt(question["examples"], question["query"], template, separator)
    for candidate in question["candidates"]:
        answer = answer_text(candidate, template)
        assert tokenizer.encode(prompt) + tokenizer.encode(answer) == tokenizer.encode(prompt + answer)


def test_a_prompt_with_its_answers_is_a_document_of_the_world():
    for kind, template in (("relation", "{input} : {answer}"), ("game", "{input} = {answer}")):
        for question in tales.make_pattern_questions(50, seed=3, shots=4, kind=kind):
            prompt = few_shot_prompt(question["examples"], question["query"], template, "\n")
            assert tales.judge(prompt + answer_text(question["answer"], template)).score == 1


@pytest.mark.parametrize("kind", [*RECIPES, "lstm", "bigram", "counted"])
@pytest.mark.parametrize("candidates", [[" a", " bed", "g", " cafe", "ab"], ["a", "b", " "], ["bad", "bag", "fed"]])
def test_scores_equal_a_loop_over_tokens_for_ragged_prompts_and_candidates(kind, candidates):
    reader = model(kind)
    expected = torch.tensor([[slow(reader, prompt, candidate) for candidate in candidates] for prompt in PROMPTS])
    for batch_size in (1, 7, 256):
        scores = score_candidates(reader, TOKENIZER, PROMPTS, candidates, batch_size=batch_size)
        torch.testing.assert_close(scores, expected, atol=1e-4, rtol=1e-4)
    lengths = torch.tensor([len(candidate) for candidate in candidates])
    averages = score_candidates(reader, TOKENIZER, PROMPTS, candidates, average=True)
    torch.testing.assert_close(averages, expected / lengths, atol=1e-4, rtol=1e-4)


def test_a_bigram_s_scores_are_what_its_table_says():
    a, b, c = TOKENIZER.encode("abc")
    bigram = BigramLM(TOKENIZER.vocab_size)
    torch.nn.init.constant_(bigram.table.weight, -1e9)
    bigram.table.weight.data[a, [b, c]] = torch.tensor([0.75, 0.25]).log()
    bigram.table.weight.data[b, [a, c]] = torch.tensor([0.5, 0.5]).log()
    scores = score_candidates(bigram, TOKENIZER, ["a", "ca", "b"], ["b", "c"]).exp()
    torch.testing.assert_close(scores, torch.tensor([[0.75, 0.25], [0.75, 0.25], [0.0, 0.5]]))
    assert score_candidates(bigram, TOKENIZER, ["a"], ["bac"]).item() == pytest.approx(math.log(0.75 * 0.5 * 0.25))


@pytest.mark.parametrize(("candidates", "behind"), [(["b", "c", "d"], 0), (["b", "cab", "defg"], 2 * 3)])
def test_a_prompt_is_read_once_and_not_for_each_candidate(candidates, behind):
    decoder, read = model(), []
    decoder.embedding.register_forward_pre_hook(lambda module, inputs: read.append(inputs[0].numel()))
    score_candidates(decoder, TOKENIZER, ["gab bed a"], candidates)
    assert sum(read) == 1 + len("gab bed a") + behind


def test_unusable_candidates_and_prompts_are_refused_and_none_is_no_prompt():
    decoder = model().train()
    assert score_candidates(decoder, TOKENIZER, [], ["a", "bc"]).shape == (0, 2)
    assert score_candidates(decoder, TOKENIZER, ["a" * 21], ["bcd"]).shape == (1, 1)
    assert decoder.training
    for candidates in ([], ["a", ""]):
        with pytest.raises(ValueError, match="there must be some, and none may be empty"):
            score_candidates(decoder, TOKENIZER, ["a"], candidates)
    with pytest.raises(ValueError, match="longer than the model's context of 24"):
        score_candidates(decoder, TOKENIZER, ["a" * 22], ["bcd"])
