"""Asking a model questions and scoring what it says: every answer of a conversation, given the true ones before it.

An assistant is asked in the chat template that it was trained with (`ask`). A base model has no template; it gets the
same conversation as plain text, whose earlier answers serve it as examples (`ask_base`). Both answer greedily.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

from torch import nn
from tqdm import tqdm

from minillm import tales
from minillm.inference.writing import reply, write
from minillm.metrics import bleu, bootstrap_interval, rouge_l, rouge_reads
from minillm.text import Tokenizer

ASKED_AT_ONCE = 64  # questions
ANSWER_TOKENS = 64  # of an answer, after which it is cut off


class Question(NamedTuple):
    """What was said so far, the last by a user; the answer that should follow; what kind of question it is; and other
    answers that would be as good.
    """

    messages: list[dict[str, str]]
    answer: str
    kind: str = ""
    others: tuple[str, ...] = ()

    @property
    def references(self) -> tuple[str, ...]:
        """All answers that are good."""
        return self.answer, *self.others


def questions_of(conversations: Sequence[dict]) -> list[Question]:
    """A question for each answer of conversations {"messages", "kinds", "references"}.

    "kinds", one an answer, may be missing, and so may "references": other answers as good as the last one.
    """
    found = []
    for conversation in conversations:
        messages = conversation["messages"]
        places = [place for place, message in enumerate(messages) if message["role"] == "assistant"]
        kinds = conversation.get("kinds") or [""] * len(places)
        for place, kind in zip(places, kinds, strict=True):
            others = tuple(conversation.get("references") or ()) if place == places[-1] else ()
            found.append(Question(messages[:place], messages[place]["content"], kind, others))
    return found


def ask(
    model: nn.Module, tokenizer: Tokenizer, questions: Sequence[Question], longest: int = ANSWER_TOKENS, progress=False
) -> list[str]:
    """What an assistant answers to each question, at temperature 0; nothing to one that it cannot read to the end."""
    chats = [question.messages for question in questions]
    lengths = [len(tokenizer.apply_chat(messages, reply=True)[0]) for messages in chats]
    return _answers(model, chats, lengths, lambda some: reply(model, tokenizer, some, longest, temperature=0), progress)


def ask_base(
    model: nn.Module, tokenizer: Tokenizer, questions: Sequence[Question], longest: int = ANSWER_TOKENS, progress=False
) -> list[str]:
    """What a base model generates after each question, up to the end of the line, at temperature 0; else as `ask`."""
    texts = [plain(question.messages) for question in questions]
    lengths = [len(tokenizer.encode(text)) + 1 for text in texts]
    answer = partial(write, model, tokenizer, max_new_tokens=longest, temperature=0, stop=["\n"])
    return _answers(model, texts, lengths, answer, progress)


def _answers(model: nn.Module, prompts: list, lengths: list[int], answer: Callable, progress: bool) -> list[str]:
    """Prompts answered in batches of about one length, so that little is padded; the answers in their order.

    lengths: in tokens; what leaves no room in the model's context is answered by nothing; ValueError when all does.
    """
    context = getattr(model.config, "context", max(lengths, default=0) + 1)
    order = sorted((i for i in range(len(prompts)) if lengths[i] < context), key=lengths.__getitem__)
    if prompts and not order:
        raise ValueError(f"none of {len(prompts)} questions leaves room for an answer in a context of {context} tokens")
    if len(order) < len(prompts):
        print(f"{len(prompts) - len(order)} questions leave no room for an answer in a context of {context}")
    found = dict.fromkeys(range(len(prompts)), "")
    for start in tqdm(range(0, len(order), ASKED_AT_ONCE), unit="batch", disable=not progress):
        some = order[start : start + ASKED_AT_ONCE]
        found |= zip(some, answer([prompts[i] for i in some]))
    return [found[i] for i in range(len(prompts))]


def plain(messages: Sequence[dict[str, str]]) -> str:
    """A conversation as a base model may have seen one: each answer on the line below its question.

    >>> plain([{"role": "user", "content": "2 and 2?"}, {"role": "assistant", "content": "4"},
    ...        {"role": "user", "content": "3 and 3?"}])
    '2 and 2?\\n4\\n\\n3 and 3?\\n'
    """
    return "".join(message["content"] + ("\n\n" if message["role"] == "assistant" else "\n") for message in messages)


def right(question: Question, answer: str) -> bool:
    """Whether an answer is an expected one, white space aside; what continues a tale may be any sentence that can."""
    asked = question.messages[-1]["content"]
    return any(tales.right_answer(question.kind, asked, expected, answer) for expected in question.references)


def scores_by_kind(questions: Sequence[Question], answers: Sequence[str]) -> dict[str, dict[str, float]]:
    """For each kind: the number of questions, the share that is right, and the mean of the best F1 of ROUGE-L.

    ROUGE-L is of the questions whose true answers it can read (`rouge_reads`), and None where there are none.
    """
    rows: dict[str, tuple[list[bool], list[float]]] = defaultdict(lambda: ([], []))
    for question, answer in zip(questions, answers, strict=True):
        ok, f1 = rows[question.kind]
        ok.append(right(question, answer))
        readable = [expected for expected in question.references if rouge_reads(expected)]
        f1 += [max(rouge_l(expected, answer).f1 for expected in readable)] if readable else []
    return {
        kind: {"n": len(ok), "right": sum(ok) / len(ok), "rouge_l": sum(f1) / len(f1) if f1 else None}
        for kind, (ok, f1) in sorted(rows.items())
    }


def summary(questions: Sequence[Question], answers: Sequence[str]) -> dict:
    """Scores of answers: exact match over the kinds that have one right answer, with its interval, ROUGE-L, corpus BLEU
    (0 to 100; None where the true answers themselves would get 0, being too short for it), and all by kind. Of several
    references an answer gets its best.

    Raises: ValueError for no question.
    """
    kinds = scores_by_kind(questions, answers)
    exact = [right(q, answer) for q, answer in zip(questions, answers) if q.kind not in tales.OPEN_KINDS]
    read = Counter(question.kind for question in questions if any(map(rouge_reads, question.references)))
    expected = [question.references for question in questions]
    measures = bleu([question.answer for question in questions], expected).score > 0
    interval = bootstrap_interval(exact or [row["right"] for row in kinds.values()])
    return {
        **dict(zip(("exact_match", "exact_match_low", "exact_match_high"), interval)),
        "rouge_l": sum(kinds[kind]["rouge_l"] * read[kind] for kind in sorted(read)) / read.total() if read else None,
        "bleu": bleu(answers, expected).score if measures else None,
        "kinds": kinds,
    }
