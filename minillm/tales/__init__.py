"""The embedded world: tales with a known probability, a known truth, and a judge who knows both.

`make_tales(n, seed)` writes tales, `logprob(text)` gives the exact log-probability of a text, `judge(text)` says
whether it is grammatical and consistent, `parse(text)` recovers from a text all there is to know about it. The other
`make_...` write labelled tasks, whose answers the world knows. One of them, to write a letter, has no right answer:
`score_letter(tale, letter)` says exactly how good any answer is.
"""

from minillm.tales.criticism import CONSTITUTION, make_letters, verdicts
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
from minillm.tales.letter_scores import BEST as BEST_SCORE
from minillm.tales.letter_scores import WEIGHTS, LetterScore, score_letter
from minillm.tales.letters import Traits, make_prompts, write_letter
from minillm.tales.pairs import make_entailment, make_next_sentence, make_paraphrases
from minillm.tales.patterns import game_ceiling, make_pattern_questions
from minillm.tales.preferences import best_accuracy, chance_of_choice, make_preferences
from minillm.tales.tasks import make_sentiment, make_tags

__all__ = [
    "BEST_SCORE",
    "CONSTITUTION",
    "EXACT",
    "KINDS",
    "OPEN_KINDS",
    "WEIGHTS",
    "Entity",
    "Judgement",
    "LetterScore",
    "Tale",
    "Traits",
    "best_accuracy",
    "chance_of_choice",
    "game_ceiling",
    "judge",
    "log_share",
    "logprob",
    "make_clinic",
    "make_documents",
    "make_entailment",
    "make_instructions",
    "make_letters",
    "make_next_sentence",
    "make_paraphrases",
    "make_pattern_questions",
    "make_patterns",
    "make_preferences",
    "make_prompts",
    "make_sentiment",
    "make_tags",
    "make_tales",
    "parse",
    "reading",
    "right_answer",
    "score_letter",
    "verdicts",
    "write_letter",
]
