"""Tagged words: CoNLL-2003, CoNLL-U, tables, and the marks of entities. Oracle for IOB1: the entities that it marks."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minillm.data import read_tagged, tagged
from minillm.data.tagged import to_iob2
from minillm.metrics import entity_spans

CONLL_2003 = """-DOCSTART- -X- -X- O

EU NNP I-NP I-ORG
rejects VBZ I-VP O
German JJ I-NP I-MISC

Peter NNP I-NP I-PER
Blackburn NNP I-NP I-PER
# # O O
Rome NNP I-NP I-LOC
Paris NNP I-NP B-LOC
"""
CONLL_U = """# sent_id = 1
# text = Vamos al mar
1\tVamos\tir\tVERB\tV\t_\t0\troot\t_\t_
2-3\tal\t_\t_\t_\t_\t_\t_\t_\t_
2\ta\ta\tADP\tP\t_\t4\tcase\t_\t_
3\tel\tel\tDET\tD\t_\t4\tdet\t_\t_
3.1\tgran\tgran\tADJ\tA\t_\t_\t_\t_\t_
4\tmar\tmar\tNOUN\tN\t_\t1\tobl\t_\t_

# sent_id = 2
1\t10 000\t10 000\tNUM\tM\t_\t0\troot\t_\t_
2\t#\t#\tSYM\tS\t_\t1\tdep\t_\t_
"""


def read(folder, name, text, column=""):
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return [(list(record.texts), list(record.label), record.line) for record in read_tagged(path, column)]


def test_conll_2003_has_its_tag_last_and_its_marks_become_iob2(tmp_path, capsys):
    first, second = read(tmp_path, "a.conll", CONLL_2003)
    assert first == (["EU", "rejects", "German"], ["B-ORG", "O", "B-MISC"], 3)
    assert second[:2] == (["Peter", "Blackburn", "#", "Rome", "Paris"], ["B-PER", "I-PER", "O", "B-LOC", "B-LOC"])
    assert "read as IOB2" in capsys.readouterr().err
    assert read(tmp_path, "a.txt", CONLL_2003, "pos")[0][1] == ["NNP", "VBZ", "JJ"]
    assert read(tmp_path, "a.txt", CONLL_2003, "2") == read(tmp_path, "a.txt", CONLL_2003, "pos")
    chunks = [tags for _, tags, _ in read(tmp_path, "a.txt", CONLL_2003, "chunk")]
    assert chunks == [["B-NP", "B-VP", "B-NP"], ["B-NP", "I-NP", "O", "B-NP", "I-NP"]]


def test_conll_u_skips_comments_ranges_and_words_that_are_not_said(tmp_path):
    for name in ("a.conllu", "a.txt", "a.tsv"):
        first, second = read(tmp_path, name, CONLL_U)
        assert first == (["Vamos", "a", "el", "mar"], ["VERB", "ADP", "DET", "NOUN"], 3)
        assert second == (["10 000", "#"], ["NUM", "SYM"], 11)
    assert read(tmp_path, "a.conllu", CONLL_U, "xpos")[0][1] == ["V", "P", "D", "N"]
    assert read(tmp_path, "a.conllu", CONLL_U, "DEPREL")[0][1] == ["root", "case", "det", "obl"]
    with pytest.raises(ValueError, match=r"a.conllu: --column tense: its columns are id, form, lemma, upos"):
        read(tmp_path, "a.conllu", CONLL_U, "tense")


WORDS, TAGS = ["Mira", "ran", "home"], ["B-PER", "O", "B-LOC"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.jsonl", json.dumps({"tokens": WORDS, "tags": TAGS}) + "\n"),
        ("a.json", json.dumps([{"tokens": WORDS, "ner_tags": TAGS}])),
        ("a.csv", "tokens,tags\nMira ran home,B-PER O B-LOC\n"),
        (
            "a.csv",
            "Tokens,Tags\n" + ",".join('"' + json.dumps(x).replace('"', '""') + '"' for x in (WORDS, TAGS)) + "\n",
        ),
        ("a.csv", "words,labels\n\"['Mira', 'ran', 'home']\",\"['B-PER', 'O', 'B-LOC']\"\n"),
        ("a.tsv", "tokens\ttags\nMira ran home\tB-PER O B-LOC\n"),
        ("a.csv", "Sentence #,Word,POS,Tag\nSentence: 1,Mira,NNP,B-PER\n,ran,VBD,O\n,home,NN,B-LOC\n"),
        ("a.tsv", "sentence_id\tword\ttag\n0\tMira\tB-PER\n0\tran\tO\n0\thome\tB-LOC\n"),
        ("a.tsv", "Mira\tB-PER\nran\tO\nhome\tB-LOC\n"),
        ("a.tsv", "token\ttag\nMira\tB-PER\nran\tO\nhome\tB-LOC\n\n"),
        ("a.bio", "# id 7\tdomain=en\nMira _ _ B-PER\nran _ _ O\nhome _ _ B-LOC\n"),
        ("a.txt", "Mira S-PER\nran O\nhome B-LOC\n"),
    ],
)
def test_every_format_gives_the_same_sentence(tmp_path, name, text):
    ((words, tags, _),) = read(tmp_path, name, text)
    assert (words, tags) == (WORDS, TAGS)


def test_a_table_of_words_begins_a_sentence_where_its_number_changes(tmp_path):
    told = "Sentence #,Word,POS,Tag\nSentence: 1,Mira,NNP,O\n,ran,VBD,O\nSentence: 2,She,PRP,O\n,hid,VBD,O\n"
    assert [words for words, _, _ in read(tmp_path, "a.csv", told, "POS")] == [["Mira", "ran"], ["She", "hid"]]
    assert [tags for _, tags, _ in read(tmp_path, "a.csv", told, "POS")] == [["NNP", "VBD"], ["PRP", "VBD"]]


def test_classes_stay_as_they_are_and_numbers_are_classes(tmp_path):
    assert read(tmp_path, "a.txt", "She PRON\nran VERB\n") == [(["She", "ran"], ["PRON", "VERB"], 1)]
    line = json.dumps({"tokens": ["She", "ran"], "tags": [3, 0]})
    assert read(tmp_path, "a.jsonl", line) == [(["She", "ran"], ["3", "0"], 1)]


def test_a_bad_sentence_is_left_out_and_shown(tmp_path, capsys):
    found = read(tmp_path, "a.txt", "Mira B-PER\n\nran\n\nshe O\n\nEU ORG\n\nhid O\n")
    assert [words for words, _, _ in found] == [["Mira"], ["she"], ["hid"]]
    said = capsys.readouterr().err
    assert "a.txt:3: expected a word and its tag, found 'ran'" in said
    assert "a.txt:7: expected tags such as" in said and "found 'ORG'" in said


@given(st.lists(st.sampled_from(["O", "B-X", "I-X", "B-Y", "I-Y"]), min_size=1))
def test_iob2_marks_the_entities_that_iob1_marked(tags):
    """Written as IOB1, B- stands only between two entities of a kind that touch."""
    spans = entity_spans(tags)
    ends = {(kind, end) for kind, _, end in spans}
    begins = {start: kind for kind, start, _ in spans}
    iob1 = [
        "O" if tag == "O" else ("B-" if place in begins and (tag[2:], place) in ends else "I-") + tag[2:]
        for place, tag in enumerate(tags)
    ]
    turned = to_iob2(iob1)
    assert entity_spans(turned) == spans
    assert [place for place, tag in enumerate(turned) if tag[0] == "B"] == sorted(begins)
    assert to_iob2(turned) == turned


def test_the_worked_examples_hold():
    import doctest

    assert doctest.testmod(tagged).failed == 0
