"""HTML out of text, and only HTML: "a < b", List<String>, <me@example.org> and a loose "&" are not mark-up.

A browser's rules, which `html.parser` follows, see a tag wherever "<" meets a letter, since they are made for pages.
Here text may be a page or anything else, so first every "<" and "&" that is not plainly HTML is escaped; then the
parser takes tags, comments, scripts and character references apart.
Left out: finding the article among a page's menus (a library such as trafilatura does), other mark-up languages.
"""

import re
from html.entities import html5
from html.parser import HTMLParser

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
HTML_TAG = re.compile(
    rf"""</(?:{ELEMENT})\s*> | <({ELEMENT})
    (?: \s+ (?: [a-z_:@][\w:.@-]* \s*=\s* (?: "[^"]*" | '[^']*' | [^\s"'=<>`]+ ) | (?:{FLAGS})(?![\w-]) ) )* \s*/?>""",
    re.IGNORECASE | re.VERBOSE,
)
DOCTYPE = re.compile(r"<!doctype\s[^<>]*>", re.IGNORECASE)
LESS_OR_REFERENCE = re.compile(r"<|&(?:#\d{1,7};|#x[\da-f]{1,6};|([a-z][a-z\d]*;))?", re.IGNORECASE)


def strip_markup(text: str) -> str:
    """What a reader of the page would see: no tags, comments, scripts or styles, and "&eacute;" as "é".

    Blocks become lines of their own. Only what was escaped once is decoded: "&amp;lt;" becomes "&lt;".

    >>> strip_markup("<p>Fish &amp; chips, <b>hot</b></p> if a < b and List<String> x")
    '\\nFish & chips, hot\\n if a < b and List<String> x'
    """
    if "<" not in text and "&" not in text:
        return text
    parser = _PageText()
    parser.feed(_protect(text))
    parser.close()
    return "".join(parser.pieces)


def _protect(text: str) -> str:
    """Escape every "<" and "&" that does not belong to HTML."""
    last_end = {name: max((m.start() for m in re.finditer(rf"(?i)</{name}\s*>", text)), default=-1) for name in UNREAD}
    last_comment_end = text.rfind("-->")

    def protected(match: re.Match) -> str:
        at = match.start()
        if text[at] == "&":
            real = len(match[0]) > 1 and (match[1] is None or match[1] in html5)
            return match[0] if real else "&amp;" + match[0][1:]
        if text.startswith("<!--", at):
            real = last_comment_end >= at + 4  # an open comment would swallow the rest
        elif (tag := HTML_TAG.match(text, at)) is None:
            real = DOCTYPE.match(text, at) is not None
        else:
            name = (tag[1] or "").lower()
            real = name not in UNREAD or last_end[name] >= tag.end()  # and so would an open script
        return "<" if real else "&lt;"

    return LESS_OR_REFERENCE.sub(protected, text)


class _PageText(HTMLParser):
    """Collects the text of a page in `pieces`."""

    # Said here because it differs between Python versions: where tags are not tags until the element ends.
    CDATA_CONTENT_ELEMENTS = tuple(sorted(UNREAD))
    RCDATA_CONTENT_ELEMENTS = ()

    def __init__(self):
        super().__init__()
        self.pieces, self.unread = [], False

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.unread = tag in UNREAD
        self.handle_startendtag(tag, attrs)

    def handle_startendtag(self, tag: str, attrs: list) -> None:
        if tag in BLOCKS:
            self.pieces.append("\n")

    def handle_endtag(self, tag: str) -> None:
        self.unread = False
        self.handle_startendtag(tag, [])

    def handle_data(self, data: str) -> None:
        if not self.unread:
            self.pieces.append(data)
