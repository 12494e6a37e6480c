"""Feedback from a model in the place of people's (Bai et al. 2022, "Constitutional AI"; Lee et al. 2023, "RLAIF").

A constitution is a list of questions about an answer, such as "Is it kind?". A judge is asked each of them, as if it
had given the answer itself, and its log-odds of "yes" against "no", averaged, are its score of the answer: a reward
like any other. Of two answers it prefers the one with the higher score, so its labels are preferences like any others.
A judge need not be prompted: a reward model that was trained on few labels is one, and so is any function of prompts
and answers. Left out: critiques and revisions (the supervised half of Constitutional AI).

Shapes: B answers, Q questions.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from minillm.align.dpo import pair_logprob
from minillm.align.pairs import split_answers
from minillm.align.reward import Reward, answer_example, rewards_of
from minillm.align.rollout import Conversation, check_vocabulary
from minillm.data import Padded
from minillm.system import Compute, pick_device
from minillm.text import Tokenizer

REPLIES = ("yes", "no")


class Constitution:
    """A judge: a model that answers questions about an answer. A reward, for whoever wants one.

    Raises: ValueError for no question, one text in the place of a list of them, and another model's tokenizer.
    """

    def __init__(
        self,
        model: nn.Module,
        tokenizer: Tokenizer,
        questions: Sequence[str],
        compute: Compute | None = None,
        batch_size: int = 32,
    ):
        if isinstance(questions, str):
            raise ValueError(f"the questions are the text {questions[:60]!r}: give a list of questions")
        if not questions:
            raise ValueError("the constitution has no question: write at least one")
        check_vocabulary(model, tokenizer, "judge")
        self.model, self.tokenizer, self.questions = model.eval(), tokenizer, list(questions)
        self.compute, self.batch_size = compute or pick_device(), batch_size
        self.model.to(self.compute.device)

    @torch.no_grad()
    def opinions(self, conversations: Sequence[Conversation], answers: Sequence[str]) -> Tensor:
        """log p("yes") - log p("no") of every question about every answer, in nats, (B, Q).

        Of an answer that is too long for the judge's context, the end is left out.

        Raises: ValueError when nothing of an answer would be left beside its prompt and the question.
        """
        context = self.model.config.context
        examples = [
            tuple(answer_example(asked, reply, self.tokenizer, context) for reply in REPLIES)
            for conversation, answer in zip(conversations, answers, strict=True)
            for question in self.questions
            for asked in [self.asked(conversation, answer, question)]
        ]
        found = []
        for batch in Padded(examples, self.tokenizer.pad_id, self.batch_size, causal=True):
            with self.compute.autocast():
                logprobs = (
                    pair_logprob(self.model, self.compute.to_device(split_answers(self.model, batch))).float().cpu()
                )
            found.append(logprobs[0::2] - logprobs[1::2])
        return torch.cat([*found, torch.zeros(0)]).view(-1, len(self.questions))

    def asked(self, conversation: Conversation, answer: str, question: str) -> Conversation:
        """A conversation that ends with a question about an answer, of which as much stands there as fits."""

        def whole(text: str) -> Conversation:
            return [*conversation, {"role": "assistant", "content": text}, {"role": "user", "content": question}]

        ids = self.tokenizer.encode(answer)
        replies = max(len(self.tokenizer.encode(reply)) for reply in REPLIES) + 1  # and an end
        room, text = self.model.config.context - replies, answer
        while (over := len(self.tokenizer.apply_chat(whole(text), reply=True)[0]) - room) > 0:
            if over >= len(ids):
                raise ValueError(
                    f"the judge cannot read {answer[:60]!r}: its prompt and the question fill a context of "
                    f"{self.model.config.context} tokens"
                )
            ids = ids[:-over]
            text = self.tokenizer.decode(ids).rstrip("\ufffd")  # of a character that was cut in two
        return whole(text)

    def __call__(self, conversations: Sequence[Conversation], answers: Sequence[str]) -> Tensor:
        """The mean opinion of each answer, (B,)."""
        return self.opinions(conversations, answers).mean(1)


def label_with_ai(
    judge: Reward, pairs: Sequence[tuple[Conversation, str, str]], generator: torch.Generator | None = None
) -> list[tuple[Conversation, str, str]]:
    """The pairs as a judge orders them, the better answer first; where it finds both alike, by a coin.

    Args: pairs: (conversation, one answer, another), in any order; generator: of the coin, on the CPU.
    """
    conversations = [conversation for conversation, *_ in pairs for _ in range(2)]
    scores = rewards_of(judge, conversations, [answer for _, *both in pairs for answer in both]).view(-1, 2)
    coins = torch.rand(len(scores), generator=generator)
    first = (scores[:, 0] > scores[:, 1]) | ((scores[:, 0] == scores[:, 1]) & (coins < 0.5))
    return [(c, a, b) if wins else (c, b, a) for (c, a, b), wins in zip(pairs, first.tolist())]


def agreement(labels: Sequence[tuple], others: Sequence[tuple]) -> float:
    """The share of pairs that two judges put in the same order: both as of `label_with_ai`, of the same pairs.

    Raises: ValueError for no pairs, and for different numbers of them.
    """
    if len(labels) != len(others) or not labels:
        raise ValueError(f"{len(labels)} and {len(others)} pairs: two judges must have judged the same, at least one")
    return sum(one[1] == other[1] for one, other in zip(labels, others)) / len(labels)
