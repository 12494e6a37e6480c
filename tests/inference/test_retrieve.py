"""The nearest passages against a slow search and scikit-learn's tf-idf; an index comes back whole or is refused."""

import json

import pytest
import torch

from minillm.inference import EncoderFinder, Index, Passage, WordFinder, cut_passages, messages_with
from minillm.models import Encoder, ModelConfig, TextEncoder
from minillm.tales import make_collection, make_lookups
from minillm.text import Tokenizer

TEXTS = ["the cat sat on the mat", "a dog sat on the log", "the sun is hot", "cats and dogs", "a hot dog"]
TOKENIZER = Tokenizer.characters("".join(TEXTS) + ".?\n'")


def passages(texts=TEXTS):
    return [Passage(text, f"t, document {n}") for n, text in enumerate(texts, 1)]


def vectors(n, C=5, seed=0):
    return torch.nn.functional.normalize(torch.randn(n, C, generator=torch.Generator().manual_seed(seed)), dim=-1)


def test_the_nearest_are_those_of_a_slow_search():
    index, questions = Index(passages(), vectors(5), "f"), vectors(3, seed=1)
    scores, places = index.top(questions, 2)
    for question, row, values in zip(questions, places.tolist(), scores):
        slow = sorted(
            range(5), key=lambda i: -sum(a * b for a, b in zip(question.tolist(), index.vectors_[i].tolist()))
        )
        assert row == slow[:2]
        torch.testing.assert_close(values, torch.stack([question @ index.vectors_[i] for i in row]))
    assert index.top(questions, 99)[1].shape == (3, 5)
    with pytest.raises(ValueError, match="questions have 4 channels and passages 5"):
        index.top(vectors(1, 4))


def test_words_weigh_as_in_scikit_learn():
    sklearn = pytest.importorskip("sklearn.feature_extraction.text")
    finder = WordFinder(TEXTS)
    theirs = sklearn.TfidfVectorizer(sublinear_tf=True, token_pattern=r"\w+", norm=None, use_idf=False)
    counts = torch.tensor(theirs.fit_transform(TEXTS).toarray()).float()
    seen = (counts > 0).sum(0)
    expected = torch.nn.functional.normalize(counts * (1 + 5 / seen).log(), dim=-1)
    assert list(finder.places) == list(theirs.get_feature_names_out())
    torch.testing.assert_close(finder.vectors(TEXTS), expected)
    assert finder.vectors(["xyz"]).abs().sum() == 0


def test_rare_words_find_the_tale_that_a_question_is_about():
    collection = make_collection(150, 0)
    lookups = make_lookups(collection, 200, 0, unknown=0.0)
    texts = [tale.text for tale in collection]
    finder = WordFinder(texts)
    _, places = Index.of(passages(texts), finder).top(finder.vectors([one.question for one in lookups]))
    assert sum(int(p) == one.document for p, one in zip(places[:, 0], lookups)) / len(lookups) > 0.9


def test_an_encoder_s_vectors_are_those_it_gives_alone_whatever_the_order():
    torch.manual_seed(0)
    model = TextEncoder(Encoder(ModelConfig(TOKENIZER.vocab_size, 32, 1, 16, 2))).eval()
    finder = EncoderFinder(model, TOKENIZER)
    found = finder.vectors([*TEXTS, TEXTS[0] * 9])
    for text, row in zip(TEXTS, found):
        ids = torch.tensor([[TOKENIZER.cls_id, *TOKENIZER.encode(text), TOKENIZER.sep_id]])
        torch.testing.assert_close(model(ids)[0], row, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found.norm(dim=1), torch.ones(6))


def test_an_index_comes_back_and_one_that_is_not_whole_is_refused(tmp_path):
    finder = WordFinder(TEXTS)
    index = Index.of(passages(), finder)
    index.save(tmp_path / "a")
    again = Index.load(tmp_path / "a")
    assert again.passages == index.passages and again.fingerprint() == index.fingerprint()
    assert torch.equal(again.vectors_, index.vectors_) and again.finder == finder.name
    file = tmp_path / "a" / "passages.jsonl"
    lines = file.read_text().splitlines()
    for damaged, complaint in (
        (lines[:-1], "there must be one for each"),
        ([lines[1], lines[0], *lines[2:]], "are not of one index: make it anew"),
        ([*lines[:2], "{", *lines[3:]], r"passages\.jsonl:3"),
        ([*lines[:2], json.dumps({"text": 3, "source": "x"}), *lines[3:]], r"passages\.jsonl:3"),
    ):
        file.write_text("\n".join(damaged) + "\n")
        with pytest.raises(ValueError, match=complaint):
            Index.load(tmp_path / "a")
    with pytest.raises(ValueError, match=r"holds no index: there is no vectors\.safetensors"):
        Index.load(tmp_path)
    with pytest.raises(ValueError, match="there are no passages"):
        Index.of([], finder)


def test_long_documents_are_cut_at_sentences_and_nothing_is_lost():
    document = "the cat sat. a dog is hot. the sun? cats and dogs and cats and dogs sat on it. so."
    parts = cut_passages([TEXTS[0], document], "x.txt", TOKENIZER, 30)
    assert parts[0] == Passage(TEXTS[0], "x.txt, document 1")
    assert [one.source for one in parts[1:]] == [f"x.txt, document 2, part {n}" for n in range(1, len(parts))]
    assert all(len(TOKENIZER.encode(one.text)) <= 30 for one in parts) and parts[1].text == "the cat sat. a dog is hot."
    assert "".join("".join(one.text for one in parts[1:]).split()) == "".join(document.split())
    assert messages_with(parts[:2], "who?")[0]["content"] == f"{TEXTS[0]}\n\n{parts[1].text}\n\nwho?"
