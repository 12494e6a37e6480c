"""Sentence forms: several ways to say a thing, folded into a tree, so that the choice shows where they part.

A form is a sentence with slots: "{hero} lost {hero.his} {thing}." The forms of one sentence share what they begin with;
the weight of a branch is the sum of the weights of the forms behind it, so choosing word by word along the tree draws
each form with exactly its own probability. What a slot says is the world's business.
Left out: forms that one sentence of which begins another (there would be no telling which it was).
"""

import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cache, lru_cache
from typing import Any, NamedTuple

from minillm.tales.teller import Detour, Options, Teller

COMPOUND = {  # what a slot without an aspect, or with one that has two parts, stands for
    "thing": "{thing.adjective} {thing.noun}",
    "thing.a": "{thing.a_adjective} {thing.noun}",
    "other": "{other.adjective} {other.noun}",
    "other.a": "{other.a_adjective} {other.noun}",
    "food": "{food.ingredient} {food.dish}",
}
SLOT = re.compile(r"\{([^}]+)\}")
SlotName = tuple[str, str]  # role and aspect: ("hero", "his")


class Blank(NamedTuple):
    """What a slot can say: its options, the false ones (None at a first mention), why, and what follows from it."""

    options: Options
    wrong: Options | None
    why: Callable[[str], str] | None
    commit: Callable[[Any], None]


@dataclass(eq=False)  # so that it is hashed by identity
class Branch:
    """One edge of the tree: the fixed text or slot on it, the weight behind it by label, and what follows."""

    say: str | SlotName
    weights: dict[str, int] = field(default_factory=dict)
    next: tuple["Branch", ...] | str = ""  # more branches, or at a leaf the label of the form

    def weight(self, truth: str | None) -> int:
        """The weight of the forms behind this branch that are true: all of them, or those labelled `truth`."""
        return sum(self.weights.values()) if truth is None else self.weights.get(truth, 0)


def form_pieces(form: str) -> tuple[str | SlotName, ...]:
    """A form in pieces: words with the space behind them, and slots.

    >>> form_pieces("Then {hero} ate.")
    ('Then ', ('hero', 'name'), ' ', 'ate.')
    """
    form = SLOT.sub(lambda slot: COMPOUND.get(slot[1], slot[0]), form)
    pieces: list[str | SlotName] = []
    glued = False
    for i, piece in enumerate(SLOT.split(form)):
        if i % 2:
            role, _, aspect = piece.partition(".")
            pieces.append((role, aspect or "name"))
            glued = aspect in ("He", "His")  # these say the space behind them too
        else:
            pieces += re.findall(r"[^ ]* |[^ ]+$", piece[glued:])
            glued = False
    return tuple(pieces)


def tree(forms: Iterable[tuple[str, str, int]]) -> tuple[Branch, ...]:
    """The branches of several (label, form, weight)."""
    return _grow([(form_pieces(form), label, weight) for label, form, weight in forms])


def _grow(forms: list[tuple[tuple, str, int]]) -> tuple[Branch, ...]:
    groups: dict[str | SlotName, list] = {}
    for pieces, label, weight in forms:
        assert pieces, f"a form labelled {label!r} begins another"
        groups.setdefault(pieces[0], []).append((pieces[1:], label, weight))
    branches = []
    for say, group in groups.items():
        branch = Branch(say)
        for _, label, weight in group:
            branch.weights[label] = branch.weights.get(label, 0) + weight
        if all(not rest for rest, _, _ in group):
            assert len(group) == 1, f"two forms are the same up to {say!r}"
            branch.next = group[0][1]
        else:
            branch.next = _grow(group)
            if isinstance(say, str) and len(branch.next) == 1 and isinstance(branch.next[0].say, str):
                only = branch.next[0]  # a run of words with no fork between them is one text
                branch.say, branch.next = say + only.say, only.next
        branches.append(branch)
    return tuple(branches)


