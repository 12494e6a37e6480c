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
    entropy_floor,
    known,
    log_share,
    logprob,
    make_clinic,
    make_documents,
    make_patterns,
    make_tales,
    parse,
    reading,
    tell,
)
from minillm.tales.files import data_file, load_documents
from minillm.tales.instructions import EXACT, KINDS, OPEN_KINDS, make_instructions, right_answer
from minillm.tales.judging import Judgement, judge
from minillm.tales.letter_scores import BEST as BEST_SCORE
from minillm.tales.letter_scores import WEIGHTS, LetterScore, score_letter, understand
from minillm.tales.letters import LETTER_FORMS, Traits, ask_for_letter, draw_traits, make_prompts, write_letter
from minillm.tales.pairs import make_entailment, make_next_sentence, make_paraphrases
from minillm.tales.patterns import game_ceiling, make_pattern_questions
from minillm.tales.preferences import BIASES, FLIPPED, TEMPERATURE, best_accuracy, chance_of_choice, make_preferences
from minillm.tales.relations import GROUPS, LABELS, RELATIONS
from minillm.tales.tasks import make_sentiment, make_tags
