"""A person's files in: text into documents, tables into records, and a split in which nothing leaks.

Every complaint is one sentence that names the file, the line or the byte, and what to do. Text comes out as it stands
in the file, but for a byte order mark, which is dropped, and line ends, which become "\\n".
Left out: tidying the text (`cleaning`), documents that occur twice (`dedup`), guessing encodings, files beyond memory.
"""

import codecs
import csv
import io
import json
import os
import random
import re
from collections.abc import Hashable, Iterator, Sequence
from pathlib import Path
from typing import Literal, TypeVar

StrPath = str | os.PathLike
T = TypeVar("T")

RECORD_FORMATS = (".jsonl", ".json", ".csv", ".tsv")
TOO_DEEP = "too deeply nested or too long"  # JSON: the other errors say themselves what they are
CONVERT = "convert it with: iconv -f {} -t UTF-8 {} > utf8.txt"
UTF16_AND_32 = {codecs.BOM_UTF32_LE: "UTF-32", codecs.BOM_UTF32_BE: "UTF-32"}  # first: one begins with UTF-16's mark
UTF16_AND_32 |= {codecs.BOM_UTF16_LE: "UTF-16", codecs.BOM_UTF16_BE: "UTF-16"}


def read_text(path: StrPath) -> str:
    """The whole text of a UTF-8 file, character for character.

    Raises: ValueError when there is no such file, and for a folder, an empty or a binary file, or another encoding.
    """
    try:
        data = Path(path).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise ValueError(f"{path}: there is no such file; check the path") from None
    except IsADirectoryError:
        raise ValueError(f"{path}: this is a folder; name one file in it") from None
    if not data:
        raise ValueError(f"{path}: the file is empty (0 bytes); bring a file with text in it")
    for mark, encoding in UTF16_AND_32.items():
        if data.startswith(mark):
            raise ValueError(f"{path}: the file is {encoding}, expected UTF-8; {CONVERT.format(encoding, path)}")
    if (at := data.find(b"\0")) >= 0:
        where = f"at byte offset {at}, line {1 + data.count(10, 0, at)}"  # 10: a line feed
        raise ValueError(f"{path}: looks like a binary file (a zero byte {where}); bring a plain text file in UTF-8")
    try:
        text = data.decode().removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        at, line = error.start, 1 + data.count(10, 0, error.start)
        raise ValueError(
            f"{path}: not UTF-8: byte 0x{data[at]:02x} at byte offset {at}, line {line}; "
            f"if the file is in Windows-1252 or Latin-1, {CONVERT.format('WINDOWS-1252', path)}"
        ) from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read_documents(path: StrPath, documents: Literal["blank-line", "file"] = "blank-line") -> list[str]:
    """The documents of a file, in order, none of them empty.

    A file of records (.jsonl, .json, .csv, .tsv) holds one document a record, in the field "text".

    Args:
        documents: what a document of any other file, plain text, is. "blank-line", for a collection of texts: what
            stands between blank lines; joined with "\\n\\n" they are the file again, but for extra blank lines and
            trailing white space. "file", for one long text with blank lines of its own, such as a play: the whole file,
            exactly; a model then reads across them, and `split_stream` cuts it.
    Raises: ValueError as `read_text` and `read_records` do, and for a file without any text.

    >>> split_documents("A tale.\\nIts end.\\n\\n\\nAnother.\\n")
    ['A tale.\\nIts end.', 'Another.']
    """
    if documents not in ("blank-line", "file"):
        raise ValueError(f'documents is {documents!r}; choose "blank-line" or "file"')
    if Path(path).suffix.lower() in RECORD_FORMATS:
        found = [text_field(path, line, record) for line, record in read_records(path)]
    else:
        text = read_text(path)
        found = [text] if documents == "file" else split_documents(text)
    found = [text for text in found if text.strip()]
    if not found:
        raise ValueError(f"{path}: the file holds no text, only white space; bring a file with text in it")
    return found


