"""Plots about things: one is lost, given, traded, or borrowed."""

from minillm.tales.plots.common import TIME, both_feel, other_of
from minillm.tales.world import World

LOST = (
    TIME + "{hero} could not find {hero.his} {thing}.",
    TIME + "{hero} lost {hero.his} {thing} on the way to the {place.place}.",
)


def lost(world: World) -> None:
    """The hero's thing is gone; friends search; it is found, or somebody else has it, or it stays away."""
    world.give("thing", "hero")
    world.lose("thing")
    world.mood(hero="sad")
    world.tell(
        "{hero.He} looked all over the {hero.home} and then asked {friend} for help.",
        "{hero.He} ran to {friend} and asked for help.",
    )
    found = world.tell(
        hero=((3, "At last {hero} found the {thing.noun} {where.hiding}."),),
        friend=((3, "At last {friend} found the {thing.noun} {where.hiding}."),),
        neighbor=((3, "Then they met {neighbor} the {neighbor.kind}, who was carrying the {thing.noun}."),),
        nobody=((3, "They looked until dark, but the {thing.noun} was gone."),),
    )
    world.outcome.append(found)
    if found == "nobody":
        comfort(world)
        return
    world.give("thing", found)
    if found == "neighbor":
        kind = world.tell(
            back='"Is this {thing.noun} yours?" asked {neighbor}, and gave it back to {hero}.',
            kept='"This {thing.noun} is mine now," said {neighbor}, and would not give it back to {hero}.',
        )
        world.outcome.append(kind)
        if kind == "kept":
            comfort(world)
            return
    elif found == "friend":
        world.tell(
            '"Here is your {thing.noun}," said {friend}, and gave it back to {hero}.',
            "{friend} cleaned the {thing.noun} and gave it back to {hero}.",
        )
    world.give("thing", "hero")
    both_feel(world, True)
    world.tell(
        "{hero} thanked {friend} with some {food}.",
        "{hero} held the {thing.noun} tight and gave {friend} some {food}.",
    )


def comfort(world: World) -> None:
    """The hero's thing will not come back: the friend has something else, or nothing, to give."""
    comforted = world.tell(
        gift="So {friend} gave {hero} {other.a} to keep instead.",
        nothing="{friend} had nothing to give, and {hero} missed the {thing.noun}.",
    )
    world.outcome.append(comforted)
    if comforted == "gift":
        world.give("other", "hero")
    both_feel(world, comforted == "gift")


GIFT = (
    TIME + "{hero} made {thing.a} for {friend}, whose birthday was on {due.day}.",
    TIME + "{hero} bought {thing.a} for {friend}, whose birthday was on {due.day}.",
)


def gift(world: World) -> None:
    """The hero has a birthday present for the friend: welcome, spoiled on the way, or one too many."""
    world.give("thing", "hero")
    world.fact(world.role("friend"), "has a birthday on", world.role("due").day)
    world.tell(
        "On {due.day} {hero.he} carried the {thing.noun} to {friend}.",
        "When {due.day} came, {hero.he} took the {thing.noun} to {friend}.",
    )
    end = world.tell(
        loved=(
            (2, '"This {thing.noun} is just what I wanted!" cried {friend}.'),
            (2, "{friend} opened the box, saw the {thing.noun} and danced for joy."),
        ),
        spoiled=((4, "But {hero.he} slipped near the {place.place}, and the {thing.noun} was spoiled."),),
        double=((3, '"But I already have {thing.a_noun} from {neighbor}," said {friend}.'),),
    )
    world.outcome.append(end)
    if end == "loved":
        world.give("thing", "friend")
        both_feel(world, True)
        world.tell("{friend} thanked {hero} with some {food}.", "{friend} shared some {food} with {hero}.")
    else:
        (_spoiled if end == "spoiled" else _one_too_many)(world)


def _spoiled(world: World) -> None:
    world.lose("thing")
    reply = world.tell(
        kind=(
            '"A friend is better than any {thing.noun}," said {friend}, and hugged {hero.him}.',
            '"You are here, and that is enough," said {friend}, and gave {hero.him} some {food}.',
        ),
        cross=(
            '"Now I have no present at all," said {friend}, and shut the door.',
            '"You should have been careful," said {friend}, and turned away.',
        ),
    )
    world.outcome.append(reply)
    both_feel(world, reply == "kind")


def _one_too_many(world: World) -> None:
    reply = world.tell(
        passed_on="So {hero} gave the {thing.noun} to {stranger.a_kind}, and {friend} shared some {food}.",
        kept="So {hero} carried the {thing.noun} back to the {hero.home}, and {friend} ate some {food} alone.",
    )
    world.outcome.append(reply)
    if reply == "passed_on":
        world.give("thing", "stranger")
    both_feel(world, reply == "passed_on")


