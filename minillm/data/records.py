"""The labelled files that users bring: read, checked, kept apart, and made into examples.

Every complaint is one sentence with file and line; a record that is no example is left out and shown: `read_each`. What
stands in training and in validation too is dropped from training, and said: a score on what was learned by heart is no
score.
"""

import math
import sys
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path

from minillm.data.examples import Frame, pair_example, tag_example, text_example
from minillm.text import Tokenizer, leave_out, read_each, split, text_field

MANY = 20  # labels: a column of texts was taken for them if nearly every record has its own
NAMED = 6  # labels that a message names


@dataclass(frozen=True)
class Record:
    """One labelled example as a person wrote it: its texts (one, or two), its label, and where it stands.

    For tagged words `texts` holds the words and `label` their tags; for pairs of like texts `label` is a score or None.
    """

    texts: tuple[str, ...]
    label: object
    path: Path
    line: int

    @property
    def place(self) -> str:
        """ "file:line", as in complaints."""
        return f"{self.path}:{self.line}"

    @property
    def group(self) -> Hashable:
        """What must not stand on both sides of a split."""
        return self.texts

    @property
    def same(self) -> Hashable:
        """What two records share that say the same."""
        return self.texts

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes that it names: one, or one a word; none where its label is a score or nothing."""
        label = self.label
        return label if isinstance(label, tuple) else (label,) if isinstance(label, str) else ()

    @property
    def prose(self) -> tuple[str, ...]:
        """The texts as one would write them: tagged words are one text, with spaces."""
        return (" ".join(self.texts),) if isinstance(self.label, tuple) else self.texts


RecordReader = Callable[[Path], list[Record]]


def read_labelled(*fields: str) -> RecordReader:
    """A reader of records with these text fields and a label: {"text", "label"} or {"text_a", "text_b", "label"}."""

    def read(path: Path) -> list[Record]:
        def make(line: int, record: dict) -> Record:
            texts = tuple(text_field(path, line, record, field) for field in fields)
            check_not_empty(path, line, fields, texts)
            if "label" not in record:
                raise ValueError(f'{path}:{line}: expected a field "label", found {", ".join(map(repr, record))}')
            label = record["label"]
            if isinstance(label, bool) or not isinstance(label, str | int) or not str(label).strip():
                found = repr(label)[:60]
                raise ValueError(f"{path}:{line}: expected a label that is a word or a whole number, found {found}")
            return Record(texts, str(label).strip(), path, line)

        return read_each(path, [(*fields, "label")], make)

    return read


def read_scored_pairs(path: Path) -> list[Record]:
    """Records of two like texts, {"text_a", "text_b"}, and "score", how like they are, in all of them or in none."""

    def make(line: int, record: dict) -> Record:
        texts = tuple(text_field(path, line, record, field) for field in ("text_a", "text_b"))
        check_not_empty(path, line, ("text_a", "text_b"), texts)
        return Record(texts, score_field(path, line, record, "score"), path, line)

    records = read_each(path, [("text_a", "text_b", "score?")], make)
    bare = [record for record in records if record.label is None]
    if len(bare) == len(records):
        return records
    leave_out(
        [f'{one.place}: this record has no "score", and others in the file have one' for one in bare], len(records)
    )
    return [record for record in records if record.label is not None]


def score_field(path: Path, line: int, record: dict, name: str) -> float | None:
    """A score, in a table a text; None where there is none, ValueError with file:line for what is no number."""
    value = record.get(name)
    if value is None or value == "":
        return None
    try:
        score = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):  # JSON has whole numbers that no float holds
        score = math.nan
    if not math.isfinite(score):
        found = repr(value)[:60]
        raise ValueError(f'{path}:{line}: expected "{name}" to be a number, found {found}; leave it out if unknown')
    return score


def check_words(path: Path, line: int, words: object) -> None:
    """Raise ValueError for tokens that are no list of words."""
    if not isinstance(words, list) or not words or not all(isinstance(word, str) and word.strip() for word in words):
        raise ValueError(f"{path}:{line}: expected tokens that are words, found {str(words)[:60]}")


def check_not_empty(path: Path, line: int, fields: Sequence[str], texts: Sequence[str]) -> None:
    """Raise ValueError for a text without a word."""
    for field, text in zip(fields, texts):
        if not text.strip():
            raise ValueError(f'{path}:{line}: "{field}" is empty; remove the record or give it a text')


@dataclass
class Parts:
    """Labelled records to learn from, to watch while learning, and to score at the end (which may be the second)."""

    train: list[Record]
    valid: list[Record]
    test: list[Record]


def load_parts(
    read: RecordReader, data: Path, valid: Path | None, test: Path | None, fraction: float, seed: int
) -> Parts:
    """Read the files, or split `data` if there is no `valid`.

    A label that comes up in the share kept aside alone is learned instead, whatever the seed. Training loses what
    another part has, and that is said.
    """
    train = read(data)
    _check_labels(data, train)
    if valid is None:
        if len({record.same for record in train}) < 2:
            raise ValueError(f"{data}: holds one example, and measuring needs a second; bring more, or --valid")
        groups = [record.group for record in train]
        if len(set(groups)) < 2:  # all belong together: better to watch some of them than none
            groups = [record.same for record in train]
        train, held_out = split(train, fraction, seed, groups)
        known = {label for record in train for label in record.labels}
        alone = {record.group for record in held_out if not known.issuperset(record.labels)}
        train += [record for record in held_out if record.group in alone]
        held_out = [record for record in held_out if record.group not in alone]
        if not held_out:
            raise ValueError(f"{data}: too few examples of each label to keep any aside; bring more, or --valid")
    else:
        held_out = read(valid)
    parts = Parts(train, held_out, read(test) if test else held_out)
    elsewhere = {record.same: record for record in [*parts.valid, *parts.test]}
    twice = [record for record in train if record.same in elsewhere]
    if twice:
        print(
            f"{len(twice)} of {len(train)} training examples also stand in validation or test, and are not learned: "
            f"{twice[0].place} is {elsewhere[twice[0].same].place}"
        )
        parts.train = [record for record in train if record.same not in elsewhere]
    if not parts.train:
        raise ValueError(f"{data}: nothing is left to learn from; bring examples that are not in validation")
    return parts


def _check_labels(path: Path, records: list[Record]) -> None:
    names = sorted({record.label for record in records if isinstance(record.label, str)})
    if len(names) > MANY and 2 * len(names) > len(records):
        shown = ", ".join(repr(name[:30]) for name in names[:3])
        raise ValueError(
            f"{path}: {len(records):,} records have {len(names):,} labels ({shown}, ...); "
            "are the columns the other way round? A header with text and label says which is which"
        )


def label_names(parts: Parts) -> list[str]:
    """The labels of the training records, sorted; none of records that have none.

    Validation, whose loss they would not have, loses the records with any other label, as `leave_out` says; the test
    keeps them: `unknown_labels`.
    Raises: ValueError for a single label, and where half of the validation records have others.
    """
    names = sorted({label for record in parts.train for label in record.labels})
    parts.valid = _labelled(parts.valid, names)
    if len(names) == 1:
        raise ValueError(
            f"{parts.train[0].path}: every example has the label {names[0]!r}, and there is nothing to tell apart; "
            "bring examples of at least two"
        )
    return names


def _labelled(records: list[Record], names: list[str]) -> list[Record]:
    """The records whose labels are among the names; the others are left out, and said."""
    known = set(names)
    complaints = [_never_learned(record, names) for record in records if not known.issuperset(record.labels)]
    leave_out(complaints, len(records))
    return [record for record in records if known.issuperset(record.labels)] if complaints else records


def unknown_labels(records: list[Record], names: list[str]) -> list[str]:
    """The labels of scored records that are none of the learned names, sorted; any answer there is wrong, and said so.

    Raises: ValueError where no label is known.
    """
    found = {label for record in records for label in record.labels}
    other = sorted(found.difference(names))
    wrong = [record for record in records if not found.intersection(names).issuperset(record.labels)]
    if wrong and len(other) == len(found):
        raise ValueError(_never_learned(wrong[0], names))
    if wrong:
        print(
            f"{len(wrong):,} of {len(records):,} records have labels that were never learned, and every answer there "
            f"counts as wrong: {_never_learned(wrong[0], names)}",
            file=sys.stderr,
        )
    return other


def _never_learned(record: Record, names: list[str]) -> str:
    """What is wrong with a record of which a label is none of these names."""
    other = next(label for label in record.labels if label not in names)
    there = ", ".join(names[:NAMED]) + (", ..." if len(names) > NAMED else "")
    return f"{record.place}: the label {other[:30]!r} never occurs in training, where there are {there}"


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


def texts_example(record: Record, tokenizer: Tokenizer, frame: Frame, context: int) -> tuple[dict, ...]:
    """Two texts, a row each."""
    return tuple(text_example(tokenizer.encode(text), frame, context) for text in record.texts)
