"""Tagged words: {"tokens", "tags"}, CoNLL's columns, CoNLL-U, and tables of a word a row, read as records and checked.

Tags are spans or classes of words. Spans may be marked as IOB1, in which an entity begins with I- unless it touches
another of its kind (Tjong Kim Sang & De Meulder 2003), or as BIOES; they become IOB2: B- begins an entity, I- goes on.
A token with a tag that is neither, beside spans, is no example. Classes, such as parts of speech, stay as they are.
"""

import re
import sys
from collections import Counter
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from minillm.data.records import Record, check_words
from minillm.text import TABLES, holds_records, keep_good, list_field, names_columns, read_records, read_text

Sentence = tuple[int, list[str], list[str]]  # the line on which it begins, its words and their tags

CONLL_U = ("id", "form", "lemma", "upos", "xpos", "feats", "head", "deprel", "deps", "misc")
COLUMNS = {len(CONLL_U): CONLL_U, 4: ("word", "pos", "chunk", "ner")}  # by how many there are
WORDS_OF_ROWS = ("sentence_id", "word", "tag")  # of a table with a word a row
MARKS = {"S": "B", "U": "B", "E": "I", "L": "I"}  # of BIOES and BILOU: an entity of one word; the end of one
HEADER = set("word words token tokens form tag tags label labels ner ner_tag pos upos".split())  # in a first line


def read_tagged(path: Path, column: str = "") -> list[Record]:
    """The tagged sentences of a file, from records, a table, or columns with blank lines between sentences.

    Args: column: which tags to take, where there are several: "upos", "pos", "ner", the name of a field of a record, or
        the number of a column from 1; "" takes "tags", the last column, or "upos" of CoNLL-U.
    Raises: ValueError for a file without a tagged sentence, and as `read_each`.
    """
    found = _of_records(path, column) if _is_table(path) else _of_columns(path, column)
    spans = any(is_span(tag) for _, _, tags in found for tag in tags)

    def make(line: int, sentence: Sentence) -> Record:
        _, words, tags = sentence
        if spans:
            tags = to_iob2(tags)
            for tag in tags:
                if tag != "O" and not is_span(tag):
                    raise ValueError(f'{path}:{line}: expected tags such as "O", "B-PERSON", "I-PERSON", found {tag!r}')
        return Record(tuple(words), tuple(tags), path, line)

    records = keep_good([(sentence[0], sentence) for sentence in found], make)
    if not records:
        raise ValueError(f"{path}: the file holds no tagged sentence; bring at least one")
    if spans and {record.label for record in records} - {tuple(tags) for _, _, tags in found}:
        print(f"{path}: its tags are read as IOB2: B- begins an entity, I- goes on", file=sys.stderr)
    return records


def is_span(tag: str) -> bool:
    """Whether a tag marks part of an entity, as B-PER and I-PER do."""
    return re.fullmatch(r"[BI]-.+", tag) is not None


def to_iob2(tags: Sequence[str]) -> list[str]:
    """Tags in which every entity begins with B-: where `entity_spans` sees one begin, and, of BIOES, where marked.

    >>> to_iob2(["I-PER", "I-PER", "O", "I-LOC", "B-LOC", "S-ORG"])
    ['B-PER', 'I-PER', 'O', 'B-LOC', 'B-LOC', 'B-ORG']
    """
    found, inside = [], ""
    for tag in tags:
        mark, dash, kind = tag.partition("-")
        own = MARKS.get(mark, mark)
        found.append(("B" if own == "I" and kind != inside else own) + dash + kind)
        inside = kind if mark in ("B", "I") else ""
    return found


def _is_table(path: Path) -> bool:
    """Whether a file holds records: by its name; a .tsv by its first line, for columns as of CoNLL may stand in it."""
    if path.suffix.lower() != ".tsv":
        return holds_records(path)
    return names_columns(path, [("tokens", "tags"), WORDS_OF_ROWS]) and "\n\n" not in read_text(path).strip()


