"""In-context learning, measured: questions with examples, what a model answers, and how often it is right.

A question is {"examples": [(input, answer), ...], "query", "answer", "candidates"}, as `draw_questions` makes them of
labelled examples and `tales.make_pattern_questions` of patterns. Its answer is the likeliest of its candidates, or what
the model generates (Brown et al. 2020, section 2.4). The likelihoods may be corrected for what a model would say anyway
(Zhao et al. 2021; Holtzman et al. 2021).

Left out: choosing or ordering the examples (Lu et al. 2022), chain of thought.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from minillm.inference.prompting import SEPARATOR, TEMPLATE, answer_text, few_shot_prompt, score_candidates
from minillm.inference.writing import write
from minillm.metrics import Interval, bootstrap_interval
from minillm.text import Tokenizer


def draw_questions(
    queries: Sequence[tuple[str, str]], pool: Sequence[tuple[str, str]], shots: int, generator: torch.Generator
) -> list[dict]:
    """Each (input, answer) of `queries` as a question, after `shots` examples drawn from `pool` without replacement.

    A query is never among its own examples, not even as a duplicate: nothing in the pool with its input is drawn. The
    candidates are all answers there are. One seed gives every number of shots the same draw: the examples of fewer
    shots begin those of more.

    Raises: ValueError when the pool is too small.
    """
    candidates = sorted({answer for _, answer in [*queries, *pool]})
    questions = []
    for query, answer in queries:
        order = torch.randperm(len(pool), generator=generator).tolist()
        drawn = [pool[i] for i in order if pool[i][0] != query]
        if len(drawn) < shots:
            raise ValueError(f"{shots} examples are asked for, and the pool has {len(drawn)} without the query itself")
        questions.append({"examples": drawn[:shots], "query": query, "answer": answer, "candidates": candidates})
    return questions


def shuffle_answers(questions: Sequence[dict], generator: torch.Generator) -> list[dict]:
    """The same questions, the answers of each one's examples exchanged at random among them.

    Inputs, answers and their form stay, and only which belongs to which is lost: on average one example of each
    question keeps its own answer, and one alone always does.

    Source: after Min et al. 2022.
    """
    shuffled = []
    for question in questions:
        inputs, answers = [text for text, _ in question["examples"]], [answer for _, answer in question["examples"]]
        order = torch.randperm(len(answers), generator=generator).tolist()
        shuffled.append(question | {"examples": [(text, answers[i]) for text, i in zip(inputs, order)]})
    return shuffled


def contextual_calibration(logprobs: Tensor, content_free: Tensor) -> Tensor:
    """log q with q = diag(p_cf)^-1 p, renormalised: an input that says nothing gets equal probabilities.

    p_cf is the mean of the distributions over the candidates after M inputs that say nothing, such as "N/A".

    Args: logprobs: (N, K) of the candidates; content_free: (M, K) after those inputs, or (N, M, K): each prompt's own.
    Raises: ValueError for no content-free input.
    Source: Zhao et al. 2021, "Calibrate before use", section 5.

    >>> contextual_calibration(torch.tensor([[0.8, 0.2]]).log(), torch.tensor([[0.9, 0.1]]).log()).exp()
    tensor([[0.3077, 0.6923]])
    """
    M = content_free.size(-2)
    if not M:
        raise ValueError("there is no content-free input to calibrate with: give at least one")
    prior = content_free.log_softmax(-1).logsumexp(-2) - math.log(M)  # log p_cf
    return (logprobs - prior).log_softmax(-1)


def mutual_information(logprobs: Tensor, unconditional: Tensor) -> Tensor:
    """log P(answer | prompt) / P(answer | premise), (N, K): how much likelier the prompt makes each answer.

    Unlike `contextual_calibration`, the candidates are not taken for all that can be said.

    Args: unconditional: (K,) or (N, K), log-probabilities after a premise: only that an answer is due, as "Answer:".
    Source: Holtzman et al. 2021, "Surface form competition", PMI_DC; Brown et al. 2020, section 2.4.
    """
    return logprobs - unconditional


def score_questions(
    model, tokenizer: Tokenizer, questions: list[dict], template=TEMPLATE, separator=SEPARATOR, content_free=(), **more
) -> Tensor:
    """Log-probabilities of the candidates of each question, (N, K), as `score_candidates`, to which `more` goes.

    With `content_free` inputs they are calibrated: each takes the place of the query, after the same examples.

    Raises: ValueError when the questions' candidates differ, and for a prompt that does not fit into the context.
    """
    texts = questions[0]["candidates"] if questions else []
    if any(question["candidates"] != texts for question in questions):
        raise ValueError("questions with different candidates cannot share a table: score them apart")
    # What begins another candidate is an answer only once the separator ends it.
    end = separator if any(a != b and b.startswith(a) for a in texts for b in texts) else ""
    candidates = [answer_text(text, template) + end for text in texts]

    def scores(queries: Sequence[str | None]) -> Tensor:
        prompts = _prompts(model, tokenizer, questions, template, separator, queries, candidates)
        return score_candidates(model, tokenizer, prompts, candidates, **more)

    asked = scores([None])
    if not content_free:
        return asked
    empty = scores(content_free).unflatten(0, (len(questions), len(content_free)))  # (N, M, K)
    return contextual_calibration(asked, empty)


def answers_by_likelihood(model: nn.Module, tokenizer: Tokenizer, questions: Sequence[dict], **options) -> list[str]:
    """The likeliest candidate of each question; the options are those of `score_questions`."""
    best = score_questions(model, tokenizer, questions, **options).argmax(-1).tolist() if questions else []
    return [question["candidates"][i] for question, i in zip(questions, best)]


def answers_by_generation(
    model: nn.Module, tokenizer: Tokenizer, questions: list[dict], template=TEMPLATE, separator=SEPARATOR, batch_size=64
) -> list[str]:
    """What the model generates after each question, always the likeliest token, up to the separator or <|eos|>.

    It has room for the longest true answer and the separator; what goes on longer is wrong anyway.

    Raises: ValueError for a prompt that does not fit into the model's context with that.
    """
    whole = [answer_text(question["answer"], template) + separator for question in questions]
    prompts = _prompts(model, tokenizer, questions, template, separator, [None], whole)
    room = max(map(len, tokenizer.encode_batch(whole)), default=0)
    texts = write(model, tokenizer, prompts, room, temperature=0, stop=[separator], batch_size=batch_size)
    return [text.strip() for text in texts]


def few_shot_accuracy(questions: Sequence[dict], answers: Sequence[str]) -> Interval:
    """The share of questions that are answered exactly, with its 95 % bootstrap interval over questions."""
    return bootstrap_interval([float(q["answer"] == answer) for q, answer in zip(questions, answers, strict=True)])


def _prompts(model, tokenizer, questions, template, separator, queries, answers) -> list[str]:
    """A prompt for each question and each of `queries`, None being its own; ValueError when an answer has no room."""
    pairs = [(question, query) for question in questions for query in queries]
    prompts = [
        few_shot_prompt(question["examples"], question["query"] if query is None else query, template, separator)
        for question, query in pairs
    ]
    context = getattr(getattr(model, "config", None), "context", math.inf)
    longest = max(map(len, tokenizer.encode_batch(answers)), default=0)
    for (question, _), ids in zip(pairs, tokenizer.encode_batch(prompts)):
        if 1 + len(ids) + longest > context:
            raise ValueError(
                f"a prompt of {1 + len(ids)} tokens with {len(question['examples'])} examples, and an answer of "
                f"{longest}, do not fit into the model's context of {context}: take fewer or shorter examples"
            )
    return prompts
