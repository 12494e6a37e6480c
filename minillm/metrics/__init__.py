"""Scores of texts and of experiments, with the standard library and torch only.

Of a text against references: `ngram_scores`, `rouge_n`, `rouge_l`, `rouge_lsum`, `bleu`, `sentence_bleu`,
`exact_match`, `token_f1`; these say with a `signature` what they depend on. Of texts by themselves: `distinct_n`,
`repetition`, `self_bleu`. Of what a model foresaw: `perplexity`, `bits_per_character`, `bits_per_byte`. Of classes:
`accuracy`, `macro_f1` and others. How sure any of them is: `bootstrap_interval`, `seed_interval`,
`paired_comparison`.

Where there is a reference it comes first, as the truth does; only in BLEU the candidates do, as everywhere.

Left out: METEOR, chrF, TER, and scores that need a trained model, such as BERTScore.
"""

from minillm.metrics.answers import exact_match, squad_words, token_f1
from minillm.metrics.baselines import BagOfWords, commonest_tags, majority, word_similarity
from minillm.metrics.bleu_score import Bleu, bleu, bleu_of, bleu_of_totals, bleu_statistics, sentence_bleu, tokenize_13a
from minillm.metrics.classes import (
    accuracy,
    confusion_matrix,
    entity_f1,
    entity_spans,
    macro_f1,
    recall_at_k,
    similarity_scores,
    spearman,
)
from minillm.metrics.diversity import distinct_n, repetition, self_bleu
from minillm.metrics.likelihood import bits_per_byte, bits_per_character, perplexity
from minillm.metrics.ngrams import clipped_matches, ngram_counts, ngram_scores, ngrams, tokenize_rouge
from minillm.metrics.rouge import lcs_length, lcs_places, rouge_l, rouge_lsum, rouge_n
from minillm.metrics.scores import Score, Scores, mean_scores
from minillm.metrics.statistics import T_975, Comparison, Interval, bootstrap_interval, paired_comparison, seed_interval
