"""Pairs of texts on which tokenizers and overlap counts of different packages come apart."""

import random

PIECES = """the The cat cat. cats sat on mat, mat a an A dog's "dog" (fox) well-known e-mail 1,000.5 1.5 .5 5. 3-4 -3
a.b a,b 1.a a.1 1...5 1.,2 ,, ... .. .,. U.S. U.S.A. café CAFÉ naïve Straße İstanbul 日本語 中文。 ½ ² ٣ &quot; &amp;
&lt;b&gt; &amp;quot; &amp &#39; <skipped> <b> [x] {y} a|b a/b a\\b $5 5% #1 @you x=y ~ ^ _ under_score ` ' '' it's 'tis
— – … - -- --- foo- bar-baz- 7-eleven 10-20 2-1= =2 ! !? :) ; + +1 * 👍🏽 e\u0301 \u0301 \u200b soft\xadhyphen \ufeff
\x00 \x7f""".split()
SPACES = [" "] * 30 + ["  ", "\n", "\n", "\n\n", "\t", "\r\n", "\xa0", "\u2003", "\u2028", "\u3000", "\x1c", "\x85"]
SPACES += ["", "-\n", " -\n", "- \n", "-\n\n"]


def text(rng: random.Random, longest: int = 14) -> str:
    """Pieces in any order, few kinds in most texts, so that words repeat."""
    kinds = rng.sample(PIECES, rng.choice([2, 4, 8, 20]))
    length = rng.choice([0, 1, 2, 3, *range(longest)])
    return "".join(rng.choice(kinds) + rng.choice(SPACES) for _ in range(length))


def changed(rng: random.Random, words: str) -> str:
    """The same text with pieces lost, added, doubled and moved."""
    pieces = words.split(" ")
    for _ in range(rng.randrange(5)):
        place = rng.randrange(len(pieces) + 1)
        change = rng.choice(["lose", "add", "double", "move", "case"])
        if change == "add" or place == len(pieces):
            pieces.insert(place, rng.choice(PIECES))
        elif change == "lose":
            del pieces[place]
        elif change == "double":
            pieces.insert(place, pieces[place])
        elif change == "move":
            pieces.insert(rng.randrange(len(pieces)), pieces.pop(place))
        else:
            pieces[place] = pieces[place].swapcase()
    return " ".join(pieces)


def pairs(count: int, seed: int, several: int = 1) -> list[tuple[str, list[str]]]:
    """(candidate, references), of 1 to `several` references each; about half of them resemble the candidate."""
    rng = random.Random(seed)
    made = []
    for _ in range(count):
        candidate = text(rng)
        count = rng.randint(1, several)
        references = [changed(rng, candidate) if rng.random() < 0.6 else text(rng) for _ in range(count)]
        made.append((candidate, references))
    return made
