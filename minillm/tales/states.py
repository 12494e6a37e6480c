"""The state of the world at every place of a tale: who has each thing, who is where, who feels how.

Labels for whoever asks whether a model keeps track of them (a probe). A sentence changes the state when it is over: up
to the last character of a sentence the state is that after the one before. Everyone and everything is called by the
role in the plot ("hero", "friend", "thing"), so that one class means the same in all tales.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from minillm.tales.documents import Tale
from minillm.tales.world import Referent

NOBODY = "nobody"  # has a thing that was lost or spoiled


@dataclass(frozen=True)
class State:
    """What holds from character `start` of a tale on.

    `has`: by thing, the role of who has it, or NOBODY once it is gone; nothing of a thing that nobody had yet. `at`: by
    role, the place; `feels`: by role, "glad" or "sad", both from the first sentence that says or implies it.
    """

    start: int
    has: dict[str, str]
    at: dict[str, str]
    feels: dict[str, str]


def states(tale: Tale) -> list[State]:
    """The state at the beginning, and after each sentence.

    >>> tale = tell(random.Random(3), ["trade"], {"hero.name": "Mira", "friend.name": "Moss"})
    >>> [state.has for state in states(tale)][3:6]
    [{'thing': 'hero', 'other': 'friend'}, {'thing': 'hero', 'other': 'friend'}, {'thing': 'friend', 'other': 'hero'}]
    """
    role_of: dict[str, str] = {}
    for role, attributes in tale.roles.items():
        role_of.setdefault(str(Referent(role, **attributes)), role)
    has, at, feels = {}, {}, {}
    found = [State(0, {}, {}, {})]
    for number, (_, end) in enumerate(tale.sentences):
        for subject, relation, object, since in tale.facts:
            who = role_of.get(subject, subject)
            if since != number:
                continue
            if relation == "has":
                has[role_of[object]] = who
            elif relation == "no longer has":
                has[role_of[object]] = NOBODY
            elif relation == "is at":
                at[who] = object
            elif relation == "mood":
                feels[who] = object
        found.append(State(end, dict(has), dict(at), dict(feels)))
    return found


def states_at(tale: Tale, ends: Sequence[int]) -> list[State]:
    """The state at each token of a tale. ends: the characters at which the tokens end (exclusive), ascending or not."""
    all_states = states(tale)
    return [max((s for s in all_states if s.start <= end), key=lambda s: s.start) for end in ends]
