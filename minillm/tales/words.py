"""The words of the tales: lists in which no entry begins another, so that each can be told apart as it is read."""

SHE = (
    "Alice Anna Clara Daisy Ella Emma Flora Grace Hazel Ivy Julia Kate Lily Lucy Maya Mira Nora Penny Rosa Ruby Sophie "
    "Tessa Wendy Zoe"
).split()
HE = (
    "Arthur Ben Bruno Carl David Edgar Felix Finn George Hugo Ivan Jack Jasper Leo Louis Max Oscar Otto Peter Ralph "
    "Sam Tom Victor Walter"
).split()
NAMES = SHE + HE

ANIMALS = (
    "badger bear beaver cat crow deer dog donkey duck fox frog goat goose hare hedgehog mole mouse otter owl pony "
    "rabbit raccoon robin sheep squirrel swan toad turtle wolf"
).split()
TRADES = (
    "baker beekeeper blacksmith carpenter cobbler cook farmer fisher gardener juggler librarian miller painter potter "
    "sailor shepherd singer tailor teacher weaver writer"
).split()
KINDS = ANIMALS + TRADES

TRAITS = (
    "bold brave bright busy calm careful clever clumsy curious dreamy forgetful friendly funny gentle honest humble "
    "kind lively modest noisy patient playful polite quiet shy sleepy stubborn tall thoughtful tidy tiny wise young"
).split()

HOMES = (
    "attic barn bakery burrow cabin castle cave cottage farmhouse greenhouse hut inn lighthouse mill palace shed "
    "stable tent tower treehouse workshop"
).split()
SPOTS = (
    "beach bridge brook canal cliff crossroads field forest harbor hill lake marsh meadow orchard park pond railway "
    "river road school sea square village waterfall well"
).split()
PLACES = (
    "bookshop chapel courtyard fountain garden gate library market museum playground church "
    "riverbank schoolyard stadium station temple theater fair vineyard windmill"
).split()

ADJECTIVES = (
    "black blue brown fine golden gray green handmade huge little lovely new old orange painted pink plain pretty "
    "purple red round shiny silver simple small spotted strange striped white wonderful yellow"
).split()
NOUNS = (
    "ball basket bell blanket bowl box brush bucket button candle chair clock coat cup cushion drum fan flag flute hat "
    "jar kite ladder lamp lantern map mask mirror mug pillow plate pot puppet ribbon ring rope sack scarf shawl shell "
    "spoon stool sword teapot toy trumpet umbrella vase violin whistle"
).split()

WEATHERS = [  # each fits its season
    f"{weather} {season}"
    for season, weathers in {
        "spring": "breezy fresh mild rainy sunny",
        "summer": "bright clear dry hot warm",
        "autumn": "cloudy cool foggy misty windy",
        "winter": "chilly cold frosty icy snowy",
    }.items()
    for weather in weathers.split()
]
TIMES = "afternoon day evening morning".split()
DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()

INGREDIENTS = (
    "almond apple berry carrot cheese cherry chestnut cinnamon ginger honey lemon mushroom onion peach pear plum "
    "potato pumpkin walnut"
).split()
DISHES = "bread buns cake cookies dumplings jam muffins pancakes pie pudding soup stew tart waffles".split()

HIDING = (
    "behind the barrel;behind the curtain;behind the stove;beside the fence;in a drawer;in the cupboard;in the hay;"
    "in the long grass;in the mud;inside a boot;inside a hollow log;on the roof;under the bench;under the stairs"
).split(";")

GLAD = "cheerful content delighted glad grateful happy joyful merry pleased proud thankful".split()
SAD = "disappointed gloomy glum lonely miserable sad sorry troubled unhappy upset".split()

RIDDLES = {
    "has hands but cannot clap": "clock",
    "has teeth but never bites": "comb",
    "has a bed but never sleeps": "river",
    "has one eye but cannot see": "needle",
    "has legs but cannot walk": "table",
    "has leaves but is no tree": "book",
    "has a tongue but cannot talk": "shoe",
    "has ears but cannot hear": "corn",
    "has a neck but no head": "bottle",
    "has keys but opens no door": "piano",
    "has a tail and flies on a string": "kite",
    "falls all day and is never hurt": "rain",
    "follows you and makes no sound": "shadow",
    "grows shorter as it burns": "candle",
    "gets wetter as it dries": "towel",
    "is full of holes and holds water": "sponge",
    "eats wood and is always hungry": "fire",
    "shows your face but has none": "mirror",
    "wears a cap but has no hair": "mushroom",
    "whistles in the trees without a mouth": "wind",
}


def article(word: str) -> str:
    """The word behind its indefinite article.

    >>> article("otter"), article("fox")
    ('an otter', 'a fox')
    """
    return f"{'an' if word[0] in 'aeiou' or word == 'honest' else 'a'} {word}"
