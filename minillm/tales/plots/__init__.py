"""The plots: how each begins, which is where the choice of plot shows, and how it goes on."""

from minillm.tales.plots import common, friends, things
from minillm.tales.world import World

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


def tell_tale(teller) -> World:
    """A whole tale: who, what happened, how they felt, how it ended."""
    world = World(teller)
    common.opening(world)
    world.plot = world.tell(**{name: start for name, (start, _) in PLOTS.items()})
    PLOTS[world.plot][1](world)
    common.feelings(world)
    common.closing(world)
    return world
