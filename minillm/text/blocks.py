"""Files of text that need not fit into memory, in blocks that end where a document ends.

A block is bytes as they stand in a file (unpacked, if it is a .gz), so that cutting is fast and the work on a block,
`block_texts`, can be done by another process. All blocks together hold the documents of `read_documents`, and a block
says where it begins, so that reading can go on from any of them.
Left out: tables and .json, which only make sense whole.
"""

import gzip
import importlib
import json
import os
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from minillm.system import check_readable
from minillm.text.gutenberg import START, book_text
from minillm.text.record_files import text_field
from minillm.text.tables import own_names
from minillm.text.utf8 import UTF16_AND_32, StrPath, decoded

BLOCK = 1 << 21  # bytes, about
LONGEST = 1 << 28  # bytes of one document, or of a book
ROWS = 1000  # of a .parquet file in a block
TEXT, LINES, PARQUET = (".txt", ".text", ".md"), (".jsonl", ".ndjson"), (".parquet",)
WHOLE = (".json", ".csv", ".tsv")  # not to be read in blocks
BLANK = re.compile(rb"\n[ \t\r\f\v]*\n")


class Block(NamedTuple):
    """A part of a file: `start` bytes of it (rows of a table) and `line` - 1 lines stand before."""

    path: str
    form: str  # "text", "file" (one document), "lines" (of JSON) or "parquet"
    start: int
    line: int
    content: bytes | list  # of a table the values of its column of texts
    read: int  # bytes of the file on disk up to its end

    def after(self) -> tuple[int, int]:
        """`start` and `line` of the next block of the file."""
        lines = self.content.count(b"\n") if isinstance(self.content, bytes) else 0
        return self.start + len(self.content), self.line + lines

    def bytes(self) -> bytes:
        """What stands in it, as bytes, for a checksum."""
        return self.content if isinstance(self.content, bytes) else json.dumps(self.content).encode()


def block_form(path: StrPath, documents: str = "blank-line") -> str:
    """How a file is read, by its name. Raises: ValueError for tables and .json, which can only be read whole."""
    suffixes = [suffix.lower() for suffix in Path(path).suffixes]
    packed = suffixes[-1:] == [".gz"]
    suffix = ["", *suffixes][-2 if packed and len(suffixes) > 1 else -1]
    if suffix in WHOLE or (packed and suffix in PARQUET):
        raise ValueError(f"{path}: expected .txt, .jsonl, .gz of these or .parquet, which can be read in parts")
    if suffix in PARQUET:
        return "parquet"
    return "lines" if suffix in LINES else {"blank-line": "text", "file": "file"}[documents]


def text_files(folder: StrPath) -> list[Path]:
    """The files below a folder that hold text by their names, in the order of these. Raises: ValueError for none."""
    ends = (*TEXT, *LINES, *PARQUET, *(f"{end}.gz" for end in (*TEXT, *LINES)))
    found = sorted(path for path in Path(folder).rglob("*") if path.name.lower().endswith(ends) and path.is_file())
    found = [path for path in found if not any(part.startswith(".") for part in path.relative_to(folder).parts)]
    if not found:
        raise ValueError(f"{folder}: there is no text in this folder: no file whose name ends in {', '.join(ends)}")
    return found


def read_blocks(path: StrPath, form: str, start: int = 0, line: int = 1, size: int = BLOCK) -> Iterator[Block]:
    """The blocks of a file from one of them on, of about `size` bytes each.

    Raises: ValueError for a file that cannot be read, is empty or damaged, and for a document without end.
    """
    check_readable(path)
    if form == "parquet":
        yield from _tables(path, start)
        return
    try:
        with gzip.open(path) if str(path).lower().endswith(".gz") else open(path, "rb") as file:
            file.seek(start)
            yield from _cut(str(path), form, file, start, line, size)
    except (FileNotFoundError, NotADirectoryError):
        raise ValueError(f"{path}: there is no such file; check the path") from None
    except IsADirectoryError:
        raise ValueError(f"{path}: this is a folder; name one file in it") from None
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{path}: not a whole .gz file ({error}); it may have been cut short") from None


