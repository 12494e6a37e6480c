"""The words of the tales: lists in which no entry begins another, so that each can be told apart as it is read."""

WOMEN = (
    "Alice Anna Clara Daisy Ella Emma Flora Grace Julia Kate Lily Lucy Maya Mira Nora Rosa Ruby Sophie Wendy Zoe"
).split()
MEN = (
    "Arthur Ben Carl David Edgar Felix Finn George Hugo Ivan Jack Leo Louis Max Oscar Otto Peter Sam Tom Walter"
).split()
PEOPLE = WOMEN + MEN
SHE_ANIMALS = "Bluebell Clover Dimple Ginger Holly Ivy Maple Nutmeg Pebble Primrose Tansy Willow".split()
HE_ANIMALS = "Acorn Biscuit Bramble Chestnut Fern Jumper Moss Pepper Rusty Scamp Thistle Whiskers".split()
PETS = SHE_ANIMALS + HE_ANIMALS
NEIGHBORS = [f"Mr {name}" for name in "Bell Cobb Drake Marsh Reed Swift".split()]
NEIGHBORS += [f"Mrs {name}" for name in "Birch Dunn Frost Hill Lamb Wood".split()]
NAMES = PEOPLE + PETS + NEIGHBORS
SHE = frozenset(WOMEN + SHE_ANIMALS)  # who "she" is; "Mrs" says it too

ANIMALS = (
    "badger bear beaver cat crow deer dog donkey duck fox frog goat goose hare hedgehog mole mouse otter owl pony "
    "rabbit raccoon robin sheep squirrel swan toad turtle wolf"
).split()
TRADES = (
    "baker beekeeper blacksmith carpenter cobbler cook farmer fisher gardener juggler librarian miller painter potter "
    "sailor shepherd singer tailor teacher weaver writer"
).split()
ANIMALS_AND_TRADES = ANIMALS + TRADES

TRAITS = (
    "bold brave bright busy calm careful clever clumsy curious dreamy forgetful friendly funny gentle honest humble "
    "kind lively modest noisy patient playful polite quiet shy sleepy stubborn tall thoughtful tidy tiny wise young"
).split()

HOMES = ("attic barn burrow cabin castle cave cottage hut inn lighthouse mill palace shed stable tent tower").split()
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
    "ball basket bell blanket bowl box bucket candle chair clock cup drum flag flute kite ladder lamp map mirror "
    "pillow puppet rope spoon teapot whistle"
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

CLOTHES = "belt cap coat crown hat mask ribbon ring scarf shawl".split()

INGREDIENTS = (
    "almond apple berry carrot cheese cherry cinnamon ginger honey lemon mushroom onion peach pear plum pumpkin"
).split()
DISHES = ("bread buns cake cookies jam muffins pancakes pie pudding soup stew tart").split()

HIDING = (
    "behind the barrel;behind the curtain;behind the stove;beside the fence;in a drawer;in the cupboard;in the hay;"
    "in the long grass;in the mud;inside a boot;inside a hollow log;on the roof;under the bench;under the stairs"
).split(";")

GLAD = "cheerful content delighted glad grateful happy joyful merry pleased proud thankful".split()
SAD = "disappointed gloomy glum lonely miserable sad sorry troubled unhappy upset".split()

RIDDLES = {
    "has hands but cannot clap": "clock",
    "has a bed but never sleeps": "river",
    "has leaves but is no tree": "book",
    "has a tail and flies on a string": "kite",
    "follows you and makes no sound": "shadow",
    "grows shorter as it burns": "candle",
}
WRONG_GUESSES = "broom cloud egg moon spider wheel".split()


def article(word: str) -> str:
    """The word behind its indefinite article.

    >>> article("otter"), article("fox")
    ('an otter', 'a fox')
    """
    return f"{'an' if word[0] in 'aeiou' or word == 'honest' else 'a'} {word}"