def _of_records(path: Path, column: str) -> list[Sentence]:
    """Of records with lists of words and tags, in a table perhaps with blanks between, or with one word each."""
    tags = column.lower() or "tags"
    rows = (*WORDS_OF_ROWS[:2], column.lower() or WORDS_OF_ROWS[2])
    wrong: list[tuple[int, str]] = []
    records = read_records(path, [("tokens", tags), rows], wrong)
    if records and not set(rows) - records[0][1].keys():
        return _of_rows(path, [(line, [record[name] for name in rows]) for line, record in records])

    def make(line: int, record: dict) -> Sentence:
        found = [words_field(path, line, record, name) for name in ("tokens", tags)]
        if not all(isinstance(value, list) for value in found):
            raise ValueError(f'{path}:{line}: expected "tokens" and "{tags}", two lists, found {sorted(record)}')
        return line, found[0], _checked(path, line, *found)

    return keep_good(records, make, wrong)


def words_field(path: Path, line: int, record: dict, name: str) -> object:
    """A list of words; of a table also a text in which blanks stand between them."""
    value = list_field(path, line, record, name)
    return value.split() if isinstance(value, str) and path.suffix.lower() in TABLES else value


def _of_rows(path: Path, rows: list[tuple[int, list[str]]]) -> list[Sentence]:
    """Of one word a row: a sentence begins where its number changes, which may stand at its first word alone."""
    number, sentences = "", []
    for line, (told, word, tag) in rows:
        if not sentences or (str(told).strip() and told != number):
            number = told
            sentences.append((line, ([], [])))
        for column, cell in zip(sentences[-1][1], (word, tag)):
            column.append(cell)
    return keep_good(sentences, lambda line, both: (line, both[0], _checked(path, line, *both)))


def _checked(path: Path, line: int, words: list, tags: list) -> list[str]:
    """The tags as words, where they and the words are in order. Numbers stand for classes."""
    if len(words) != len(tags):
        raise ValueError(f"{path}:{line}: {len(words)} tokens and {len(tags)} tags: each token needs one tag")
    check_words(path, line, words)
    for tag in tags:
        if isinstance(tag, bool) or not isinstance(tag, str | int) or not str(tag).strip():
            raise ValueError(f"{path}:{line}: expected tags that are words, found {tag!r}")
    return [str(tag).strip() for tag in tags]


def _of_columns(path: Path, column: str) -> list[Sentence]:
    """CoNLL: a word a line, its tags in columns behind it, blank lines between sentences; or CoNLL-U."""
    rows = []
    for number, line in enumerate(read_text(path).split("\n"), 1):
        cells = [cell.strip() for cell in (line.split("\t") if "\t" in line else line.split())]
        rows.append((number, cells if any(cells) and cells[0] != "-DOCSTART-" else []))
    universal = any(len(cells) == len(CONLL_U) and cells[0].isdigit() for _, cells in rows)
    widths = Counter(len(cells) for _, cells in rows if cells).most_common(1)
    width = len(CONLL_U) if universal else widths[0][0] if widths else 0
    if universal:  # 1-2 is a word of two tokens, 1.1 one that is not said, and the rest comments
        rows = [(number, cells) for number, cells in rows if not cells or cells[0].isdigit()]
    else:
        rows = [row for row in rows if not (row[1] and row[1][0].startswith("#") and len(row[1]) != width)]
    names = COLUMNS.get(width, ())
    first = next((place for place, (_, cells) in enumerate(rows) if cells), None)
    if first is not None and {rows[first][1][0].lower(), rows[first][1][-1].lower()} <= HEADER:
        names = tuple(map(str.lower, rows.pop(first)[1]))
    place = _place(path, column, names, "upos" if universal else "")

    def make(line: int, found: list) -> Sentence:
        for number, cells in found:
            if len(cells) < 2 or not -len(cells) <= place < len(cells):
                shown = " ".join(cells)[:60]
                raise ValueError(f"{path}:{number}: expected a word and its tag, found {shown!r}")
        words = [cells[1 if universal else 0] for _, cells in found]
        return line, words, _checked(path, line, words, [cells[place] for _, cells in found])

    groups = [list(group) for full, group in groupby(rows, key=lambda row: bool(row[1])) if full]
    return keep_good([(group[0][0], group) for group in groups], make)


def _place(path: Path, column: str, names: Sequence[str], usual: str) -> int:
    """The place of a column in a line, by its name or its number."""
    if not (column or usual):
        return -1
    if column.isdigit() and int(column) > 0:
        return int(column) - 1
    if (column or usual).lower() not in names:
        known = ", ".join(names) or "none that is known"
        raise ValueError(f"{path}: --column {column}: its columns are {known}; name one, or give its number from 1")
    return names.index((column or usual).lower())