def walk(
    teller: Teller, branches: tuple[Branch, ...], slot_of: Callable[[str, str], Blank], truth: str | None, why: str
) -> str:
    """Tell one form of a tree and return its label.

    With `truth`, only forms of that label are true; a judge may take another, after which all that it leads to will do.
    """
    while True:
        false = False
        if len(branches) > 1:
            branch, false = _fork(teller, branches, slot_of, truth, why)
        elif isinstance((branch := branches[0]).say, str):
            teller.say(branch.say)
        else:
            options, wrong, false_because, commit = slot_of(*branch.say)
            commit(teller.choose(options, wrong, false_because))
        if isinstance(branch.next, str):
            return branch.next
        branches, truth = branch.next, None if false else truth


def _fork(teller, branches, slot_of, truth, why) -> tuple[Branch, bool]:
    """Take one branch of several. Returns it, and whether it is a false one."""
    own, fixed = _slots_or_texts(branches, truth)
    if fixed is not None:
        return teller.choose(*fixed, lambda found: why or f"{found!r} does not follow")
    slots = {branch: slot_of(*branch.say) for branch in own}
    right, all_true = _right(branches, truth, tuple(slot.options for slot in slots.values()))
    wrong = None
    if not all_true or any(slot.wrong for slot in slots.values()):
        wrong = lambda: _wrong(branches, slots, truth, right)  # noqa: E731
    branch, value, false = teller.choose(right, wrong, lambda found: _reason(slots, wrong(), found, why))
    if branch in slots:
        slots[branch].commit(value)
    return branch, false


@cache
def _slots_or_texts(
    branches: tuple[Branch, ...], truth: str | None
) -> tuple[tuple[Branch, ...], tuple[Options, Options | None] | None]:
    """The branches that are slots; where none is, the true and the false texts."""
    slots = tuple(branch for branch in branches if not isinstance(branch.say, str))
    if slots:
        return slots, None
    right = [(branch.weight(truth), branch.say, (branch, False)) for branch in branches if branch.weight(truth)]
    wrong = [(1, branch.say, Detour((branch, True))) for branch in branches if not branch.weight(truth)]
    return (), (Options(right), Options(wrong) if wrong else None)


@lru_cache(maxsize=4096)
def _right(
    branches: tuple[Branch, ...], truth: str | None, options_of_slots: tuple[Options, ...]
) -> tuple[Options, bool]:
    """All that is true where a sentence parts, and whether every branch is.

    Each branch has its weight, and a slot's share is spread over its options.
    """
    slots = iter(options_of_slots)
    scale = math.lcm(*(options.total for options in options_of_slots))
    items, all_true = [], True
    for branch in branches:
        options = None if isinstance(branch.say, str) else next(slots)
        weight = branch.weight(truth) * scale
        if not weight:
            all_true = False
        elif options is None:
            items.append((weight, branch.say, (branch, None, False)))
        else:
            share_of_one = weight // options.total
            items += [(share_of_one * share, text, (branch, value, False)) for share, text, value in options.items()]
    return Options(items), all_true


def _wrong(branches: tuple[Branch, ...], slots: dict[Branch, Blank], truth: str | None, right: Options) -> Options:
    """All that is grammatical but false where a sentence parts: false forms, and slots falsely filled."""
    wrong: dict[str, Detour] = {}
    for branch in branches:
        if not branch.weight(truth):
            options = slots[branch].options.items() if branch in slots else [(1, branch.say, None)]
            for _, text, value in options:
                wrong.setdefault(text, Detour((branch, value, True)))
    for branch, slot in slots.items():
        for text in slot.wrong.texts if slot.wrong else ():
            wrong.setdefault(text, Detour((branch, slot.options.values[0], not branch.weight(truth))))
    return Options((1, text, detour) for text, detour in wrong.items() if text not in right.texts)


def _reason(slots: dict[Branch, Blank], wrong: Options, found: str, why: str) -> str:
    """What is false about a text where a sentence parts: the whole form, or what fills its first slot."""
    branch, _, false = wrong.values[wrong.texts.index(found)].value
    return slots[branch].why(found) if not false else why or f"{found!r} does not follow"
