"""What happened in a tale, in one sentence: each plot and outcome has its own form."""

from minillm.tales.documents import Tale

# plot: what happened, and how it went on, by turns of the outcome that follow one another
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
            "sorry made_up": "and made up",
            "sorry cross": "and did not make up",
            "kept": "and {taker} kept it",
        },
    ),
    "race": (
        "{hero} and {friend} had a race for a {thing}",
        {
            "on": "and {leader} won",
            "rest": "and {follower} won",
            "help": "and nobody won",
        },
    ),
    "storm": (
        "A storm came to the house of {victim}",
        {
            "open": "and {helper} helped",
            "shut sorry": "and {helper} helped at last",
            "shut never": "and {helper} did not help",
        },
    ),
    "riddle": (
        "{asker} asked {guesser} a riddle for a {thing}",
        {
            "right": "and {guesser} got it",
            "wrong": "and {guesser} got nothing",
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
    outcome = f" {' '.join(tale.outcome)} "
    begin, ends = GISTS[tale.plot]
    end = next(end for turns, end in ends.items() if f" {turns} " in outcome)
    named = {
        role: parts[aspect]
        for role, parts in tale.roles.items()
        for aspect in ("name", "noun", "dish")
        if aspect in parts
    }
    return f"{begin}, {end}.".format(**named)
