"""Text that breaks tokenizers: every kind of space, letters outside of the Latin alphabet, marks, emoji, controls."""

import random
from collections.abc import Iterator, Sequence

HOSTILE = [
    "",
    " ",
    "  \n\n \t x",
    "trailing spaces   ",
    "\r\n\r\nwindows\r\n",
    "\x00NUL\x00\x01\x1c\x1d\x1e\x1f\x7f\x85\xa0 controls \x0b\x0c",
    "we'll they've I'M it's 'tis ''s 'S'LL 've",
    "1234567890 ½ ² ₃ Ⅷ ① 〇 ٣ 一二三 १२३ 𝟘𝟙",
    "naïve café Ångström ſtraße İstanbul ǅ ª º",
    "e\u0301 a\u0308\u0323 \u0301\u0301 Z̸͕a̵l̵g̷o̶",
    "日本語のテキスト。中文,한국어 ภาษาไทย हिन्दी עברית العربية",
    "👩‍👩‍👧‍👦 🏳️‍🌈 🇫🇷 👍🏽 😀😀  😀",
    "a\u200bb\u200cc\u200dd\u2060e\ufefff\u180eg\u00adh",
    "\u2000\u2001\u2002\u2003\u2028\u2029\u202f\u205f\u3000 spaces \u1680",
    "\ufffd\uffff\ufdd0 \U0010ffff \ue000 private",
    "𝒜𝔹ℂ 𐍈 𒀀 𠀀𠀁 \U0001e900\U0001e943",
    "_under_score a_b __ -- ---- ++=/*&^%$#@!`~",
    "<|endoftext|> <|pad|><|eos|>\n<|user|> <|assistant|>",
    "x" * 500 + " " * 300 + "!" * 200,
    "اَلْعَرَبِيَّةُ \u202eright to left\u202c",
]

BLANKS = (
    " \t\n\r\v\f\x1c\x1f\x85\xa0\u1680\u180e\u2000\u2003\u2009\u200a\u200b\u2028\u2029\u202f\u205f\u2060\u3000\ufeff"
)
RANGES = [(0, 0x80), (0x80, 0x250), (0x250, 0x600), (0x600, 0x1000), (0x1000, 0x2000), (0x2000, 0x2C00)]
RANGES += [(0x2C00, 0x3400), (0x3400, 0xA000), (0xA000, 0xD800), (0xE000, 0x10000), (0x10000, 0x12000)]
RANGES += [(0x1D000, 0x1FC00), (0x12000, 0x20000), (0x20000, 0x31400), (0xE0000, 0xE0200), (0x30000, 0x110000)]
WORDS = ["the", "cat", "Unaffable", "I'll", "don't", "we've", "SHE'S", "'Re", "ſ", "'ſ", "naïve", "e\u0301", "Ångström"]
WORDS += [
    "日本語",
    "中",
    "한국어",
    "हिन्दी",
    "ภาษาไทย",
    "👩‍👩‍👧‍👦",
    "🇫🇷",
    "1234567",
    "3.14",
    "٣٤",
    "²½Ⅷ",
    "_x_",
    "##ing",
    "▁",
    "▁▁a",
]
WORDS += [
    "<0x0A>",
    "<0x41>",
    "Ġ",
    "Ċ",
    "ġ",
    "\r\n",
    "\n\n\n",
    "    ",
    "\t\t",
    " ' ",
    " n't",
    " do not",
    "İ",
    "ß",
    "Σς",
    "\x00",
]


def hostile_texts(count: int, seed: int, names: Sequence[str] = ()) -> Iterator[str]:
    """Random texts made to break tokenizers: all planes, marks, blanks, controls, digits, very long words, `names`."""
    draw = random.Random(seed)

    def character() -> str:
        return chr(draw.randrange(*draw.choice(RANGES)))

    makers = [
        character,
        lambda: "".join(character() for _ in range(draw.randrange(1, 8))),
        lambda: "".join(chr(draw.randrange(32, 127)) for _ in range(draw.randrange(1, 12))),
        lambda: (
            draw.choice("aeouAnc中") + "".join(chr(draw.randrange(0x300, 0x370)) for _ in range(draw.randrange(1, 5)))
        ),
        lambda: "".join(draw.choice(BLANKS) for _ in range(draw.randrange(1, 5))),
        lambda: " " * draw.randrange(1, 9),
        lambda: draw.choice(["\n", "\r\n", "\n\n", " \n", "\n ", "\t"]),
        lambda: str(draw.randrange(10 ** draw.randrange(1, 12))),
        lambda: draw.choice(WORDS),
        lambda: draw.choice(WORDS).upper(),
        lambda: " " + draw.choice(WORDS),
        lambda: draw.choice([*names, *WORDS]),
        lambda: " " * draw.randrange(2) + draw.choice([*names, "<|x|>"]) + " " * draw.randrange(3),
        lambda: draw.choice(["x", "ab", "é", "中", "=", "▁", "1", "\u0301", "😀"]) * draw.randrange(1, 150),
    ]
    yield from ("", " ", "\n", "\ufeff", "\ufeffa", "\x00", "x" * 5000, " " * 3000, "a b" * 2000, "".join(names))
    for _ in range(count):
        yield "".join(draw.choice(makers)() for _ in range(draw.randrange(1, 12)))
