"""Using a model that is trained; in the order to read it:

sampling      the next token: greedy, temperature, top-k, top-p, min-p, a penalty on repetition
generation    one token after another; few_rows, one_position: fast products for it; captured: a step that
              a GPU starts as one; beams: beam search; speculative: with a draft, exactly as without;
              on_policy: batches that a model writes itself
writing       texts and answers, whole or as they grow
prompting     how likely a model finds a text, or each answer to a prompt
few_shot      answers from a few examples in the prompt, calibrated, and how many are right
answering     questions to an assistant, and how many of its answers are right
retrieve      documents as vectors, the nearest to a question
predict       the outputs of a head for texts, and the tag of each word
interpret     what each head attends to; induction heads; residual: the stream between layers, seen and changed;
              probes: what can be read off vectors, with controls
truth         a model beside the world's exact probabilities
"""

from minillm.inference.answering import Question, ask, ask_base, plain, questions_of, right, summary
from minillm.inference.beams import beam_search
from minillm.inference.captured import captured
from minillm.inference.few_shot import (
    answers_by_generation, answers_by_likelihood, contextual_calibration, draw_questions, few_shot_accuracy,
    shuffle_answers,
)  # fmt: skip
from minillm.inference.generation import generate
from minillm.inference.interpret import attention_maps, induction_scores
from minillm.inference.on_policy import OwnTexts
from minillm.inference.predict import check_numbers, predict, tags_of
from minillm.inference.probes import Probe, ProbeScores, fit_probe, probe
from minillm.inference.prompting import few_shot_prompt, score_candidates, sentence_logprob, sentence_logprobs
from minillm.inference.residual import (
    edited, head_effects, layers_of, logit_lens, mean_head_outputs, patched, patching_map, residual_stream, steered,
    steering_vector, without_heads,
)  # fmt: skip
from minillm.inference.retrieve import (
    EncoderFinder, Finder, Index, Passage, WordFinder, cut_passages, messages_with, passages_fingerprint,
)  # fmt: skip
from minillm.inference.sampling import TEMPERATURE, TOP_P, check_sampling, filter_logits
from minillm.inference.speculative import Speculation, accept, generate_speculatively, residual_distribution
from minillm.inference.truth import against_the_world, beside_the_world
from minillm.inference.writing import reply, write
