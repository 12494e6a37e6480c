"""HTML out of text, and only HTML: "a < b", List<String>, <me@example.org> and a loose "&" are not mark-up.

A browser's rules, which `html.parser` follows, see a tag wherever "<" meets a letter, since they are made for pages.
Here text may be a page or anything else, so only what is plainly HTML is taken: tags of elements that exist, comments,
scripts and styles that end, character references that exist.
Left out: finding the article among a page's menus (a library such as trafilatura does), other mark-up languages.
"""

import re
from html import unescape
from html.entities import html5

# Elements that begin a line of their own, and those that do not.
BLOCKS = set(
    "address article aside blockquote body br caption center dd details dialog div dl dt fieldset figcaption figure"
    " footer form h1 h2 h3 h4 h5 h6 head header hr html legend li main menu nav ol option p pre section select summary"
    " table tbody td textarea tfoot th thead title tr ul".split()
)
INLINES = set(
    "a abbr acronym area audio b base bdi bdo big button canvas cite code col colgroup data del dfn em embed font i"
    " iframe img input ins kbd label link map mark meta meter nobr noscript object optgroup output param picture"
    " progress q s samp small source span strike strong sub sup svg template time track tt u var video wbr".split()
)
UNREAD = {"script", "style"}  # what stands inside is not text
FLAGS = (
    "allowfullscreen|async|autofocus|autoplay|checked|controls|defer|disabled|hidden|itemscope|loop|multiple|muted|"
    r"nowrap|open|readonly|required|selected|data-[\w-]+"
)
ELEMENT = "|".join(sorted(BLOCKS | INLINES | UNREAD))
# A tag is one when its element exists and its attributes have values: "a <b && c> d" has none for "&&".
MARKUP = re.compile(
    rf"""(?P<comment><!--) | <!doctype\s[^<>]*> | </(?P<end>{ELEMENT})\s*> | <(?P<start>{ELEMENT})
    (?: \s+ (?: [a-z_:@][\w:.@-]* \s*=\s* (?: "[^"]*" | '[^']*' | [^\s"'=<>`]+ ) | (?:{FLAGS})(?![\w-]) ) )*
    \s*(?P<empty>/?)> | (?P<reference>&(?:\#\d{{1,7}}|\#x[\da-f]{{1,6}}|[a-z][a-z\d]*);)""",
    re.IGNORECASE | re.VERBOSE,
)
ENDS = {name: re.compile(rf"</{name}\s*>", re.IGNORECASE) for name in UNREAD} | {"comment": re.compile("-->")}
NO_MARKUP = {ord("<"): None, ord("&"): None}


def strip_markup(text: str) -> str:
    """What a reader of the page would see: no tags, comments, scripts or styles, and "&eacute;" as "é".

    Blocks become lines of their own. Only what was escaped once is decoded: "&amp;lt;" becomes "&lt;".

    >>> strip_markup("<p>Fish &amp; chips, <b>hot</b></p> if a < b and List<String> x")
    '\\nFish & chips, hot\\n if a < b and List<String> x'
    """
    if "<" not in text and "&" not in text:
        return text
    pieces, done, at = [], 0, 0  # text before `done` is in pieces; the search goes on at `at`
    endless = set()  # what does not end any more: an open comment would swallow the rest, and so would an open script
    while found := MARKUP.search(text, at):
        at, seen = found.end(), ""
        start, name = (found["start"] or "").lower(), (found["end"] or "").lower()
        if found["reference"]:
            if found["reference"][1] != "#" and found["reference"][1:] not in html5:
                continue
            seen = unescape(found["reference"])
        elif found["comment"] or start in UNREAD:
            closing = start or "comment"
            end = None if closing in endless else ENDS[closing].search(text, at)
            if end is None:
                endless.add(closing)
                continue
            at = at if found["empty"] else end.end()
        elif {start, name} & BLOCKS:
            seen = "\n"
        pieces += text[done : found.start()], seen
        done = at
    return "".join([*pieces, text[done:]])


def drop_markup(text: str) -> str:
    """The text without any "<" or "&", so that nothing in it can be mark-up."""
    return text.translate(NO_MARKUP)
