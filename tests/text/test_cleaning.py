"""Cleaning. Oracles: hand-made pages, the standard library's own escaping, and that cleaning twice is cleaning once."""

import doctest
import html
import random
import sys
import unicodedata
from html.parser import HTMLParser

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from minillm.metrics import combining_marks
from minillm.text import clean, clean_corpus, cleaning, dedup, markup, normal
from minillm.text.cleaning import (
    boilerplate_lines,
    collapse_space,
    normalise_unicode,
    strip_boilerplate,
    strip_invisible,
)
from minillm.text.markup import strip_markup

PAGE = """<!DOCTYPE html>
<html><head><title>The fox</title><style>p > b { color: red }</style>
<script type="text/javascript">if (a < b && c > d) { write("<p>never</p>"); }</script></head>
<body class=main><!-- a <b>comment</b> -->
<h1>The fox</h1><p title="1 > 0">The&nbsp;fox <b>met</b>
a h<sub>e</sub>n &amp; said:<br/>&ldquo;Caf&#233;?&rdquo;</p><ul><li>one<li>two</ul></body></html>"""
TRICKY = [
    "a < b",
    "if (a<b && c>d) return;",
    "a <b && c> d",
    "std::vector<int> x; List<String> y;",
    "#include <stdio.h>",
    "<me@example.org> and <https://example.org>",
    "I <3 you, </3 me",
    "<- and -> and <= and <>",
    "AT&T, R&D; &nothing; x&copy=1 &",
    "an <b or a < p at the end <",
    "<script> that never ends, <!-- as this",
    "<g> is no element",
]


def test_a_page_becomes_what_a_reader_sees():
    assert clean(PAGE) == "The fox\n\nThe fox\n\nThe fox met\na hen & said:\n“Café?”\n\none\ntwo"


def test_text_goes_on_after_a_script():
    assert strip_markup("one <script>if (a<b) {}</script>two <style>p {}</style >three") == "one two three"


@pytest.mark.parametrize("text", TRICKY)
def test_what_only_looks_like_markup_stays(text):
    assert strip_markup(text) == text
    assert strip_markup(f"<p>{text}</p>") == f"\n{text}\n"


@given(st.text())
def test_escaped_text_is_given_back(text):
    assert strip_markup(html.escape(text)) == text


def test_markup_that_was_escaped_goes_too():
    page = "<p>one <b>two</b></p>"
    for _ in range(3):
        page = html.escape(page)
        assert clean(page) == "one two"


def test_invisible_characters_go_and_joiners_that_spell_stay():
    assert strip_invisible("a\x00\x1b\u200b\ufeff\u2060\u202eb\x7f\u200d") == "ab"
    assert strip_invisible("\u00e9\u200d\u200db a\u200c\u200c\u00e9") == "\u00e9b a\u00e9"
    assert strip_invisible("one\x0ctwo\u2028three\r\nfour\rfive") == "one\ntwo\nthree\nfour\nfive"
    for spelling in [
        "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",
        "\U0001f469\u200d\U0001f52c",
        "\u0915\u094d\u200d\u0937",
    ]:
        assert strip_invisible(spelling) == spelling
    assert strip_invisible("tab\tand\nline") == "tab\tand\nline"


def test_one_code_for_one_character():
    assert normalise_unicode("e\u0301 \ufb01 x\u00b2") == "\u00e9 \ufb01 x\u00b2"
    assert normalise_unicode("e\u0301 \ufb01 x\u00b2", "NFKC") == "\u00e9 fi x2"
    with pytest.raises(ValueError, match='choose "NFC" or "NFKC"'):
        clean("a", form="NFD")


@given(st.text(" \t\u00a0\u2003\nab"))
def test_white_space_is_collapsed_and_words_stay(text):
    collapsed = collapse_space(text)
    assert collapsed.split() == text.split()
    assert "  " not in collapsed and "\n\n\n" not in collapsed and " \n" not in collapsed and "\n " not in collapsed
    assert collapsed == collapsed.strip() == collapse_space(collapsed)


pieces = st.one_of(
    st.text(max_size=5),
    st.text("<>&;/ab \n", max_size=8),
    st.sampled_from(
        ["<b>", "</b>", "<p ", "x='", "'>", "&lt;", "&gt;", "&amp;", "&", "amp;", "lt;", "&#8203;", "e", "&#769;"]
    ),
    st.sampled_from(
        ["<script>", "</script>", "<!--", "-->", "<title>", "\u200d", "\u200c", "\u0301", "\uff1c", "\ufdfa", "\u0958"]
    ),
)


@given(st.lists(pieces, max_size=12).map("".join), st.sampled_from(["NFC", "NFKC"]))
@example("&amp;lt;b&amp;gt;", "NFC")
@example("\uff1cb\uff1e", "NFKC")
@example("a\u200d\u200d\u00e9", "NFC")
def test_cleaning_twice_is_cleaning_once(text, form):
    once = clean(text, form)
    assert clean(once, form) == once
    assert unicodedata.is_normalized(form, once) and once == once.strip()
    assert not any(unicodedata.category(character) == "Cc" and character != "\n" for character in once)


@given(st.lists(st.text("abcdefghi ", min_size=1, max_size=40)))
def test_plain_words_pass_unchanged(lines):
    words = " ".join(lines).split()
    assert clean(" ".join(words)) == " ".join(words)


def test_lines_that_many_documents_share_are_boilerplate_and_names_are_not():
    documents = [f"KING:\nTale number {i} of a fox.\nSign up, for FREE!\nThe end." for i in range(8)]
    documents += [f"Quite another tale, {i}.\nShared by three only, this." for i in range(3)]
    documents += [documents[-1].upper()] * 20  # copies count once
    assert boilerplate_lines(documents, share=0.5) == {"sign up for free"}
    assert strip_boilerplate(documents[0], {"sign up for free"}) == "KING:\nTale number 0 of a fox.\nThe end."
    assert boilerplate_lines(documents[:4], share=0.5) == set()  # too few to tell
    with pytest.raises(ValueError, match="boilerplate share"):
        boilerplate_lines(documents, share=0)


