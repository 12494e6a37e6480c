"""The embedded world: tales with a known probability, a known truth, and a judge who knows both.

teller        how a program speaks, and what runs it: to write, to read, to judge; forms, words: what it says
world, plots  the state of a tale, and what may happen; clinic, patterns: documents of other kinds
documents     `make_tales(n, seed)`, the exact `logprob(text)`, `parse(text)`; judging: `judge(text)`
lookups       questions about one tale of a collection
puzzles       swaps and chains, whose every step can be checked
states        the state at every place of a tale
next_token    `NextToken`: the exact distribution of the next token, the perfect teacher of a model
grammar       the mix as data, for a page of HTML that has no Python
tasks         labelled tasks, whose answers the world knows; pairs, instructions; gists, relations: what they ask
language      a second language, into which every text can be put and back
letters       a task without a right answer; letter_scores says how good any answer is; preferences, criticism
files         all of it as files, made at first use: `data_file(name)`, `load_documents(name)`
"""

from minillm.tales import words
from minillm.tales.criticism import CONSTITUTION, make_letters, verdicts
from minillm.tales.documents import (
    Entity, Tale, entropy_floor, known, log_share, logprob, make_clinic, make_documents, make_patterns, make_tales,
    parse, reading, tell,
)  # fmt: skip
from minillm.tales.files import data_file, load_documents
from minillm.tales.grammar import grammar
from minillm.tales.instructions import EXACT, KINDS, OPEN_KINDS, REFUSAL, make_instructions, right_answer
from minillm.tales.judging import Judgement, judge
from minillm.tales.language import LANGUAGE, from_lantic, make_translations, to_lantic
from minillm.tales.letter_scores import BEST_SCORE, WEIGHTS, LetterScore, score_letter, understand
from minillm.tales.letters import LETTER_FORMS, Traits, ask_for_letter, draw_traits, make_prompts, write_letter
from minillm.tales.lookups import (
    Lookup, make_collection, make_lookup_instructions, make_lookups, make_question_pairs, planted, questions_about,
    with_document,
)  # fmt: skip
from minillm.tales.next_token import NextToken, divergence, entropy, ways_on
from minillm.tales.pairs import make_entailment, make_next_sentence, make_paraphrases
from minillm.tales.patterns import game_ceiling, make_pattern_questions
from minillm.tales.preferences import BIASES, FLIPPED, TEMPERATURE, best_accuracy, chance_of_choice, make_preferences
from minillm.tales.puzzles import (
    KINDS_OF_PUZZLE, SOLVERS, Puzzle, Verdict, make_puzzle_instructions, make_puzzles, solve, verify,
)  # fmt: skip
from minillm.tales.relations import GROUPS, LABELS, RELATIONS
from minillm.tales.states import NOBODY, State, states, states_at
from minillm.tales.tasks import make_sentiment, make_tags