def split_documents(text: str) -> list[str]:
    """Cut text at its blank lines; white space alone is a blank line. Indentation of a first line stays."""
    pieces = re.split(r"(?:\A|\n)(?:[^\S\n]*\n)+", text)
    return [piece.rstrip() for piece in pieces if piece.strip()]


def text_field(path: StrPath, line: int, record: dict, name: str = "text") -> str:
    """The string under `name` in a record; ValueError with file:line when there is none, or it is no usable string."""
    if name not in record:
        raise ValueError(f'{path}:{line}: expected a field "{name}", found {", ".join(map(repr, record)) or "none"}')
    text = record[name]
    if not isinstance(text, str):
        raise ValueError(f'{path}:{line}: expected "{name}" to be a string, found {_shorten(json.dumps(text))}')
    if re.search("[\ud800-\udfff]", text):
        raise ValueError(f'{path}:{line}: "{name}" holds half of a surrogate pair (\\ud800 to \\udfff); remove it')
    return text


def read_records(path: StrPath, columns: Sequence[str] | None = None) -> list[tuple[int, dict]]:
    """The records of a .jsonl, .json, .csv or .tsv file, each with the number of the line on which it begins.

    .jsonl has an object a line (blank lines are skipped), .json a list of objects. .csv and .tsv begin with a row of
    column names, and all their values are strings. A .tsv has no quoting: what stands between two tabs is the value.

    Args:
        columns: the names to expect in a table: when the first row lacks one of them it is a record already, and the
            names are given to the values in this order.
    Raises: ValueError with file:line and what was expected for the first record that is wrong, and for no record.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in RECORD_FORMATS:
        raise ValueError(f'{path}: expected a file whose name ends in {", ".join(RECORD_FORMATS)}, found "{suffix}"')
    text = read_text(path)
    if suffix in (".jsonl", ".json"):
        records = list(_json_lines(path, text) if suffix == ".jsonl" else _json_list(path, text))
    else:
        records = list(_table(path, _rows(path, text, suffix), columns))
    if not records:
        raise ValueError(f"{path}: the file holds no record; bring at least one")
    return records


def _json_lines(path: StrPath, text: str) -> Iterator[tuple[int, dict]]:
    for number, line in enumerate(text.split("\n"), 1):  # splitlines() would cut at U+2028, which JSON strings may hold
        if line.strip():
            try:
                value = json.loads(line)
            except (ValueError, RecursionError) as error:
                found = f"found {_shorten(line)} ({getattr(error, 'msg', TOO_DEEP)})"
                raise ValueError(f"{path}:{number}: expected one JSON object on the line, {found}") from None
            yield number, _object(path, number, value)


def _json_list(path: StrPath, text: str) -> Iterator[tuple[int, dict]]:
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        line, reason = getattr(error, "lineno", 1), getattr(error, "msg", TOO_DEEP)
        raise ValueError(f"{path}:{line}: expected a JSON list of objects ({reason})") from None
    if not isinstance(values, list):
        raise ValueError(f"{path}:1: expected a JSON list of objects, [{{...}}, ...], found {_shorten(text)}")
    # Decoded once more, one after the other, to see on which line each begins.
    decoder, at = json.JSONDecoder(), text.index("[") + 1
    line = 1 + text.count("\n", 0, at)
    for value in values:
        start = re.compile(r"[\s,]*").match(text, at).end()
        line += text.count("\n", at, start)
        yield line, _object(path, line, value)
        at = decoder.raw_decode(text, start)[1]
        line += text.count("\n", start, at)


def _object(path: StrPath, line: int, value) -> dict:
    if not isinstance(value, dict):
        raise ValueError(f"{path}:{line}: expected a JSON object, {{...}}, found {_shorten(json.dumps(value))}")
    return value


def _rows(path: StrPath, text: str, suffix: str) -> Iterator[tuple[int, list[str]]]:
    if suffix == ".tsv":
        yield from ((number, line.split("\t")) for number, line in enumerate(text.split("\n"), 1) if line.strip())
        return
    reader, line = csv.reader(io.StringIO(text, newline=""), strict=True), 1
    limit = csv.field_size_limit(len(text))  # the module's own would refuse a long document
    try:
        for row in reader:
            if row:
                yield line, row
            line = reader.line_num + 1
    except csv.Error as error:
        raise ValueError(f"{path}:{line}: expected comma-separated values ({error})") from None
    finally:
        csv.field_size_limit(limit)


def _table(path: StrPath, rows: Iterator, columns: Sequence[str] | None) -> Iterator[tuple[int, dict]]:
    names = None
    for line, row in rows:
        if names is None:
            is_header = columns is None or set(columns) <= set(row)
            names = row if is_header else list(columns)
            if len(set(names)) < len(names):
                raise ValueError(f"{path}:{line}: expected different column names, found {', '.join(names)}")
            if is_header:
                continue
        if len(row) != len(names):
            raise ValueError(f"{path}:{line}: expected {len(names)} values ({', '.join(names)}), found {len(row)}")
        yield line, dict(zip(names, row))


def _shorten(text: str, width: int = 40) -> str:
    text = text[: 4 * width].strip().replace("\n", " ")
    return text if len(text) <= width else text[: width - 3] + "..."


def split(
    documents: Sequence[T], valid_fraction: float = 0.1, seed: int = 0, groups: Sequence[Hashable] | None = None
) -> tuple[list[T], list[T]]:
    """Split documents into (training, validation), whole documents at random, each side in the order it came in.

    Args:
        valid_fraction: of the documents, that go to validation: one at least, more only if the smallest group is larger
        groups: one label a document, as `near_duplicates` gives them; documents of one label stay on one side, so that
            no near copy of a validation document is learned by heart.
    Raises: ValueError when there are not two documents (or two groups) to share out.

    >>> split(["a", "b", "c", "d"], 0.25, seed=1)
    (['a', 'b', 'c'], ['d'])
    """
    _check_fraction(valid_fraction)
    members: dict[Hashable, list[int]] = {}
    for index, group in enumerate(range(len(documents)) if groups is None else groups):
        members.setdefault(group, []).append(index)
    assert sum(map(len, members.values())) == len(documents), "groups needs one label for each document"
    if len(members) < 2:
        what = "documents" if groups is None else "documents that are not near copies of each other"
        raise ValueError(
            f"a split into training and validation needs at least 2 {what}, found {len(members)}; "
            "bring more documents, or split one long text by its characters"
        )
    order = list(members.values())
    random.Random(seed).shuffle(order)
    room = max(1, round(valid_fraction * len(documents)))
    valid: set[int] = set()
    for group in order:
        if len(group) <= room - len(valid):
            valid.update(group)
    valid = valid or set(min(order, key=len))
    if len(valid) == len(documents):  # rounding gave validation everything
        valid.difference_update(order[0])
    train = [document for index, document in enumerate(documents) if index not in valid]
    return train, [documents[index] for index in sorted(valid)]


def split_stream(text: str, valid_fraction: float = 0.1) -> tuple[str, str]:
    """Cut one long text in two: all but the last `valid_fraction` of its characters are for training.

    The cut is nanoGPT's, int(0.9 n) characters, so that losses can be compared with it.

    >>> split_stream("abcdefghij", 0.2)
    ('abcdefgh', 'ij')
    """
    _check_fraction(valid_fraction)
    cut = int(len(text) * (1 - valid_fraction))
    if not 0 < cut < len(text):
        raise ValueError(f"a text of {len(text)} characters is too short to split into training and validation")
    return text[:cut], text[cut:]


def _check_fraction(valid_fraction: float) -> None:
    if not 0 < valid_fraction < 1:
        raise ValueError(f"the validation fraction is {valid_fraction}; choose one between 0 and 1, such as 0.1")
