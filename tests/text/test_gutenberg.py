"""Books of Project Gutenberg: what stood around them goes, wrapped lines are joined. Oracle: textwrap."""

import doctest
import textwrap

from minillm.text import gutenberg, read_documents

PROSE = [
    "It is a truth universally acknowledged, that a single man in possession of a good fortune, must be in want of a "
    "wife. However little known the feelings or views of such a man may be on his first entering a neighbourhood, this "
    "truth is so well fixed in the minds of the surrounding families, that he is considered as the rightful property.",
    '"My dear Mr. Bennet," said his lady to him one day, "have you heard that Netherfield Park is let at last?" Mr. '
    "Bennet replied that he had not--and so it went on for a while.",
]
VERSE = "The sun was shining on the sea,\nShining with all his might:\nHe did his very best to make\nThe billows smooth"
FILE = """The Project Gutenberg eBook of Pride

This eBook is for the use of anyone anywhere.

Title: Pride

*** START OF {} PROJECT GUTENBERG EBOOK PRIDE ***

CHAPTER I

{}

*** END OF {} PROJECT GUTENBERG EBOOK PRIDE ***

Most people start at our website.
"""


def book(word="THE"):
    wrapped = [textwrap.fill(text, 72, break_on_hyphens=False) for text in PROSE]
    return FILE.format(word, "\n\n".join([*wrapped, VERSE]), word)


def test_a_book_is_its_paragraphs_without_header_licence_and_wrapping(tmp_path, capsys):
    path = tmp_path / "book.txt"
    for word in ("THE", "THIS"):
        path.write_bytes(b"\xef\xbb\xbf" + book(word).replace("\n", "\r\n").encode())
        assert read_documents(path) == ["CHAPTER I", *PROSE, VERSE]
        said = capsys.readouterr().err
        assert said.startswith(f"{path}: a book of Project Gutenberg; ") and said.count("\n") == 1
    assert read_documents(path, "file") == ["\n\n".join(["CHAPTER I", *PROSE, VERSE]) + "\n"]


def test_any_other_text_stays_as_it_is(tmp_path, capsys):
    text = "\n\n".join(textwrap.fill(text, 72) for text in PROSE)
    (tmp_path / "a.txt").write_text(text)
    assert read_documents(tmp_path / "a.txt", "file") == [text] and not capsys.readouterr().err


def test_the_worked_example_holds():
    assert doctest.testmod(gutenberg).failed == 0
