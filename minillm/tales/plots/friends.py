"""Plots about what friends do: they quarrel, race, sit out a storm, ask riddles, and make promises."""

from minillm.tales import words
from minillm.tales.plots.common import TIME, both_feel, other_of
from minillm.tales.teller import Options
from minillm.tales.world import World

QUARREL = (
    TIME + "{hero} and {friend} found {thing.a} near the {place.place}.",
    TIME + "{hero} and {friend} saw {thing.a} lying in front of the {place.place}.",
)


def quarrel(world: World) -> None:
    """Both want what they found; one runs off with it; and then?"""
    taker = world.tell(
        hero=(
            "Both of them wanted it, but {hero} took the {thing.noun} and ran home to the {hero.home}.",
            '"It is mine," said {hero}, and ran home to the {hero.home} with the {thing.noun}.',
        ),
        friend=(
            "Both of them wanted it, but {friend} took the {thing.noun} and ran away.",
            '"It is mine," said {friend}, and ran away with the {thing.noun}.',
        ),
    )
    world.cast("taker", world.role(taker))
    world.cast("loser", world.role(other_of(taker)))
    world.give("thing", "taker")
    if taker == "hero":
        world.go("taker", world.role("hero").home)
    world.mood(loser="sad", taker="glad")
    world.tell(
        "All that day {loser} sat alone under a tree.",
        "{loser} sat down on the grass and cried.",
    )
    end = world.tell(
        sorry=(
            (2, "Then {taker} came with some {food} and said that {taker.he} was sorry."),
            (2, "But {taker} could not sleep, so {taker.he} brought {loser} some {food}."),
        ),
        kept=(
            (1, "{taker} kept the {thing.noun} and did not come back."),
            (1, "{taker} hid the {thing.noun} {where.hiding}."),
        ),
    )
    world.outcome += [taker, end]
    (_kept if end == "kept" else _sorry)(world)


def _kept(world: World) -> None:
    alone = world.tell(
        fun="{loser} never saw the {thing.noun} again.",
        dull="But the {thing.noun} was no fun without {loser}.",
    )
    world.mood(taker="glad" if alone == "fun" else "sad")
    world.outcome.append(alone)


def _sorry(world: World) -> None:
    forgiven = world.tell(
        made_up=(
            (2, "They ate the {food.dish} and made up, and the {thing.noun} was for both of them."),
            (1, "{loser} smiled, and {taker} let {loser.him} keep the {thing.noun}."),
        ),
        cross=("But {loser} did not open the door, and {taker} ate the {food.dish} alone.",),
    )
    world.outcome.append(forgiven)
    mood = "glad" if forgiven == "made_up" else "sad"
    world.mood(taker=mood, loser=mood)


RACE = (
    TIME + "{hero} and {friend} ran a race from the old oak to the {place.place}.",
    TIME + "{hero} and {friend} had a race to the {place.place}.",
)


def race(world: World) -> None:
    """Who is ahead need not win, and who loses need not mind."""
    course = _course(world)
    if course == "help":
        world.tell(
            "So they came to the end side by side and shared the {thing.noun}.",
            "Nobody won, and the {thing.noun} was for both of them.",
        )
        both_feel(world, True)
        return
    world.cast("winner", world.role("leader" if course == "on" else "follower"))
    world.cast("loser", world.role("follower" if course == "on" else "leader"))
    world.give("thing", "winner")
    world.tell(
        "So {winner} won the race and got the {thing.noun}.",
        "Everybody cheered, and {winner} got the {thing.noun}.",
    )
    spirit = world.tell(
        good="{loser} clapped and laughed and asked for another race.",
        bad='"That was not fair," said {loser}.',
    )
    world.outcome.append(spirit)
    world.mood(winner="glad", loser="glad" if spirit == "good" else "sad")


