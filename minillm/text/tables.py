"""Tables (.csv, .tsv) into records, and the names that fields go by.

A reader says which fields a record may have as forms: ("text", "label") are two that must be there, "input?" need not
be, "system+" need not be either and is never taken for a column of a table without a header. Our names are known in
any case; `OTHER_NAMES` are names that other people's files have for them.
"""

import csv
import io
import re
import sys
from collections.abc import Iterator, Sequence
from itertools import islice

Form = Sequence[str]
Row = tuple[int, list[str]]  # the line on which it begins, and its cells

DELIMITERS = ",;\t|"
LOOKED_AT, AT_MOST = 200, 1 << 18  # rows, and characters, by which a delimiter is chosen
OTHER_NAMES = {  # ours, then theirs, the likeliest first; small letters, "_" for blanks and hyphens
    "text": "sentence review content comment comment_text tweet message body document article question_text",
    "label": "sentiment class target category labels gold_label is_duplicate polarity intent emotion topic quality",
    "text_a": "sentence1 sentence_1 sentence_a premise question1 text1 text_1 anchor #1_string question",
    "text_b": "sentence2 sentence_2 sentence_b hypothesis question2 text2 text_2 positive #2_string sentence",
    "score": "similarity similarity_score relatedness_score label",
    "tokens": "words",
    "tags": "ner_tags pos_tags labels upos",
    "sentence_id": "sentence_# sentence_number sentence_idx sent_id sentence",
    "word": "token form",
    "tag": "ner ner_tag label upos pos",
    "instruction": "",
    "input": "context",
    "output": "response answer completion",
    "prompt": "question query instruction input",
    "completion": "response answer output",
    "conversations": "conversation",
    "system": "system_prompt",
}


def known_names(field: str, theirs: bool = True) -> list[str]:
    """A field's own name, and what others call it."""
    name = field.rstrip("?+")
    return [name, *(OTHER_NAMES.get(name, "").split() if theirs else ())]


def own_names(keys: Sequence[str], forms: Sequence[Form]) -> dict[str, str] | None:
    """Our names for these keys by the first form that they complete, one of our own names before one of others'.

    >>> own_names(["id", "Review", "sentiment"], [("text", "label")])
    {'Review': 'text', 'sentiment': 'label'}
    """
    plain = {_plain(key): key for key in reversed(keys)}
    for theirs in (False, True):
        for form in forms:
            found: dict[str, str] = {}
            for field in form:
                names = known_names(field, theirs or field[-1] in "?+")
                key = next((plain[name] for name in names if name in plain and plain[name] not in found), None)
                if key is not None:
                    found[key] = names[0]
                elif field[-1] not in "?+":
                    break
            else:
                return found
    return None


def say_names(path, names: dict[str, str]) -> None:
    """Say which of somebody's names are taken for ours."""
    other = [f'"{theirs.strip()}" as "{ours}"' for theirs, ours in names.items() if _plain(theirs) != ours]
    if other:
        print(f"{path}: reads {', '.join(other)}", file=sys.stderr)


def names_fields(text: str, suffix: str, forms: Sequence[Form]) -> bool:
    """Whether the first row of a table has names that complete one of the forms."""
    first = next(iter(_rows("", text, suffix)), (0, []))
    return own_names(first[1], forms) is not None


def _rows(path, text: str, suffix: str) -> Iterator[Row] | list[Row]:
    return _tsv_rows(path, text) if suffix == ".tsv" else _csv_rows(path, text, _delimiter(text))


def read_table(path, text: str, suffix: str, forms: Sequence[Form], wrong: list | None) -> Iterator[tuple[int, dict]]:
    """The rows of a table as records under our names; those without the right number of values go to `wrong`.

    Raises: ValueError for a header that lacks what every form needs, and, without `wrong`, for such a row.
    """
    rows = list(_rows(path, text, suffix))
    if not rows:
        return
    names, first = _columns(path, rows, forms)
    for line, row in rows[first:]:
        if len(row) == len(names):
            yield line, {name: value for name, value in zip(names, row) if name}
            continue
        shown = ", ".join(names[:6]) + (", ..." if len(names) > 6 else "")
        complaint = f"{path}:{line}: expected {len(names)} values ({shown}), found {len(row)}"
        if wrong is None:
            raise ValueError(complaint)
        wrong.append((line, complaint))


