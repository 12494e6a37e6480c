"""The plots: how each begins, which is where the choice of plot shows, and how it goes on."""

from collections.abc import Iterable

from minillm.tales.plots import common, friends, things
from minillm.tales.teller import Options, Teller
from minillm.tales.world import POOLS, World

PLOTS = {
    "lost": (things.LOST, things.lost),
    "gift": (things.GIFT, things.gift),
    "trade": (things.TRADE, things.trade),
    "borrow": (things.BORROW, things.borrow),
    "quarrel": (friends.QUARREL, friends.quarrel),
    "race": (friends.RACE, friends.race),
    "storm": (friends.STORM, friends.storm),
    "riddle": (friends.RIDDLE, friends.riddle),
    "promise": (friends.PROMISE, friends.promise),
}


def tell_tale(teller: Teller, plots: Iterable[str] = tuple(PLOTS), pools: dict[str, Options] = POOLS) -> World:
    """A whole tale of one of these plots, its words from these lists: who, what happened, how they felt, the end."""
    return tell_in(World(teller, pools), plots)


def tell_in(world: World, plots: Iterable[str] = tuple(PLOTS)) -> World:
    """The same in a world that has its teller."""
    common.opening(world)
    world.plot = world.tell(**{name: PLOTS[name][0] for name in plots})
    PLOTS[world.plot][1](world)
    common.feelings(world)
    common.closing(world)
    return world