def _course(world: World) -> str:
    """From the start almost to the end: the leader runs on, or rests, or needs help."""
    world.tell(
        "The prize was {thing.a}, and {neighbor} the {neighbor.kind} was the judge.",
        "{neighbor} the {neighbor.kind} was the judge, and the prize was {thing.a}.",
    )
    leader = world.tell(
        hero=("At first {hero} was far ahead of {friend}.", "{hero} was the first to pass the old oak."),
        friend=("At first {friend} was far ahead of {hero}.", "{friend} was the first to pass the old oak."),
    )
    world.cast("leader", world.role(leader))
    world.cast("follower", world.role(other_of(leader)))
    course = world.tell(
        on=(
            "{leader} never looked back and ran faster and faster.",
            "{leader} ran on and on and did not look back.",
        ),
        rest=(
            "But {leader} stopped to eat some {food}, and {follower} ran past.",
            "But {leader} lay down for a nap, and {follower} ran past.",
        ),
        help=("Then {leader} fell, and {follower} stopped to help {leader.him} up.",),
    )
    world.outcome += [leader, course]
    return course


STORM = (
    TIME + "a great storm came over the {hero.home}.",
    TIME + "dark clouds came up, and soon there was a storm.",
)


def storm(world: World) -> None:
    """A roof flies off: will the other one open the door?"""
    victim = world.tell(
        hero=("The wind blew the roof off {hero}'s house.", "The rain ran into {hero}'s house."),
        friend=("The wind blew the roof off {friend}'s house.", "The rain ran into {friend}'s house."),
    )
    world.cast("victim", world.role(victim))
    world.cast("helper", world.role(other_of(victim)))
    world.tell(
        "With nothing but {victim.his} {thing}, {victim.he} ran through the rain and called for {helper}.",
        "{victim.He} took {victim.his} {thing}, ran out and knocked at the door of {helper}.",
    )
    world.give("thing", "victim")
    door = world.tell(
        open=(
            (2, '"Come in," said {helper}, and gave {victim.him} some {food}.'),
            (2, '"Sit by the fire," said {helper}, and warmed some {food} for {victim.him}.'),
        ),
        shut=(
            (2, '"There is no room for two," said {helper}, and shut the door.'),
            (1, "But {helper} did not answer."),
        ),
    )
    world.outcome += [victim, door]
    (_let_in if door == "open" else _left_out)(world)


def _let_in(world: World) -> None:
    world.mood(victim="glad", helper="glad")
    thanks = world.tell(
        gave="{victim} gave {helper} the {thing.noun} to say thank you.",
        mended="The next day {helper} helped {victim} to mend the house.",
    )
    world.outcome.append(thanks)
    if thanks == "gave":
        world.give("thing", "helper")


def _left_out(world: World) -> None:
    world.mood(victim="sad", helper="glad")
    after = world.tell(
        sorry=(
            "The next day {helper} felt bad about it and helped to mend the house.",
            "But soon {helper} felt bad about it and ran after {victim} with some {food}.",
        ),
        never=(
            "So {victim} sat outside until morning and held {victim.his} {thing.noun}.",
            "{victim} slept under a tree and held {victim.his} {thing.noun}.",
        ),
    )
    world.outcome.append(after)
    if after == "sorry":
        world.mood(victim="glad", helper="glad")


RIDDLE = (
    TIME + "{hero} and {friend} sat near the {place.place} and asked each other riddles.",
    TIME + "{hero} met {friend} at the {place.place} and wanted to play a game of riddles.",
)


