"""Scores of texts and of experiments. The reference, or the truth, comes first; only in BLEU the candidates do.

words, ngrams, scores           what the others are made of, and the signature that says what a score depends on
rouge, bleu_score, answers      a text against references
diversity, likelihood           texts by themselves; what a model foresaw, in the units that people compare
classes, baselines, pass_at     classes, tags, similarities; what counting alone would score; pass@k
statistics                      how sure any of them is, and whether two systems differ

Left out: METEOR, chrF, TER, and scores that need a trained model, such as BERTScore.
"""

from minillm.metrics.answers import exact_match, squad_words, token_f1
from minillm.metrics.baselines import BagOfWords, commonest_tags, majority, word_similarity
from minillm.metrics.bleu_score import Bleu, bleu, bleu_of, bleu_of_totals, bleu_statistics, sentence_bleu, tokenize_13a
from minillm.metrics.classes import (
    accuracy, confusion_matrix, entity_f1, entity_spans, macro_f1, recall_at_k, similarity_scores, spearman,
)  # fmt: skip
from minillm.metrics.diversity import distinct_n, repetition, self_bleu
from minillm.metrics.likelihood import bits_per_byte, bits_per_character, perplexity
from minillm.metrics.ngrams import clipped_matches, ngram_counts, ngram_scores, ngrams, tokenize_rouge
from minillm.metrics.pass_at import pass_at_k
from minillm.metrics.rouge import lcs_length, lcs_places, rouge_l, rouge_lsum, rouge_n, rouge_reads
from minillm.metrics.scores import Score, Scores, mean_scores
from minillm.metrics.statistics import (
    SHARE,
    T_975,
    Comparison,
    Interval,
    bootstrap_interval,
    paired_comparison,
    seed_interval,
    share_interval,
)
from minillm.metrics.words import combining_marks, words_and_marks, words_of
