"""The pre-training mix as data: what another language than Python needs to tell a tale, and to say how likely it is.

What happens in a tale depends on the labels of its sentences alone, and on a riddle and its answer. So a plot is run
once for every way its events can go, its sentences written down with their slots, and the tales become a graph: each
node is a sentence with its forms, [weight, form, next node] (-1: the tale is over), and slots are filled from `pools`.
`report/page/world.js` walks it.
Left out: the clinic, where a remedy follows from what slots were filled with.
"""

from functools import cache

from minillm.tales import words
from minillm.tales.documents import MIX
from minillm.tales.forms import COMPOUND, SLOT
from minillm.tales.patterns import GAME, LINES
from minillm.tales.plots import tell_in
from minillm.tales.relations import GROUPS, LABELS, RELATIONS
from minillm.tales.teller import Teller
from minillm.tales.world import POOLS, PRONOUNS, World

OUTRIGHT = ("riddle", "guess", "answer")  # of the puzzle: what follows depends on them, so forms have them in words


class _Recorder(World):
    """Tells nothing: writes down what each sentence could say, and takes the branches that `script` names."""

    def __init__(self, script: list[int]):
        super().__init__(Teller())
        self.script, self.log = script, []

    def tell(self, *forms, truth=None, why="", **labelled):
        branches: dict[tuple, list[list]] = {}  # (label, what was said outright): [weight, form] of each form
        for label, form, weight in _weighed(forms, labelled):
            if truth is None or label == truth:
                for share, written, said in self._outright(SLOT.sub(lambda s: COMPOUND.get(s[1], s[0]), form)):
                    branches.setdefault((label, said), []).append([weight * share, SLOT.sub(self._canonical, written)])
        if len(self.log) == len(self.script):
            self.script.append(0)
        label, said = list(branches)[self.script[len(self.log)]]
        self.log.append(branches)
        for _, form in branches[label, said]:
            for role, _, aspect in (slot.partition(".") for slot in SLOT.findall(form)):
                self.role(role).attributes.setdefault(aspect.removeprefix("a_"), "")
        if said:
            self.role("puzzle").attributes[said[0]] = said[1]
        return label

    def _outright(self, form: str) -> list[tuple]:
        """A form for each thing that its riddle, guess or answer can be: its share, the form, and (aspect, text)."""
        known = self.role("puzzle").attributes
        for aspect in OUTRIGHT:
            slot = "{puzzle." + aspect + "}"
            if slot in form and aspect in known:
                return [(1, form.replace(slot, known[aspect]), None)]
            if slot in form:
                options = self.draws.get(("puzzle", aspect), POOLS[aspect])
                return [(share, form.replace(slot, text), (aspect, text)) for share, text, _ in options.items()]
        return [(1, form, None)]

    def _canonical(self, slot) -> str:
        """A slot by the role that somebody has first, and the kind of feeling that it asks for."""
        role, _, aspect = slot[1].partition(".")
        someone = self.role(role)
        return "{" + (f"mood.{someone.mood}" if aspect == "feels" else f"{someone.role}.{aspect or 'name'}") + "}"


def _weighed(forms: tuple, labelled: dict) -> list[tuple[str, str, int]]:
    """(label, form, weight) of what is given to `World.tell`."""
    groups = [("", forms), *((name, (group,) if isinstance(group, str) else group) for name, group in labelled.items())]
    plain = ((name, form) for name, group in groups for form in group)
    return [(name, form, 1) if isinstance(form, str) else (name, form[1], form[0]) for name, form in plain]


@cache
def grammar() -> dict:
    """All of it, as JSON can hold it."""
    nodes: list[list] = []
    root = _explore(_told([]), 0, nodes, {})
    pools = {name: list(o.values) for name, o in POOLS.items() if not name.split(".")[-1].startswith("a_")}
    return {
        "root": root,
        "nodes": nodes,
        "pools": {**pools, "mood.glad": words.GLAD, "mood.sad": words.SAD},
        "pronouns": PRONOUNS,
        "she": sorted(words.SHE),
        "mix": MIX,
        "relations": RELATIONS,
        "groups": GROUPS,
        "labels": list(LABELS),
        "game": float(GAME),
        "lines": [LINES[0], LINES[-1]],
    }


def _told(script: list[int]) -> _Recorder:
    world = _Recorder(script)
    tell_in(world)
    return world


def _explore(world: _Recorder, depth: int, nodes: list[list], numbers: dict[str, int]) -> int:
    """The number of the node of sentence `depth` of the tales that begin as this one; -1 behind the last."""
    if depth == len(world.log):
        return -1
    node = []
    for choice, forms in enumerate(world.log[depth].values()):
        other = _told([*world.script[:depth], choice]) if choice else world  # which took the first branches
        after = _explore(other, depth + 1, nodes, numbers)
        node += [[weight, form, after] for weight, form in forms]
    number = numbers.setdefault(repr(node), len(nodes))
    if number == len(nodes):
        nodes.append(node)
    return number