def test_a_dirty_corpus_comes_out_clean_with_every_loss_accounted_for():
    rng = random.Random(0)
    words = [a + b for a in "bdfgklmnprst" for b in "aeiou"]
    tales = [" ".join(rng.choices(words, k=60)) for _ in range(20)]
    dirty = [f"<p>{tale}</p>\nSubscribe to our fine letter\nPage {i} of 20" for i, tale in enumerate(tales)]
    dirty += ["  \n ", "<br>", dirty[0].upper(), dirty[1].replace(tales[1].split()[30], "changed", 1)]
    kept, report = clean_corpus(dirty)
    assert kept == tales
    assert report.steps["mark-up"].changed == {*range(20), 21, 22, 23}
    assert report.steps["boilerplate"].changed == {*range(20), 22, 23}
    assert report.steps["too short"].dropped == {20, 21}
    assert report.steps["exact duplicates"].dropped == {22}
    assert report.steps["near duplicates"].dropped == {23}
    assert report.documents_in == len(dirty) and report.documents_out == len(kept)
    assert report.characters_in == sum(map(len, dirty)) and report.characters_out == sum(map(len, kept))
    assert report.characters_in - sum(step.characters for step in report.steps.values()) == report.characters_out
    table = str(report).split("\n")
    assert len(table) == len(report.steps) + 2 and max(map(len, table)) <= 120
    assert "as in document 0" in report.steps["exact duplicates"].examples[0]
    assert table[-1].startswith("kept 20 of 24 documents")


@given(st.lists(st.text("ab<>& \n", max_size=12), max_size=12))
def test_a_report_adds_up_for_any_corpus(documents):
    try:
        kept, report = clean_corpus(documents)
    except ValueError as error:
        assert "cleaning left none" in str(error)
        return
    assert len(kept) == report.documents_in - sum(len(step.dropped) for step in report.steps.values())
    assert sum(map(len, kept)) == report.characters_in - sum(step.characters for step in report.steps.values())
    assert all(kept) and str(report)


def test_steps_that_are_turned_off_do_nothing():
    documents = [f"Tale {i}\nThe same line in all" for i in range(8)] + ["word " * 30, "word " * 29]
    kept, report = clean_corpus(documents, boilerplate_share=None, near_threshold=None, minimum_characters=10)
    assert kept == [document.strip() for document in documents]
    assert "boilerplate" not in report.steps and "near duplicates" not in report.steps


def test_the_worked_examples_hold():
    assert not any(doctest.testmod(module).failed for module in (cleaning, markup, normal))


def by_parser(text: str) -> str:
    """The same with the standard library's parser, for pages in which every tag is one."""

    class Page(HTMLParser):
        CDATA_CONTENT_ELEMENTS = ("script", "style")
        pieces, unread = (), False

        def handle_starttag(self, tag, attrs):
            self.unread = tag in ("script", "style")
            self.handle_startendtag(tag, attrs)

        def handle_startendtag(self, tag, attrs):
            self.pieces += ("\n",) if tag in markup.BLOCKS else ()

        def handle_endtag(self, tag):
            self.unread = False
            self.handle_startendtag(tag, [])

        def handle_data(self, data):
            self.pieces += () if self.unread else (data,)

    page = Page()
    page.feed(text)
    page.close()
    return "".join(page.pieces)


real = [
    "<p>",
    "</P>",
    "<b class=x>",
    "</b>",
    "<br/>",
    "<a href='x>y' title=\"&lt;\">",
    "<!-- <p> -->",
    "&eacute;",
    "&#8203;",
]
real += [
    "<script>if (a<b) {}</script>",
    "<STYLE media=x>p > b</STYLE >",
    "<!doctype html>",
    "&amp;lt;",
    "one ",
    "\n",
    "> ",
]


@given(st.lists(st.sampled_from(real), max_size=12).map("".join))
def test_a_page_reads_as_with_the_standard_library_s_parser(page):
    assert strip_markup(page) == by_parser(page)


@pytest.mark.parametrize(
    "text",
    ["<" * 40 + "b>" * 40, "&" + "amp;" * 40 + "lt;b>", "&#3" * 40 + "8;" * 40, "&\u200b" * 40 + "#8203;" * 40],
)
def test_mark_up_in_many_layers_is_taken_apart_in_a_bounded_number_of_passes(text):
    once = clean(f"<p>before</p> {text} after")
    assert clean(once) == once and "before" in once and once.endswith("after")
    passes = sum(name == "mark-up" for name, *_ in cleaning._changes(text, cleaning.cleaning_steps()))
    assert passes <= cleaning.MOST_PASSES + 1


def test_marks_beyond_those_of_any_script_go_and_all_others_stay():
    zalgo = "e" + "\u0301\u0323" * 5000 + " Z\u0338\u0355a\u0335"
    assert clean(zalgo) == unicodedata.normalize("NFC", "e" + "\u0301\u0323" * 15 + " Z\u0338\u0355a\u0335")
    assert dedup.normalised_digest(zalgo) == dedup.normalised_digest(clean(zalgo))
    marks = set(combining_marks()) | {"\uff9e", "\uff9f"}
    for c in map(chr, range(sys.maxunicode + 1)):  # what Unicode's forms would sort is known as a mark
        assert c in marks or not unicodedata.combining(unicodedata.normalize("NFKD", c)[0]), hex(ord(c))