def _columns(path, rows: list[Row], forms: Sequence[Form]) -> tuple[list[str], int]:
    """The names of the columns, ours where we know them, and the number of the first row that is data."""
    line, cells = rows[0]
    found = [cell.strip() for cell in cells]
    names = own_names(found, forms)
    if names is not None or not forms:
        names = names or {}
        say_names(path, names)
        columns = [names.get(name, name) for name in found]
        given = [name for name in columns if name]
        if len(set(given)) < len(given):
            raise ValueError(f"{path}:{line}: expected different column names, found {', '.join(found)}")
        return columns, 1
    known = {name for form in forms for field in form for name in known_names(field)}
    needed = [[field for field in form if field[-1] not in "?+"] for form in forms]
    if not known & set(map(_plain, found)) and not _looks_like_names(rows):
        whole = [[field.rstrip("?") for field in form if field[-1] != "+"] for form in forms]
        columns = next((form for form in [*needed, *whole] if len(form) == len(cells)), None)
        if columns is not None:
            print(f"{path}: has no header; the first row is read as data ({', '.join(columns)})", file=sys.stderr)
            return columns, 0
    expected = ", or ".join(" and ".join(f'"{field}"' for field in form) for form in needed)
    shown = ", ".join(name[:30] for name in found if name)
    raise ValueError(f"{path}:{line}: expected a header with {expected}; name the columns so: found {shown}")


def _plain(name: str) -> str:
    return re.sub(r"[\s-]+", "_", name.strip().lower())


def _looks_like_names(rows: list[Row]) -> bool:
    """Whether a first row without a name that we know is a header all the same.

    Its cells are words, and one does not fit below: over numbers, or over few values that it is none of.
    """
    first, rest = rows[0][1], [cells for _, cells in rows[1:]]
    if not all(re.fullmatch(r"\s*[^\W\d]\w*([ .-]\w+)?\s*", cell) for cell in first):
        return False
    for place, name in enumerate(first):
        column = [cells[place] for cells in rest if len(cells) > place]
        values = set(column)
        numbers = all(re.fullmatch(r"\s*[-+]?\d+([.,]\d+)?\s*", value) for value in values)
        if column and name not in values and (numbers or 2 * len(values) <= len(column)):
            return True
    return False


def _delimiter(text: str) -> str:
    """The delimiter by which most rows have as many cells as the first, and that more than one; else a comma."""

    def fitting(mark: str) -> float:
        rows = [cells for _, cells in islice(_csv_rows("", text[:AT_MOST], mark, strict=False), LOOKED_AT)]
        width = len(rows[0]) if rows else 0
        return sum(len(cells) == width for cells in rows) / len(rows) if width > 1 else 0.0

    return max(DELIMITERS, key=fitting)


def _csv_rows(path, text: str, delimiter: str, strict: bool = True) -> Iterator[Row]:
    reader, line = csv.reader(io.StringIO(text, newline=""), strict=strict, delimiter=delimiter), 1
    limit = csv.field_size_limit(len(text))  # the module's own would refuse a long document
    try:
        for row in reader:
            if any(cell.strip() for cell in row):
                yield line, row
            line = reader.line_num + 1
    except csv.Error as error:
        raise ValueError(f"{path}:{line}: expected comma-separated values ({error})") from None
    finally:
        csv.field_size_limit(limit)


def _tsv_rows(path, text: str) -> list[Row]:
    """Rows between tabs. A quotation mark is a character like others, but where it can only be a table's quoting.

    That is where lines do not have the same number of cells, or one, and by quoting they have; where all cells of the
    first line or of a column stand in quotes; and where quotes in a quoted cell are doubled.
    """
    rows = [(number, line.split("\t")) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    if '"' not in text:
        return rows
    whole = re.compile(r'"(?:[^"]|"")*"')
    widths = {len(cells) for _, cells in rows}
    if len(widths) > 1 or widths == {1} or all(map(whole.fullmatch, rows[0][1])):
        try:
            quoted = list(_csv_rows(path, text, "\t"))
        except ValueError:
            return rows
        return quoted if len({len(cells) for _, cells in quoted}) == 1 else rows
    columns = [all(whole.fullmatch(cell) for cell in column) for column in zip(*(cells for _, cells in rows[1:]))]
    return [
        (
            line,
            [
                cell[1:-1].replace('""', '"') if whole.fullmatch(cell) and (column or '""' in cell[1:-1]) else cell
                for cell, column in zip(cells, columns or [False] * len(cells))
            ],
        )
        for line, cells in rows
    ]
