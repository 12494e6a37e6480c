"""Files of records (.jsonl, .json, .csv, .tsv), read and checked one by one.

Every complaint is one sentence that names the file, the line and what was expected. A file that cannot be read as what
its name says stops; a record that is no example is left out and shown, as long as most are good.
"""

import ast
import json
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from minillm.text.tables import Form, names_fields, own_names, read_table, say_names
from minillm.text.utf8 import StrPath, read_text

T, R = TypeVar("T"), TypeVar("R")

TABLES = (".csv", ".tsv")
RECORD_FORMATS = (".jsonl", ".json", *TABLES)
SHOWN, MANY = 5, 0.5  # complaints, where records are left out; the share of them at which a file is refused
TOO_DEEP = "too deeply nested or too long"  # JSON: the other errors say themselves what they are


class SharedLine(int):
    """The number of a line on which several records begin; as a text it says which of the file's records is meant."""

    def of(self, record: int) -> "SharedLine":
        """The same, for this record."""
        self.record = record
        return self

    def __str__(self) -> str:
        return f"{int(self)}: record {self.record}"


def holds_records(path: StrPath) -> bool:
    """Whether a file is one of records, by its name."""
    return Path(path).suffix.lower() in RECORD_FORMATS


def names_columns(path: StrPath, forms: Sequence[Form]) -> bool:
    """Whether a table begins with a row of names that complete one of the forms."""
    return names_fields(read_text(path), Path(path).suffix.lower(), forms)


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


def list_field(path: StrPath, line: int, record: dict, name: str) -> object:
    """What stands under `name`, None for nothing; of a table a cell is text, and a list in it is read as one."""
    value = record.get(name)
    if isinstance(value, str) and value.lstrip().startswith("[") and Path(path).suffix.lower() in TABLES:
        for read in (json.loads, ast.literal_eval):  # pandas writes lists as Python does
            try:
                return read(value)
            except (ValueError, SyntaxError, RecursionError, MemoryError):
                continue
    return value


def read_each(path: StrPath, forms: Sequence[Form], make: Callable[[int, dict], T]) -> list[T]:
    """What `make` makes of each record of a file, given its line; what it complains of is left out: `keep_good`."""
    wrong: list[tuple[int, str]] = []
    return keep_good(read_records(path, forms, wrong), make, wrong)


def keep_good(
    records: Sequence[tuple[int, R]], make: Callable[[int, R], T], wrong: Sequence = (), many: float = MANY
) -> list[T]:
    """What `make` makes of each, but of those for which it raises a ValueError; wrong: lines and what is wrong there.

    Raises: ValueError as `leave_out`.
    """
    made, wrong = [], list(wrong)
    total = len(records) + len(wrong)
    for line, record in records:
        try:
            made.append(make(line, record))
        except ValueError as error:
            wrong.append((line, str(error)))
    leave_out([complaint for _, complaint in sorted(wrong)], total, many)
    return made


def leave_out(complaints: Sequence[str], total: int, many: float = MANY) -> None:
    """Say how many of `total` records are left out, and why the first are; ValueError with the first for too many.

    A few bad records are in every file; many say that the file is not what it is taken for.
    Args: many: the share that is too many.
    """
    if not complaints:
        return
    count = f"{len(complaints):,} of {total:,} records"
    if len(complaints) >= many * total:
        raise ValueError(complaints[0] + (f" (and so with {count})" if len(complaints) > 1 else ""))
    more = ["..."] if len(complaints) > SHOWN else []
    print(f"{count} are left out:", *complaints[:SHOWN], *more, sep="\n  ", file=sys.stderr)


def read_records(path: StrPath, forms: Sequence[Form] = (), wrong: list | None = None) -> list[tuple[int, dict]]:
    """The records of a .jsonl, .json, .csv or .tsv file, each with the number of the line on which it begins.

    .jsonl has an object a line (blank lines are skipped), .json a list of objects or an object a line. .csv and .tsv
    begin with a row of column names, and all their values are strings.

    Args:
        forms: the fields that a record may have, as of `tables`: well-known other names are then taken for ours, and
            said, and a table may do without its row of names.
        wrong: where a record that is no object, or a row with too few or too many values, goes, as (line, complaint).
    Raises: ValueError with file:line and what was expected for a file that cannot be read, and for no record; without
        `wrong`, for the first record that is wrong.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in RECORD_FORMATS:
        raise ValueError(f'{path}: expected a file whose name ends in {", ".join(RECORD_FORMATS)}, found "{suffix}"')
    text = read_text(path)
    if suffix in TABLES:
        records = list(read_table(path, text, suffix, forms, wrong))
    else:
        values = _json_lines(path, text) if suffix == ".jsonl" else _json_list(path, text)
        records = list(_under_our_names(path, _objects(path, values, wrong), forms))
    if not records and not wrong:
        raise ValueError(f"{path}: the file holds no record; bring at least one")
    return records


def _under_our_names(path: StrPath, records: Iterator, forms: Sequence[Form]) -> Iterator[tuple[int, dict]]:
    """Records with the names of their fields as the forms have them; those that complete no form as they are."""
    known: dict[tuple[str, ...], dict[str, str]] = {}
    for line, record in records:
        keys = tuple(record)
        if keys not in known:
            known[keys] = own_names(keys, forms) or {}
            if len(known) == 1:
                say_names(path, known[keys])
        names = known[keys]
        rest = {key: value for key, value in record.items() if key not in names}
        yield line, {**rest, **{ours: record[theirs] for theirs, ours in names.items()}} if names else record


def _json_lines(path: StrPath, text: str) -> Iterator[tuple[int, object]]:
    for number, line in enumerate(text.split("\n"), 1):  # splitlines() would cut at U+2028, which JSON strings may hold
        if line.strip():
            try:
                yield number, json.loads(line)
            except (ValueError, RecursionError) as error:
                found = f"found {_shorten(line)} ({getattr(error, 'msg', TOO_DEEP)})"
                raise ValueError(f"{path}:{number}: expected one JSON object on the line, {found}") from None


def _json_list(path: StrPath, text: str) -> Iterator[tuple[int, object]]:
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        line, reason = getattr(error, "lineno", 1), getattr(error, "msg", TOO_DEEP)
        if reason == "Extra data":  # an object a line, under the name of the other format
            yield from _json_lines(path, text)
            return
        raise ValueError(f"{path}:{line}: expected a JSON list of objects ({reason})") from None
    if not isinstance(values, list):
        raise ValueError(f"{path}:1: expected a JSON list of objects, [{{...}}, ...], found {_shorten(text)}")
    # Decoded once more, one after the other, to see on which line each begins.
    several = text.count("\n") < len(values)
    decoder, at = json.JSONDecoder(), text.index("[") + 1
    line = 1 + text.count("\n", 0, at)
    for number, value in enumerate(values, 1):
        start = re.compile(r"[\s,]*").match(text, at).end()
        line += text.count("\n", at, start)
        yield SharedLine(line).of(number) if several else line, value
        at = decoder.raw_decode(text, start)[1]
        line += text.count("\n", start, at)


def _objects(path: StrPath, values: Iterator, wrong: list | None) -> Iterator[tuple[int, dict]]:
    for line, value in values:
        if isinstance(value, dict):
            yield line, value
            continue
        complaint = f"{path}:{line}: expected a JSON object, {{...}}, found {_shorten(json.dumps(value))}"
        if wrong is None:
            raise ValueError(complaint)
        wrong.append((line, complaint))


def _shorten(text: str, width: int = 40) -> str:
    text = text[: 4 * width].strip().replace("\n", " ")
    return text if len(text) <= width else text[: width - 3] + "..."
