"""`train.py classify | pair | tag | encode`: four tasks of understanding, each a head on a trunk."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from minillm.cli.finetune import FineTune, Scored, Task, build_head, outputs_of, padded, run_finetune, write_predictions
from minillm.cli.flags import flag
from minillm.data import (
    Frame,
    Parts,
    Record,
    pair_example,
    read_labelled,
    read_scored_pairs,
    read_tagged,
    tag_example,
    text_example,
)
from minillm.metrics import (
    BagOfWords,
    accuracy,
    bootstrap_interval,
    commonest_tags,
    confusion_matrix,
    entity_f1,
    macro_f1,
    majority,
    recall_at_k,
    spearman,
    word_similarity,
)
from minillm.models import PairClassifier, SequenceClassifier, TextEncoder, TokenClassifier
from minillm.report import heat_map, picture
from minillm.text import Tokenizer
from minillm.training import classification, contrastive


@dataclass(frozen=True, kw_only=True)
class Classify(FineTune):
    """Settings of `classify`."""


@dataclass(frozen=True, kw_only=True)
class Pair(FineTune):
    """Settings of `pair`."""

    task: str = flag("entailment", "which pairs of the tales, without --data", choices=("entailment", "next_sentence"))


@dataclass(frozen=True, kw_only=True)
class Tag(FineTune):
    """Settings of `tag`."""

    every_piece: bool = flag(False, "learn the tag at each token of a word, not at its first alone")


@dataclass(frozen=True, kw_only=True)
class Encode(FineTune):
    """Settings of `encode`."""


# Examples


def classify_example(record: Record, tokenizer: Tokenizer, frame: Frame, context: int, classes: dict[str, int]) -> dict:
    """One text, or two in one row, and the class of it."""
    ids = [tokenizer.encode(text) for text in record.texts]
    example = text_example(*ids, frame, context) if len(ids) == 1 else pair_example(*ids, frame, context)
    return {**example, "labels": classes[record.label]}


def tagged_example(
    record: Record, tokenizer: Tokenizer, frame: Frame, context: int, classes: dict[str, int], every_piece: bool = False
) -> dict:
    """Words and the class of each, at its first token or at every one."""
    return tag_example(record.texts, [classes[tag] for tag in record.label], tokenizer, frame, context, every_piece)


def like_texts(record: Record, tokenizer: Tokenizer, frame: Frame, context: int, classes: dict) -> tuple[dict, ...]:
    """Two texts, a row each."""
    return tuple(text_example(tokenizer.encode(text), frame, context) for text in record.texts)


# Scores


def report_classes(outputs: list[Tensor], scored: Scored) -> dict:
    """Accuracy with its interval, macro F1, and the confusion matrix as numbers and as a picture."""
    records, names, run = scored.records, scored.names, scored.run
    predicted = [int(logits.argmax()) for logits in outputs]
    truth = [names.index(record.label) for record in records]
    table = confusion_matrix(truth, predicted, len(names))
    write_predictions(
        run,
        [
            {"texts": record.texts, "label": record.label, "predicted": names[guess], "probability": round(p, 4)}
            for record, guess, p in zip(records, predicted, (float(logits.softmax(-1).max()) for logits in outputs))
        ],
    )
    with picture(run.path / "confusion.png", figsize=(1.2 + 0.9 * len(names), 1 + 0.8 * len(names))) as ax:
        heat_map(table, names, names, form="{:.0f}", ax=ax)
        ax.set(xlabel="the model says", ylabel="the truth")
    interval = bootstrap_interval([a == b for a, b in zip(truth, predicted)])
    return {
        "accuracy": interval.mean,
        "accuracy_low": interval.low,
        "accuracy_high": interval.high,
        "f1": macro_f1(truth, predicted),
        "confusion": table,
    }


def report_tags(outputs: list[Tensor], scored: Scored) -> dict:
    """F1 over entities, exact spans, with its interval over texts, and the accuracy over words."""
    records, names = scored.records, scored.names
    predicted = [
        tags_of(logits, example, len(r.texts), names) for logits, example, r in zip(outputs, scored.examples, records)
    ]
    truth = [list(record.label) for record in records]
    rows = zip(records, truth, predicted)
    write_predictions(scored.run, [{"tokens": r.texts, "tags": own, "predicted": guess} for r, own, guess in rows])
    words = [a == b for own, guess in zip(truth, predicted) for a, b in zip(own, guess)]
    interval = bootstrap_interval([own == guess for own, guess in zip(truth, predicted)])
    return {
        "f1": entity_f1(truth, predicted),
        "accuracy": sum(words) / len(words),
        "whole_texts_right": interval.mean,
        "whole_texts_right_low": interval.low,
        "whole_texts_right_high": interval.high,
    }


def tags_of(logits: Tensor, example: dict, words: int, names: list[str]) -> list[str]:
    """The tag of each word, read at its first token: logits (T, K) -> `words` tags; O for words that were cut off."""
    tags = ["O"] * words
    seen = -1
    for place, guess in zip(example["words"], logits.argmax(-1).tolist()):
        if place > seen:
            tags[place], seen = names[guess], place
    return tags


def report_vectors(outputs: list[Tensor], scored: Scored) -> dict:
    """Recall at 1 and 5 of the second text among all second texts; with scores, the rank correlation with cosines."""
    vectors = torch.stack(outputs)
    return similarity_scores(vectors[0::2] @ vectors[1::2].T, scored.records)


def similarity_scores(similarity: Tensor, records: Sequence[Record]) -> dict:
    """Scores of the cosines (N, N) of first and second texts: who of all seconds is nearest to each first?

    With scores, only pairs of the highest are looked for, among all; and all cosines are compared with all scores.
    """
    labels = [record.label for record in records]
    if labels[0] is None:
        return {"recall_at_1": recall_at_k(similarity, 1), "recall_at_5": recall_at_k(similarity, 5)}
    alike = torch.tensor([label == max(labels) for label in labels])
    order = torch.cat([alike.nonzero(), (~alike).nonzero()]).flatten()  # so that a row's own column is its number
    found = similarity[alike][:, order]
    return {
        "recall_at_1": recall_at_k(found, 1),
        "recall_at_5": recall_at_k(found, 5),
        "spearman": spearman(similarity.diagonal().tolist(), labels),
    }


# Baselines


def class_baselines(parts: Parts, names: list[str], settings: FineTune) -> dict:
    """The majority class, and a bag of words."""
    texts = {part: [record.texts for record in getattr(parts, part)] for part in ("train", "test")}
    truth = [names.index(record.label) for record in parts.test]
    labels = [names.index(record.label) for record in parts.train]
    answers = {
        "majority class": [majority(labels)] * len(truth),
        "bag of words": BagOfWords().fit(texts["train"], labels, len(names)).predict(texts["test"]),
    }
    return {name: {"accuracy": accuracy(truth, own), "f1": macro_f1(truth, own)} for name, own in answers.items()}


def tag_baselines(parts: Parts, names: list[str], settings: FineTune) -> dict:
    """The commonest tag of each word."""
    commonest = commonest_tags([r.texts for r in parts.train], [r.label for r in parts.train])
    predicted = [[commonest.get(word, "O") for word in record.texts] for record in parts.test]
    return {"commonest tag": {"f1": entity_f1([record.label for record in parts.test], predicted)}}


def vector_baselines(parts: Parts, names: list[str], settings: FineTune) -> dict:
    """The cosine of two bags of words."""
    first, second = zip(*(record.texts for record in parts.test))
    return {"bag of words": similarity_scores(word_similarity(first, second), parts.test)}


CLASSIFY = Task(
    stage="classify",
    files=("sentiment",),
    read=read_labelled("text"),
    labels=lambda record: (record.label,),
    example=classify_example,
    objective=classification,
    report=report_classes,
    baselines=class_baselines,
    head=SequenceClassifier,
    build=build_head,
    batches=padded,
    answer=outputs_of,
)
PAIR = replace(CLASSIFY, stage="pair", files=(), read=read_labelled("text_a", "text_b"), head=PairClassifier)
TAG = replace(
    CLASSIFY,
    stage="tag",
    files=("tags",),
    read=read_tagged,
    labels=lambda record: record.label,
    example=tagged_example,
    report=report_tags,
    baselines=tag_baselines,
    head=TokenClassifier,
)
ENCODE = replace(
    CLASSIFY,
    stage="encode",
    files=("paraphrases",),
    read=read_scored_pairs,
    labels=None,
    example=like_texts,
    objective=contrastive,
    report=report_vectors,
    baselines=vector_baselines,
    head=lambda trunk, classes, pooling, dropout: TextEncoder(trunk, pooling or "mean"),
)


def run_classify(settings: Classify, given: dict) -> int:
    """Sort texts into classes: a model reads a text and names its label.

    python train.py classify                                         how tales end, from scratch
    python train.py classify --from runs/mlm                         the same, from a pre-trained encoder
    python train.py classify --data train.tsv --test test.tsv        your texts: .jsonl, .csv, .tsv: text, label
    """
    return run_finetune(CLASSIFY, settings, given)


def run_pair(settings: Pair, given: dict) -> int:
    """Judge pairs of texts: does the second follow from the first, come next, mean the same?

    python train.py pair --from runs/mlm                             entailment in the tales
    python train.py pair --from runs/mlm --task next_sentence        does one sentence follow the other?
    python train.py pair --data pairs.jsonl                          your pairs: text_a, text_b and label
    """
    return run_finetune(replace(PAIR, files=(settings.task,)), settings, given)


def run_tag(settings: Tag, given: dict) -> int:
    """Tag words: names, places, things, in BIO marks.

    python train.py tag --from runs/mlm                              who and what is in a tale
    python train.py tag --data train.jsonl --valid valid.jsonl       your words: {"tokens", "tags"}, or CoNLL's columns
    """
    return run_finetune(
        replace(TAG, example=partial(tagged_example, every_piece=settings.every_piece)), settings, given
    )


def run_encode(settings: Encode, given: dict) -> int:
    """Turn texts into vectors, like texts near each other: for search, for finding paraphrases.

    python train.py encode --from runs/mlm                           two tellings of one tale
    python train.py encode --data pairs.jsonl                        your pairs: text_a, text_b, and perhaps score
    """
    return run_finetune(ENCODE, settings, given)
