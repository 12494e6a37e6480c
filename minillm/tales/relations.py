"""The word pairs of the in-context patterns, the groups of the game, and its labels."""


def _pairs(text: str) -> dict[str, str]:
    return dict(pair.split("/") for pair in text.split())


RELATIONS = {
    "kind": _pairs(
        "fox/animal owl/animal bear/animal rose/plant oak/plant daisy/plant soup/food bread/food cake/food pie/food "
        "hammer/tool brush/tool needle/tool spoon/tool coat/garment hat/garment scarf/garment shawl/garment red/color "
        "blue/color green/color flute/instrument drum/instrument violin/instrument"
    ),
    "home": _pairs(
        "fox/den owl/tree bear/cave bee/hive bird/nest cow/barn dog/kennel fish/water horse/stable king/castle "
        "mole/burrow monk/abbey pig/sty sailor/ship spider/web snail/shell miller/mill duck/pond rabbit/hole beaver/dam"
    ),
    "young": _pairs(
        "bear/cub cat/kitten cow/calf deer/fawn dog/puppy duck/duckling goat/kid goose/gosling hen/chick horse/foal "
        "pig/piglet sheep/lamb swan/cygnet frog/tadpole eagle/eaglet lynx/kitten man/boy woman/girl lion/cub owl/owlet"
    ),
    "plural": _pairs(
        "fox/foxes goose/geese mouse/mice man/men woman/women child/children foot/feet tooth/teeth wolf/wolves "
        "leaf/leaves knife/knives baby/babies city/cities box/boxes dish/dishes sheep/sheep deer/deer ox/oxen "
        "lady/ladies watch/watches"
    ),
    "past": _pairs(
        "go/went see/saw run/ran eat/ate take/took give/gave come/came find/found lose/lost sing/sang drink/drank "
        "write/wrote bring/brought think/thought buy/bought fall/fell keep/kept hide/hid sleep/slept know/knew "
        "watch/watched"
    ),
    "opposite": _pairs(
        "big/small old/new hot/cold wet/dry happy/sad early/late full/empty open/shut up/down day/night light/dark "
        "fast/slow good/bad high/low long/short loud/quiet rich/poor near/far soft/hard strong/weak"
    ),
}

GROUPS = {
    "animals": "badger bear cat crow dog duck fox frog goat hare mole otter pony robin swan toad".split(),
    "things": "ball bell bowl box button candle clock cup drum fan flag kite lamp mask pot rope".split(),
    "food": "apple berry bread cake cheese cherry honey jam lemon onion peach pear pie plum soup stew".split(),
    "places": "beach bridge canal cliff field forest hill lake marsh meadow park pond river road school sea".split(),
    "people": "baker cook farmer fisher judge king miller painter poet potter sailor singer tailor teacher weaver "
    "writer".split(),
}

LABELS = "east gold iron left moon north right salt south star sun west".split()