TRADE = (
    TIME + "{hero} took {hero.his} {thing} to the {place.place}, and {friend} came with {other.a}.",
    TIME + "{hero} went to the {place.place} with {hero.his} {thing} and met {friend}, who had {other.a}.",
)


def trade(world: World) -> None:
    """Hero and friend may change a thing for another; one of them may come to miss what was theirs."""
    world.give("thing", "hero")
    world.give("other", "friend")
    world.go("hero", world.role("place").place)
    world.go("friend", world.role("place").place)
    world.tell(
        '{hero} asked, "Will you trade your {other.noun} for my {thing.noun}?"',
        '{hero} said, "I like your {other.noun} better than my {thing.noun}."',
        '{friend} asked, "Shall we trade?"',
        '{friend} said, "We should trade."',
    )
    answer = world.tell(
        yes=(
            (2, "They traded, so now {hero} had the {other.noun} and {friend} had the {thing.noun}."),
            (1, "So {hero} got the {other.noun}, and {friend} got the {thing.noun}."),
        ),
        no=("But they could not agree, and nobody traded anything.",),
    )
    world.outcome.append(answer)
    (_traded if answer == "yes" else _not_traded)(world)


def _not_traded(world: World) -> None:
    end = world.tell(
        share="At last they shared the {thing.noun} and the {other.noun} and played until dark.",
        apart="So {hero} kept the {thing.noun}, {friend} kept the {other.noun}, and they played alone.",
    )
    both_feel(world, end == "share")
    world.outcome.append(end)


def _traded(world: World) -> None:
    world.give("thing", "friend")
    world.give("other", "hero")
    both_feel(world, True)
    end = world.tell(
        fair="Each of them liked the new thing better than the old one.",
        hero="But soon {hero} missed the {thing.noun} and asked {friend} to trade back.",
        friend="But soon {friend} missed the {other.noun} and asked {hero} to trade back.",
    )
    world.outcome.append(end)
    if end == "fair":
        return
    world.cast("sorry", world.role(end))
    world.cast("keeper", world.role(other_of(end)))
    missed = "{thing.noun}" if end == "hero" else "{other.noun}"
    back = world.tell(
        back=f'"Of course," said {{keeper}}, and gave the {missed} back.',
        kept="But {keeper} said no, and {sorry} cried.",
    )
    world.outcome.append(back)
    if back == "back":
        world.give("thing", "hero")
        world.give("other", "friend")
    else:
        world.mood(**{end: "sad"})


BORROW = (
    TIME + "{hero} asked {friend} for {friend.his} {thing}.",
    TIME + "{hero} went to {friend} to borrow {friend.his} {thing}.",
)


def borrow(world: World) -> None:
    """The hero borrows the friend's thing and brings it back, or spoils it, or is too late."""
    world.give("thing", "friend")
    world.tell(
        '"Please bring it back on {due.day}," said {friend}, and gave {hero} the {thing.noun}.',
        '"You may have it until {due.day}," said {friend}, and brought the {thing.noun}.',
    )
    world.give("thing", "hero")
    end = world.tell(
        back=(
            "On {due.day} {hero} brought the {thing.noun} back to {friend} with some {food}.",
            "On {due.day} {hero} came to {friend} with the {thing.noun} and some {food}.",
        ),
        broken="But {hero.he} tripped at the {place.place}, and the {thing.noun} was spoiled.",
        late="But when {due.day} came, {hero} forgot to bring the {thing.noun} back to {friend}.",
    )
    world.outcome.append(end)
    if end == "back":
        world.give("thing", "friend")
        both_feel(world, True)
        world.tell(
            '"I knew that I could trust you," said {friend}, and put the {thing.noun} away.',
            '"You may have the {thing.noun} again," said {friend}, and tasted the {food.dish}.',
        )
    else:
        _not_brought_back(world, end)


def _not_brought_back(world: World, end: str) -> None:
    if end == "broken":
        world.lose("thing")
    repaired = world.tell(
        made_good=(
            "{hero.He} told {friend} the truth and gave {friend.him} {other.a} to make up for it.",
            "{hero.He} said sorry and gave {friend} {other.a}.",
        ),
        hidden=(
            "{hero.He} hid in the {hero.home} and did not tell {friend} the truth.",
            '"I never had your {thing.noun}," {hero} told {friend}.',
        ),
    )
    world.outcome.append(repaired)
    if repaired == "made_good":
        world.give("other", "friend")
        if end == "late":
            world.give("thing", "friend")
    both_feel(world, repaired == "made_good")
