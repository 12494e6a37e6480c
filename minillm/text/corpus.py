"""A person's text in: files into documents, and a split in which nothing leaks.

Text comes out as it stands in the file, but for a byte order mark, which is dropped, line ends, which become "\\n", and
what `gutenberg` says of books. A large file is not read whole: its documents come one after the other, as often as they
are asked for (`Streamed`). Left out: tidying the text (`cleaning`), documents that occur twice (`dedup`).
"""

import os
import random
from collections.abc import Hashable, Iterator, Sequence
from itertools import islice
from typing import Literal, TypeVar

from minillm.text.blocks import WHOLE, block_form, block_texts, read_blocks, split_documents
from minillm.text.gutenberg import START, book_text
from minillm.text.record_files import StrPath, holds_records, leave_out, read_each, text_field
from minillm.text.utf8 import decoded, read_text

T = TypeVar("T")
LARGE = 1 << 24  # bytes of a file that is not kept in memory


class Streamed:
    """The documents of a file, or some of them, which are read from it whenever they are gone through."""

    def __init__(self, path: StrPath):
        self.path, self.form, self.chosen = path, block_form(path), None
        wrong: list[str] = []
        self.length = sum(1 for _ in self._read(wrong))
        leave_out(wrong, self.length + len(wrong))
        if not self.length:
            raise ValueError(f"{path}: the file holds no text, only white space; bring a file with text in it")

    def part(self, chosen: Sequence[int]) -> "Streamed":
        """Those of these numbers, which ascend."""
        part = object.__new__(Streamed)
        part.path, part.form, part.chosen, part.length = self.path, self.form, chosen, len(chosen)
        return part

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[str]:
        chosen = iter(self.chosen if self.chosen is not None else range(self.length))
        wanted = next(chosen, None)
        for number, text in enumerate(self._read([])):
            if wanted is None:
                return
            if number == wanted:
                yield text
                wanted = next(chosen, None)

    def __getitem__(self, some: slice) -> list[str]:
        return list(islice(self, some.start, some.stop, some.step))

    def _read(self, wrong: list[str]) -> Iterator[str]:
        for block in read_blocks(self.path, self.form):
            texts, complaints = block_texts(block)
            wrong += complaints
            yield from texts


def read_documents(path: StrPath, documents: Literal["blank-line", "file"] = "blank-line") -> list[str] | Streamed:
    """The documents of a file, in order, none of them empty; those of a large one, or of a .gz, are not all in memory.

    A file of records (.jsonl, .json, .csv, .tsv) holds one document a record, in the field "text".

    Args:
        documents: what a document of any other file, plain text, is. "blank-line", for a collection of texts: what
            stands between blank lines; joined with "\\n\\n" they are the file again, but for extra blank lines and
            trailing white space. "file", for one long text with blank lines of its own, such as a play: the whole file,
            exactly; a model then reads across them, and `split_stream` cuts it. Of records, all texts, blank lines
            between.
    Raises: ValueError as `read_text` and `read_each` do, and for a file without any text.

    >>> split_documents("A tale.\\nIts end.\\n\\n\\nAnother.\\n")
    ['A tale.\\nIts end.', 'Another.']
    """
    if documents not in ("blank-line", "file"):
        raise ValueError(f'documents is {documents!r}; choose "blank-line" or "file"')
    if is_large(path):
        found = Streamed(path) if documents == "blank-line" or block_form(path) != "text" else read_packed(path)
        return found if documents == "blank-line" else ["\n\n".join(found)]
    if holds_records(path):
        found = read_each(path, [("text",)], lambda line, record: text_field(path, line, record))
    else:
        text = book_text(path, read_text(path))
        found = [text] if documents == "file" else split_documents(text)
    found = [text for text in found if text.strip()]
    if not found:
        raise ValueError(f"{path}: the file holds no text, only white space; bring a file with text in it")
    return ["\n\n".join(found)] if documents == "file" else found


def read_packed(path: StrPath) -> list[str]:
    """The whole text of a file of plain text, in a list; a .gz is unpacked."""
    (block,) = read_blocks(path, "file")
    text = book_text(path, decoded(path, block.content))
    if not text.strip():
        raise ValueError(f"{path}: the file holds no text, only white space; bring a file with text in it")
    return [text]


def is_large(path: StrPath) -> bool:
    """Whether a file is one to read in blocks: a large one that can be, or a packed one."""
    if str(path).lower().endswith((".gz", ".parquet")):
        return True
    if str(path).lower().endswith(WHOLE) or not os.path.isfile(path) or os.path.getsize(path) < LARGE:
        return False
    with open(path, "rb") as file:
        return not START.search(file.read(1 << 16).decode(errors="replace"))  # a book is read whole


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
    if isinstance(documents, Streamed):
        return documents.part([i for i in range(len(documents)) if i not in valid]), documents.part(sorted(valid))
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
