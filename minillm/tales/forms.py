"""Sentence forms: several ways to say a thing, folded into a tree, so that the choice shows where they part.

A form is a sentence with slots: "{hero} lost {hero.his} {thing}." The forms of one sentence share what they begin with;
the weight of a branch is the sum of the weights of the forms behind it, so choosing word by word along the tree draws
each form with exactly its own probability. A slot is (role, aspect); what it says is the world's business.
Left out: forms that one sentence of which begins another (there would be no telling which it was).
"""

import re
from dataclasses import dataclass, field
from functools import cache

COMPOUND = {  # what a slot without an aspect, or with one that has two parts, stands for
    "thing": "{thing.adjective} {thing.noun}",
    "thing.a": "{thing.a_adjective} {thing.noun}",
    "other": "{other.adjective} {other.noun}",
    "other.a": "{other.a_adjective} {other.noun}",
    "food": "{food.ingredient} {food.dish}",
}
SLOT = re.compile(r"\{([^}]+)\}")
Slot = tuple[str, str]


@dataclass
class Branch:
    """One edge of the tree: the fixed text or slot on it, the weight behind it by label, and what follows."""

    say: str | Slot
    weights: dict[str, int] = field(default_factory=dict)
    next: list["Branch"] | str = ""  # more branches, or at a leaf the label of the form

    def weight(self, truth: str | None) -> int:
        """The weight of the forms behind this branch that are true: all of them, or those labelled `truth`."""
        return sum(self.weights.values()) if truth is None else self.weights.get(truth, 0)


def tokens(form: str) -> tuple[str | Slot, ...]:
    """A form in pieces: words with the space behind them, and slots.

    >>> tokens("Then {hero} ate.")
    ('Then ', ('hero', 'name'), ' ', 'ate.')
    """
    form = SLOT.sub(lambda slot: COMPOUND.get(slot[1], slot[0]), form)
    pieces: list[str | Slot] = []
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


@cache
def tree(forms: tuple[tuple[str, str, int], ...]) -> list[Branch]:
    """The branches of several (label, form, weight)."""
    return _grow([(tokens(form), label, weight) for label, form, weight in forms])


def _grow(forms: list[tuple[tuple, str, int]]) -> list[Branch]:
    groups: dict[str | Slot, list] = {}
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
    return branches
