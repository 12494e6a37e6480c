"""The glossary and the sources: a term is introduced where it says and not used before; a source is linked."""

import json
import re
from pathlib import Path

import pytest

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"
LESSONS = {path.name[:2]: path for path in sorted(NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))}
ENTRY = re.compile(r"^- \*\*(.+?)\*\* \((?:\[(\d\d)\]\((\S+)\)|(\d\d))\): (.+)$", re.M)
ENTRIES = ENTRY.findall((NOTEBOOKS / "GLOSSARY.md").read_text(encoding="utf-8"))
NO_PROSE = (  # code, formulas, addresses; headings, tables, and the lines that say what comes in other lessons
    r"(?s)```.*?```|\$\$.*?\$\$|<code>.*?</code>|\$[^$\n]*\$|`[^`\n]*`"
    r"|(?m:^(?:#|\||[^\n]*\[contents\]|\*\*Afterwards you can\*\*|\*\*You need\*\*|\*\*Next:\*\*)[^\n]*$)|\]\([^)\s]*\)"
)


def prose_of(path: Path) -> list[str]:
    """The cells of text of a lesson up to its exercises, without what is no prose."""
    found = []
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        text = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            if text.startswith("## Exercises"):
                break
            found.append(re.sub(NO_PROSE, "]", text))
    return found


PROSE = {number: prose_of(path) for number, path in LESSONS.items()}


def first_use(term: str, number: str) -> tuple[str, int] | None:
    """The cell of a lesson in which a term first occurs, and where in it."""
    word = re.compile(rf"(?<![\w-]){re.escape(term)}{'' if term.endswith('s') else 's?'}(?![\w-])", re.I)
    return next(((cell, match.start()) for cell in PROSE[number] if (match := word.search(cell))), None)


def test_the_glossary_is_in_order_and_names_a_term_once():
    terms = [term.lower() for term, *_ in ENTRIES]
    assert len(terms) > 120 and terms == sorted(set(terms))
    assert all(text.endswith(".") and len(text.split()) >= 3 for *_, text in ENTRIES)


@pytest.mark.parametrize(("term", "number", "file"), [entry[:3] for entry in ENTRIES if entry[1]])
def test_a_term_is_introduced_in_italics_in_its_lesson_and_not_used_before(term, number, file):
    assert LESSONS.get(number, Path()).name == file
    for earlier in (other for other in LESSONS if other < number):
        assert not first_use(term, earlier), f"lesson {earlier} uses {term!r} before lesson {number} introduces it"
    cell, place = first_use(term, number) or pytest.fail(f"lesson {number} does not use {term!r}")
    paragraph = cell[cell.rfind("\n\n", 0, place) + 1 : place]
    assert len(re.findall(r"\*+", paragraph)) % 2 == 1, f"not in italics where it first occurs: {paragraph[-80:]!r}"


SOURCE = re.compile(  # Warstadt et al. 2020, Eckart and Young 1936, Bradley and Terry (1952), Lin 2004
    r"\b[A-Z][a-zé]+(?:-[A-Z][a-z]+)?(?: et al\.| (?:and|&) [A-Z][a-z]+| and others)?,? \(?(?:19|20)\d\d\b"
)
TOOLS = ("nanoGPT", "SST-2", "BERTScore", "SQuAD", "RoBERTa", "FlashAttention", "AdamW", "Muon", "InfoNCE", "ULMFiT")


@pytest.mark.parametrize("number", LESSONS)
def test_a_source_is_linked_where_it_is_first_named(number):
    seen = set()
    for cell in json.loads(LESSONS[number].read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] != "markdown":
            continue
        text = re.sub(r"(?s)```.*?```|`[^`\n]*`|<code>.*?</code>|(?m:^(?:\||#)[^\n]*$)", " ", "".join(cell["source"]))
        linked = [match.span() for match in re.finditer(r"\[[^\]]*\](?:\(http[^)\s]*\))(?: \(?\d{4}\)?)?", text)]
        names = [match for match in SOURCE.finditer(text)]
        names += [match for tool in TOOLS for match in re.finditer(rf"\b{tool}\b", text)]
        for match in sorted(names, key=lambda match: match.start()):
            who = re.sub(r"\W", "", match[0])
            if who not in seen:
                inside = any(start <= match.start() < end for start, end in linked)
                assert inside, f"not linked: {text[max(match.start() - 60, 0) : match.end() + 20]!r}"
            seen.add(who)