def _cut(path: str, form: str, file, start: int, line: int, size: int) -> Iterator[Block]:
    # What is read depends on where a block starts, and on nothing before it: resumed work sees the same blocks.
    rest, first, whole = b"", start == 0, form == "file"  # a book is whole too: its licence is at its end
    while piece := file.read(size - len(rest) if len(rest) < size else len(rest)):
        rest += piece
        if len(rest) > LONGEST:
            what = "one line" if form == "lines" else "text without a blank line"
            raise ValueError(
                f"{path}: over {LONGEST >> 20} MB of {what} from line {line} on: "
                "separate the documents by blank lines, or bring smaller files"
            )
        if first and rest.startswith(tuple(UTF16_AND_32)):
            decoded(path, rest)  # says what it is instead
        whole = whole or (first and form == "text" and START.search(rest.decode(errors="replace")) is not None)
        at, first = 0 if whole else _border(rest, form), False
        if at:
            block = Block(path, form, start, line, rest[:at], _place(file))
            yield block
            (start, line), rest = block.after(), rest[at:]
    if rest:
        yield Block(path, form, start, line, rest, _place(file))
    elif start == 0:
        raise ValueError(f"{path}: the file is empty (0 bytes); bring a file with text in it")


def _place(file) -> int:
    """How much of a file on disk is read."""
    return file.fileobj.tell() if isinstance(file, gzip.GzipFile) else file.tell()


def _border(data: bytes, form: str) -> int:
    """Where the last document that surely ends in these bytes ends; 0 for none."""
    if form == "lines":
        return data.rfind(b"\n") + 1
    found = [data.rfind(mark) + len(mark) for mark in (b"\n\n", b"\n\r\n", b"\r\r") if mark in data]
    return max(found, default=0) or max((match.end() for match in BLANK.finditer(data)), default=0)


def _tables(path: StrPath, start: int) -> Iterator[Block]:
    try:
        parquet = importlib.import_module("pyarrow.parquet")
    except ImportError:
        raise ValueError(f"{path}: reading .parquet needs pyarrow: pip install pyarrow, or bring .jsonl") from None
    try:
        file = parquet.ParquetFile(path)
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: not a whole .parquet file ({str(error).splitlines()[0]})") from None
    columns = file.schema_arrow.names
    names = own_names(columns, [("text",)])
    if names is None:
        raise ValueError(f'{path}: expected a column "text", found {", ".join(columns)}')
    row, size, rows = 0, os.path.getsize(path), max(file.metadata.num_rows, 1)
    for batch in file.iter_batches(batch_size=ROWS, columns=list(names)):
        if row >= start:
            place = size * (row + len(batch)) // rows
            yield Block(str(path), "parquet", row, 1, batch.column(0).to_pylist(), place)
        row += len(batch)


def block_texts(block: Block) -> tuple[list[str], list[str]]:
    """The documents of a block, in order, none of them empty; and what is wrong with records that are none.

    Raises: ValueError for bytes that are no text.
    """
    if block.form == "parquet":
        wrong = [
            f'{block.path}: row {row}: expected "text" to be a string'
            for row, text in enumerate(block.content, block.start)
            if not isinstance(text, str)
        ]
        return [text for text in block.content if isinstance(text, str) and text.strip()], wrong
    text = decoded(block.path, block.content, block.start, block.line)
    if block.form == "lines":
        return _records(block.path, text, block.line)
    text = book_text(block.path, text, say=False) if block.start == 0 else text
    if block.form == "file":
        return [text] if text.strip() else [], []
    return split_documents(text), []


def split_documents(text: str) -> list[str]:
    """Cut text at its blank lines; white space alone is a blank line. Indentation of a first line stays."""
    first = re.match(r"(?:[^\S\n]*\n)*", text).end()  # apart, since a search for "\n" alone is ten times as fast
    pieces = re.split(r"\n(?:[^\S\n]*\n)+", text[first:])
    return [piece.rstrip() for piece in pieces if piece.strip()]


def _records(path: str, text: str, first: int) -> tuple[list[str], list[str]]:
    """The texts of records, an object a line, and what is wrong with others."""
    found, wrong, known = [], [], {}
    for number, line in enumerate(text.split("\n"), first):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
            if not isinstance(record, dict):
                raise ValueError(f"expected a JSON object, found {type(record).__name__}")
        except (ValueError, RecursionError) as error:
            wrong.append(f"{path}:{number}: expected one JSON object on the line ({error})")
            continue
        keys = tuple(record)
        if keys not in known:
            known[keys] = next(iter(own_names(keys, [("text",)]) or {"text": "text"}))
        try:
            text = text_field(path, number, record, known[keys])
        except ValueError as error:
            wrong.append(str(error))
            continue
        if text.strip():
            found.append(text)
    return found, wrong
