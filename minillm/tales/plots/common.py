"""What all plots share: who they are about, how the two friends feel in the end, and the last sentence."""

from minillm.tales.world import World

TIME = "One {when.weather} {when.time} "  # every plot begins so


def opening(world: World) -> None:
    """The hero and the friend: two sentences."""
    world.tell(
        "Not long ago there lived {hero.a_trait} {hero.kind} called {hero} in {hero.a_home}.",
        "Once there was {hero.a_trait} {hero.kind} called {hero}, who lived in {hero.a_home}.",
        "In {hero.a_home} lived {hero.a_trait} {hero.kind} called {hero}.",
        "Long ago {hero.a_trait} {hero.kind} called {hero} lived in {hero.a_home}.",
    )
    world.tell(
        "{hero.His} best friend was {friend}, {friend.a_trait} {friend.kind} from the {friend.spot}.",
        "{hero.He} had a friend called {friend}, {friend.a_trait} {friend.kind} from the {friend.spot}.",
        "{hero.His} friend {friend} was {friend.a_trait} {friend.kind} from the {friend.spot}.",
        "By the {friend.spot} lived {hero.his} friend {friend}, {friend.a_trait} {friend.kind}.",
    )


def feelings(world: World) -> None:
    """How both feel: one sentence, "and" when they feel alike, "but" when they do not."""
    hero, friend = world.role("hero"), world.role("friend")
    alike = hero.mood == friend.mood
    world.tell(
        alike=(
            "{hero} felt {hero.feels}, and {friend} felt {friend.feels} too.",
            "In the end {hero} was {hero.feels}, and {friend} was {friend.feels} too.",
        ),
        unlike=(
            "{hero} felt {hero.feels}, but {friend} felt {friend.feels}.",
            "In the end {hero} was {hero.feels}, but {friend} was {friend.feels}.",
        ),
        truth="alike" if alike else "unlike",
        why=f"{hero} and {friend} {'feel the same' if alike else 'do not feel the same'}",
    )


def closing(world: World) -> None:
    """The last sentence, which goes with how the hero feels."""
    hero = world.role("hero")
    world.tell(
        glad=(
            "That night {hero} slept well in the {hero.home}.",
            "Then {hero} sang all the way home to the {hero.home}.",
            "{hero} went back to the {hero.home} with a smile.",
        ),
        sad=(
            "That night {hero} lay awake in the {hero.home}.",
            "Then {hero} sighed all the way home to the {hero.home}.",
            "{hero} went back to the {hero.home} without a word.",
        ),
        truth=hero.mood,
        why=f"{hero} is {hero.mood} in the end",
    )
    world.go("hero", hero.home)


def both_feel(world: World, well: bool) -> None:
    """Hero and friend are both glad from now on, or both sad."""
    mood = "glad" if well else "sad"
    world.mood(hero=mood, friend=mood)


def other_of(role: str) -> str:
    """The friend for the hero, the hero for the friend."""
    return "friend" if role == "hero" else "hero"
