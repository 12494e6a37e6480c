"""From text as it is found to text worth learning: small steps, each a pure function, and a report of what they did.

`clean` tidies one text: mark-up, invisible characters, Unicode form, white space, again until nothing changes, so that
cleaning twice is cleaning once; text that hides mark-up in more than MOST_PASSES layers loses its "<" and "&" instead.
`clean_corpus` goes on with what only shows across documents: lines that many of them share, documents without text,
exact and near duplicates.
Left out: telling languages apart, judging quality, removing personal data, keeping the indentation of programs.
Sources: Unicode Standard Annex 15 (normalisation forms); Rae et al. 2021, arXiv:2112.11446, appendix A, and Penedo et
al. 2024, arXiv:2406.17557, for what such pipelines do at scale.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import takewhile

from minillm.metrics import words_of
from minillm.text.dedup import exact_duplicates, near_duplicates, normalised_digest
from minillm.text.markup import drop_markup, strip_markup
from minillm.text.normal import Form, normalise_unicode

EXAMPLES = 3  # how many a report keeps of each step
MOST_PASSES = 10  # with mark-up; found pages are escaped two or three times, only an attack more often

LINE_ENDS = re.compile("\r\n|[\r\x0b\x0c\x85\u2028\u2029]")
INVISIBLE = re.compile(
    "[\x00-\x08\x0e-\x1f\x7f-\x9f"  # control characters, all but tab and line feed
    "\u00ad\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]"  # of no width
)
LOOSE_JOINERS = re.compile("(?<![^\x00-\x7f])[\u200c\u200d]+|[\u200c\u200d]+(?![^\x00-\x7f])")
# Lines (as `line_key` makes them) that no corpus needs, however small it is; the others are found by counting.
NOTICES = re.compile(
    r"page \d+(?: (?:of )?\d+)?|click here|click here to (?:subscribe|continue|read more)|subscribe to our newsletter|"
    r"(?:read|show|load) more|skip to (?:main )?content|all rights reserved|advertisement|"
    r"accept (?:all )?cookies|(?:this|our) (?:web)?site uses cookies|share (?:this|on (?:facebook|twitter|linkedin))"
)


def strip_invisible(text: str) -> str:
    """Control and zero-width characters go; those that break a line become "\\n".

    The joiners U+200C and U+200D stay between two characters beyond ASCII: Persian, Hindi and emoji need them.

    >>> strip_invisible("soft\\u00adly \\u200bthere\\x07\\x0cnext page")
    'softly there\\nnext page'
    """
    text = INVISIBLE.sub("", LINE_ENDS.sub("\n", text))
    return LOOSE_JOINERS.sub("", text) if "\u200c" in text or "\u200d" in text else text


def collapse_space(text: str) -> str:
    """One space for any run of them, none at either end of a line, one blank line at most, none at either end.

    >>> collapse_space("  a \\u00a0 b \\n\\n\\n\\tc\\n")
    'a b\\n\\nc'
    """
    text = re.sub(r"[^\S\n ][^\S\n]*| [^\S\n]+", " ", text)  # a space alone stays, and takes no time
    text = re.sub(r" \n ?|\n ", "\n", text)
    return re.sub(r"\n{3,}", "\n\n", text).strip()


def cleaning_steps(form: Form = "NFC") -> dict[str, Callable[[str], str]]:
    """The steps of `clean` by name, in order. Mark-up is first, since "&#8203;" stands for an invisible character."""
    if form not in ("NFC", "NFKC"):
        raise ValueError(f'the Unicode form is {form!r}; choose "NFC" or "NFKC"')
    return {
        "mark-up": strip_markup,
        "invisible characters": strip_invisible,
        "Unicode form": partial(normalise_unicode, form=form),
        "white space": collapse_space,
    }


def clean(text: str, form: Form = "NFC") -> str:
    """All steps for one text, repeated until none changes anything.

    So tags that were escaped go too, up to MOST_PASSES times: feeds and scrapers escape whole pages. A text *about*
    HTML that shows tags to its readers loses them; leave `strip_markup` out for that.

    >>> clean("<p>Caf&eacute;\\u200b  &lt;i&gt;noir&lt;/i&gt;</p>")
    'Café noir'
    """
    changes = list(_changes(text, cleaning_steps(form)))
    return changes[-1][2] if changes else text


def _changes(text: str, steps: dict[str, Callable[[str], str]]) -> Iterator[tuple[str, str, str]]:
    """Every (name of the step, text before, text after) where a step does something, until none does."""
    begin, passes = None, 0
    while text != begin:
        begin, passes = text, passes + 1
        for name, step in steps.items():
            step = drop_markup if step is strip_markup and passes > MOST_PASSES else step
            before, text = text, step(text)
            if text != before:
                yield name, before, text


def line_key(line: str) -> str:
    """What two lines have in common when only case, punctuation and space tell them apart.

    >>> line_key("* Sign up, for FREE! *")
    'sign up for free'
    """
    return " ".join(words_of(line.casefold()))


def boilerplate_lines(documents: Sequence[str], share: float = 0.25, minimum: int = 5, words: int = 3) -> set[str]:
    """The keys (`line_key`) of lines that stand in at least `share` of the documents, and in `minimum` of them.

    A line counts once a document, and copies of a document count once. Lines of fewer than `words` words are safe: a
    speaker's name or "The end." is found everywhere and is no boilerplate.
    """
    if not 0 < share <= 1:
        raise ValueError(f"the boilerplate share is {share}; choose one above 0 and at most 1, such as 0.25")
    distinct = {normalised_digest(document): document for document in documents}.values()
    counts = Counter(key for document in distinct for key in {line_key(line) for line in document.split("\n")})
    needed = max(minimum, share * len(distinct))
    return {key for key, count in counts.items() if count >= needed and key.count(" ") + 1 >= words}


def strip_boilerplate(text: str, lines: set[str] | frozenset[str] = frozenset()) -> str:
    """The text without lines whose key is in `lines`, and without a few notices that everyone knows.

    >>> strip_boilerplate("A tale.\\nClick here to subscribe!\\nIts end.\\n- Page 2 of 3 -")
    'A tale.\\nIts end.'
    """
    kept = [line for line in text.split("\n") if not ((key := line_key(line)) in lines or NOTICES.fullmatch(key))]
    return collapse_space("\n".join(kept)) if len(kept) <= text.count("\n") else text


@dataclass
class CleaningStep:
    """The documents (by place in the input) that a step changed and dropped, the characters that went, examples."""

    name: str
    changed: set[int] = field(default_factory=set)
    dropped: set[int] = field(default_factory=set)
    characters: int = 0
    examples: list[str] = field(default_factory=list)

    def change(self, index: int, before: str, after: str) -> None:
        """Count a document that became `after`."""
        self.changed.add(index)
        self.characters += len(before) - len(after)
        if len(self.examples) < EXAMPLES:
            same = takewhile(lambda pair: pair[0] == pair[1], zip(before, after))
            at = max(len(list(same)) - 5, 0)
            self.examples.append(f"{_shorten(before[at:])} -> {_shorten(after[at:])}")

    def drop(self, index: int, text: str, because: str = "") -> None:
        """Count a document that is gone."""
        self.dropped.add(index)
        self.characters += len(text)
        if len(self.examples) < EXAMPLES:
            self.examples.append(_shorten(text) + because)


def _shorten(text: str, width: int = 24) -> str:
    return repr(text if len(text) <= width else text[: width - 3] + "...")


@dataclass
class CleaningReport:
    """What cleaning a corpus did, step by step; `print(report)` shows it as a table."""

    documents_in: int
    characters_in: int
    documents_out: int = 0
    characters_out: int = 0
    steps: dict[str, CleaningStep] = field(default_factory=dict)

    def step(self, name: str) -> CleaningStep:
        """The record of a step, begun when it is asked for first."""
        return self.steps.setdefault(name, CleaningStep(name))

    def __str__(self) -> str:
        rows = [f"{'step':<22}{'changed':>9}{'dropped':>9}{'characters':>12}  for example"]
        for step in self.steps.values():
            counts = f"{step.name:<22}{len(step.changed):>9,}{len(step.dropped):>9,}{-step.characters:>12,}"
            rows.append(counts + "".join(f"  {example}" for example in step.examples[:1]))
        documents = f"{self.documents_out:,} of {self.documents_in:,} documents"
        rows.append(f"kept {documents}, {self.characters_out:,} of {self.characters_in:,} characters")
        return "\n".join(rows)


def clean_corpus(
    documents: Sequence[str],
    form: Form = "NFC",
    boilerplate_share: float | None = 0.25,
    minimum_characters: int = 1,
    near_threshold: float | None = 0.8,
    seed: int = 0,
) -> tuple[list[str], CleaningReport]:
    """Clean every document, drop the empty ones and the copies (the first stays), and say what was done.

    None as `boilerplate_share` or `near_threshold` leaves that step out.
    Raises: ValueError when nothing remains.
    """
    report = CleaningReport(len(documents), sum(map(len, documents)))
    kept = dict(enumerate(documents))
    _take(cleaning_steps(form), kept, report)
    if boilerplate_share is not None:
        lines = boilerplate_lines(list(kept.values()), boilerplate_share)
        _take({"boilerplate": partial(strip_boilerplate, lines=lines)}, kept, report)
    too_short = report.step("too short")
    for index in [index for index, document in kept.items() if len(document) < max(minimum_characters, 1)]:
        too_short.drop(index, kept.pop(index))
    _drop_copies(kept, report.step("exact duplicates"), exact_duplicates(kept.values()))
    if near_threshold is not None:
        near = near_duplicates(list(kept.values()), near_threshold, seed=seed)
        _drop_copies(kept, report.step("near duplicates"), near)
    if not kept:
        raise ValueError(f"cleaning left none of the {len(documents)} documents; bring more text, or clean less")
    report.documents_out, report.characters_out = len(kept), sum(map(len, kept.values()))
    return list(kept.values()), report


def _take(steps: dict[str, Callable[[str], str]], kept: dict[int, str], report: CleaningReport) -> None:
    """Take the steps with every document, and record what they change."""
    records = {name: report.step(name) for name in steps}
    for index, document in kept.items():
        for name, before, after in _changes(document, steps):
            records[name].change(index, before, after)
            kept[index] = after


def _drop_copies(kept: dict[int, str], step: CleaningStep, first: list[int]) -> None:
    """`first`: for each document, which one of those kept it is a copy of (itself, when of none)."""
    place = list(kept)
    for here, original in enumerate(first):
        if original != here:
            step.drop(place[here], kept.pop(place[here]), f", as in document {place[original]}")
