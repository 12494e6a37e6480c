"""What happened in a tale, in one sentence: each plot and outcome has its own form."""

from minillm.tales.documents import Tale

# plot: what happened, and by outcome how it went on
GISTS: dict[str, tuple[str, dict[str, str]]] = {
    "lost": (
        "{hero} lost a {thing}",
        {
            "hero": "and found it again",
            "friend": "and {friend} found it",
            "neighbor back": "and {neighbor} gave it back",
            "neighbor kept": "and {neighbor} kept it",
            "nobody": "and nobody found it",
        },
    ),
    "gift": (
        "{hero} had a {thing} for {friend}",
        {
            "loved": "and {friend} was happy",
            "spoiled": "but it was spoiled",
            "double": "but {friend} already had one",
        },
    ),
    "trade": (
        "{hero} and {friend} wanted to trade a {thing} for a {other}",
        {
            "no": "but could not agree",
            "yes fair": "and both liked it",
            "yes hero": "but {hero} missed the {thing}",
            "yes friend": "but {friend} missed the {other}",
        },
    ),
    "borrow": (
        "{hero} asked {friend} for a {thing}",
        {
            "back": "and brought it back",
            "broken": "and spoiled it",
            "late": "and forgot to bring it back",
        },
    ),
    "quarrel": (
        "{hero} and {friend} both wanted a {thing}",
        {
            "hero sorry made_up": "and made up",
            "friend sorry made_up": "and made up",
            "hero sorry cross": "and did not make up",
            "friend sorry cross": "and did not make up",
            "hero kept": "and {hero} kept it",
            "friend kept": "and {friend} kept it",
        },
    ),
    "race": (
        "{hero} and {friend} had a race for a {thing}",
        {
            "hero on": "and {hero} won",
            "friend on": "and {friend} won",
            "hero rest": "and {friend} won",
            "friend rest": "and {hero} won",
            "hero help": "and nobody won",
            "friend help": "and nobody won",
        },
    ),
    "storm": (
        "A storm came to the house of {victim}",
        {
            "hero open": "and {helper} helped",
            "friend open": "and {helper} helped",
            "hero shut sorry": "and {helper} helped at last",
            "friend shut sorry": "and {helper} helped at last",
            "hero shut never": "and {helper} did not help",
            "friend shut never": "and {helper} did not help",
        },
    ),
    "riddle": (
        "{asker} asked {guesser} a riddle for a {thing}",
        {
            "hero right": "and {guesser} got it",
            "friend right": "and {guesser} got it",
            "hero wrong": "and {guesser} got nothing",
            "friend wrong": "and {guesser} got nothing",
        },
    ),
    "promise": (
        "{hero} promised some {food} to {friend}",
        {
            "kept": "and brought it",
            "forgot late": "and brought it a day late",
            "forgot excuse": "and did not bring it",
            "forgot never": "and did not bring it",
        },
    ),
}


def gist(tale: Tale) -> str:
    """One sentence: "Mira lost a kite, and nobody found it." """
    outcome = " ".join(tale.outcome)
    begin, ends = GISTS[tale.plot]
    end = next(end for start, end in ends.items() if outcome == start or outcome.startswith(start + " "))
    named = {role: parts["name"] for role, parts in tale.roles.items() if "name" in parts}
    for role, parts in tale.roles.items():
        if "noun" in parts:
            named[role] = parts["noun"]
        if "dish" in parts:
            named[role] = parts["dish"]
    return f"{begin}, {end}.".format(**named)