def riddle(world: World) -> None:
    """A thing can be won for the answer to a riddle, which one may know or not."""
    world.go("hero", world.role("place").place)
    world.go("friend", world.role("place").place)
    asker = world.tell(
        hero='"Answer this and you will get {thing.a}," said {hero}.',
        friend='"Answer this and you will get {thing.a}," said {friend}.',
    )
    world.cast("asker", world.role(asker))
    world.cast("guesser", world.role(other_of(asker)))
    world.give("thing", "asker")
    right = _guess(world)
    world.outcome += [asker, "right" if right else "wrong"]
    if right:
        world.give("thing", "guesser")
        spirit = world.tell(
            good=("{guesser} laughed and shared some {food} with {asker}.", "{guesser} laughed and hugged {asker}."),
            bad=("{guesser} laughed at {asker} and ran away.", "{guesser} laughed and did not thank {asker}."),
        )
        world.mood(guesser="glad", asker="glad" if spirit == "good" else "sad")
    else:
        spirit = world.tell(
            good=("{guesser} smiled and asked for one more riddle.", "{guesser} smiled and thought of a riddle too."),
            bad=("{guesser} did not want to play any more.", "{guesser} turned {guesser.his} back on {asker}."),
        )
        world.mood(asker="glad", guesser="glad" if spirit == "good" else "sad")
    world.outcome.append(spirit)


def _guess(world: World) -> bool:
    """The riddle, the guess, and whether it is right."""
    world.tell('"What {puzzle.riddle}?"')
    puzzle = world.role("puzzle")
    puzzle.attributes["answer"] = answer = words.RIDDLES[puzzle.riddle]
    wrong = len(words.WRONG_GUESSES)
    world.draws["puzzle", "guess"] = Options(  # right three times in five
        [(3 * wrong, answer, answer), *((2, guess, guess) for guess in words.WRONG_GUESSES)]
    )
    world.tell(
        '"Is it the {puzzle.guess}?" asked {guesser}.',
        '"I think that it is the {puzzle.guess}," said {guesser}.',
    )
    world.tell(
        right=(
            '"Yes, that is right," said {asker}, and gave {guesser} the {thing.noun}.',
            '"Well done," said {asker}, and gave {guesser} the {thing.noun}.',
        ),
        wrong=(
            '"No, it is the {puzzle.answer}," said {asker}, and {guesser} got nothing.',
            '"Wrong, it is the {puzzle.answer}," said {asker}, and {guesser} got nothing.',
        ),
        truth="right" if puzzle.guess == answer else "wrong",
        why=f"what {puzzle.riddle} is the {answer}, and the guess was the {puzzle.guess}",
    )
    return puzzle.guess == answer


PROMISE = (
    TIME + "{hero} promised to bring {friend} some {food} on {due.day}.",
    TIME + "{hero} told {friend} that on {due.day} there would be some {food} for {friend.him}.",
)


def promise(world: World) -> None:
    """Food for a day to come is promised, and the promise is kept, forgotten, or made good a day late."""
    world.fact(world.role("hero"), "promised for " + world.role("due").day, world.role("food"))
    world.tell(
        "Then {hero} found {thing.a} near the {place.place} and played with it all day.",
        "Soon {neighbor} the {neighbor.kind} gave {hero} {thing.a}, and {hero.he} played with it all day.",
    )
    world.give("thing", "hero")
    kept = world.tell(
        kept=(
            "But on {due.day} {hero} put the {thing.noun} away and brought the {food.dish} to {friend}.",
            "But when {due.day} came, {hero} thought of {friend} and made the {food.dish}.",
        ),
        forgot=(
            "So on {due.day} {hero} forgot all about the {food.dish}.",
            "So when {due.day} came, {friend} waited and waited, and nobody brought the {food.dish}.",
        ),
    )
    world.outcome.append(kept)
    if kept == "kept":
        both_feel(world, True)
        world.tell(
            "{friend} ate the {food.dish} and played with the {thing.noun} too.",
            "They shared the {food.dish}, and {hero} let {friend} hold the {thing.noun}.",
        )
        return
    late = world.tell(
        late="The next day {hero} came with the {food.dish} after all and gave {friend} the {thing.noun}.",
        excuse="The next day {hero} said that {hero.he} had never promised any {food.dish}.",
        never="The next day {friend} saw {hero} with the {thing.noun} and did not say hello.",
    )
    world.outcome.append(late)
    if late == "late":
        world.give("thing", "friend")
    both_feel(world, late == "late")
