"""The embedded world: tales with a known probability, a known truth, and a judge who knows both.

`make_tales(n, seed)` writes tales, `logprob(text)` gives the exact log-probability of a text, `judge(text)` says
whether it is grammatical and consistent, `parse(text)` recovers from a text all there is to know about it. The other
`make_...` write labelled tasks, whose answers the world knows.
"""

from minillm.tales.documents import (
    Entity,
    Tale,
    log_share,
    logprob,
    make_clinic,
    make_documents,
    make_patterns,
    make_tales,
    parse,
    reading,
)
from minillm.tales.instructions import EXACT, KINDS, OPEN_KINDS, make_instructions, right_answer
from minillm.tales.judging import Judgement, judge
from minillm.tales.pairs import make_entailment, make_next_sentence, make_paraphrases
from minillm.tales.patterns import game_ceiling, make_pattern_questions
from minillm.tales.tasks import make_sentiment, make_tags

__all__ = [
    "EXACT",
    "KINDS",
    "OPEN_KINDS",
    "Entity",
    "Judgement",
    "Tale",
    "game_ceiling",
    "judge",
    "log_share",
    "logprob",
    "make_clinic",
    "make_documents",
    "make_entailment",
    "make_instructions",
    "make_next_sentence",
    "make_paraphrases",
    "make_pattern_questions",
    "make_patterns",
    "make_sentiment",
    "make_tags",
    "make_tales",
    "parse",
    "reading",
    "right_answer",
]
