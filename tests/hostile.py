"""Text that breaks tokenizers: every kind of space, letters outside of the Latin alphabet, marks, emoji, controls."""

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
