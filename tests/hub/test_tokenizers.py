"""Tokenizers of other people in and out: folders and GGUF's metadata, against transformers and `tokenizers`."""

import json
import random
import shutil
from pathlib import Path

import pytest
import tokenizers
from foreign_tokenizers import MAKERS, foreign
from hostile import HOSTILE, hostile_texts
from real_models import MINILM, SMOLLM2, needs_minilm, needs_smollm2

from minillm.hub import read_tokenizer, tokenizer_from_gguf, write_tokenizer
from minillm.text import Tokenizer

transformers = pytest.importorskip("transformers")

NAMES = {"bos": ("<s>", "<bos>", "<|begin_of_text|>"), "eos": ("</s>", "<eos>", "<|end_of_text|>", "<|endoftext|>")}
NAMES |= {"cls": ("[CLS]",), "sep": ("[SEP]",), "pad": ("[PAD]", "<pad>"), "mask": ("[MASK]",)}
TEXTS = [*HOSTILE, *hostile_texts(60, 5, ("<s>", "[MASK]", "<|endoftext|>", "cat"))]
every = pytest.mark.parametrize("name", list(MAKERS))
OWN = Tokenizer.train([*HOSTILE, "the cat sat on the mat" * 4], 400)


def saved(theirs: tokenizers.Tokenizer, folder: Path, **config) -> Path:
    """A folder as people share them."""
    folder.mkdir(exist_ok=True)
    theirs.save(str(folder / "tokenizer.json"))
    vocab = theirs.get_vocab()
    named = {f"{role}_token": next((n for n in names if n in vocab), None) for role, names in NAMES.items()}
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", **named, **config})
    )
    return folder


@every
def test_a_folder_gives_transformers_ids_and_comes_back_from_our_file_and_theirs(name, tmp_path):
    folder = saved(foreign(name), tmp_path / "theirs")
    ours, theirs = read_tokenizer(folder), transformers.AutoTokenizer.from_pretrained(folder)
    ours.save(tmp_path / "tokenizer.json")
    again = Tokenizer.load(tmp_path / "tokenizer.json")
    assert again.fingerprint == ours.fingerprint and again.roles == ours.roles and repr(again) == repr(ours)
    write_tokenizer(ours, tmp_path / "out")
    written = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    reread = read_tokenizer(tmp_path / "out")
    for text in TEXTS:
        ids = theirs(text).input_ids
        assert [*ours.begin, *ours.encode(text, allow_special=True), *ours.end] == ids, repr(text)
        assert written(text).input_ids == ids, repr(text)
        assert reread.encode(text, True) == again.encode(text, True) == ours.encode(text, True)
        plain = ours.encode(text)
        assert again.encode(text) == plain
        for skip in (False, True):
            expected = theirs.decode(ids, skip_special_tokens=skip, clean_up_tokenization_spaces=False)
            assert ours.decode(ids, skip_special=skip) == again.decode(ids, skip_special=skip) == expected
    assert ours.vocab_size >= len(theirs) and ours.encode_batch(TEXTS) == [ours.encode(text) for text in TEXTS]


@pytest.mark.parametrize("lower", [True, False])
def test_the_vocab_txt_of_a_bert_gives_the_ids_of_its_tokenizer_json(lower, tmp_path):
    theirs = foreign("bert" if lower else "bert with case")
    names = sorted(theirs.get_vocab(), key=theirs.get_vocab().get)
    (tmp_path / "vocab.txt").write_text("\ufeff" + "\n".join(names) + "\n", encoding="utf-8")
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": lower}))
    ours = read_tokenizer(tmp_path)
    for text in TEXTS:
        assert [*ours.begin, *ours.encode(text, allow_special=True), *ours.end] == theirs.encode(text).ids
    roles = [theirs.token_to_id(name) for name in ("[CLS]", "[SEP]", "[PAD]", "[CLS]", "[SEP]", "[MASK]")]
    assert list(ours.roles.single) == roles and ours.stop_ids == {ours.sep_id}


def test_the_older_files_of_a_gpt2_give_its_ids(tmp_path):
    theirs = foreign("gpt2")
    theirs.model.save(str(tmp_path))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<|endoftext|>"}))
    ours = read_tokenizer(tmp_path)
    for text in TEXTS:
        assert ours.encode(text, allow_special=True) == theirs.encode(text).ids
    assert ours.begin == ours.end == () and ours.bos_id == ours.eos_id == ours.pad_id == theirs.token_to_id(
        "<|endoftext|>"
    )
    assert ours.mask_id is None


def test_the_roles_of_ids_come_from_the_files_and_what_is_missing_takes_the_nearest(tmp_path):
    llama = read_tokenizer(saved(foreign("llama3"), tmp_path / "a"))
    begin, end, turn = (llama.specials[name] for name in ("<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>"))
    assert llama.roles.single == (begin, end, end, begin, end, None)
    assert llama.stop_ids == {end, turn} and (llama.begin, llama.end) == ((begin,), ())
    folder = saved(foreign("smollm"), tmp_path / "b", eos_token={"content": "<|im_end|>"}, chat_template="{{ x }}")
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [2, 7]}))
    small = read_tokenizer(folder)
    assert small.eos_id == small.pad_id == 2 and small.stop_ids == {0, 2, 7} and small.begin == ()
    assert small.chat_template == "{{ x }}" and small.template is None
    small.template = "chatml"
    small.save(tmp_path / "tokenizer.json")
    again = Tokenizer.load(tmp_path / "tokenizer.json")
    assert (again.template, again.chat_template) == ("chatml", "{{ x }}")
    write_tokenizer(small, tmp_path / "c")
    assert transformers.AutoTokenizer.from_pretrained(tmp_path / "c").chat_template == "{{ x }}"
    asked = read_tokenizer(saved(foreign("llama2"), tmp_path / "d", add_bos_token=False, add_eos_token=True))
    assert (asked.begin, asked.end) == ((), (asked.eos_id,))
    write_tokenizer(asked, tmp_path / "e")
    assert transformers.AutoTokenizer.from_pretrained(tmp_path / "e")("x").input_ids[-1] == asked.eos_id


def test_tokens_that_only_the_config_calls_special_are_so(tmp_path):
    content = json.loads(foreign("smollm").to_str())
    content["added_tokens"] = []
    folder = tmp_path / "x"
    folder.mkdir()
    (folder / "tokenizer.json").write_text(json.dumps(content))
    more = {"1": {"content": "<|im_start|>", "special": True}}
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<|im_end|>", "added_tokens_decoder": more}))
    ours = read_tokenizer(folder)
    assert ours.specials == {"<|im_start|>": 1, "<|im_end|>": 2}
    assert ours.encode("<|im_end|>", allow_special=True) == [2] and 2 not in ours.encode("<|im_end|>")


# Words and answers that go on from another text


def test_a_text_that_goes_on_from_another_has_no_space_put_before_it(tmp_path):
    for name in ("llama2", "mistral", "metaspace", "gpt2 with a space"):
        ours = read_tokenizer(saved(foreign(name), tmp_path / name))
        assert ours.encode("the cat") + ours.encode_after(" sat") == ours.encode("the cat sat")
        assert ours.decode(ours.encode("the c") + ours.encode_after("at")).strip() == "the cat"


# Out


def test_our_own_byte_pairs_are_read_by_transformers_with_their_chat(tmp_path):
    write_tokenizer(OWN, tmp_path)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    for text in [*TEXTS, "one<|eos|>two"]:
        ids = [*OWN.begin, *OWN.encode(text, allow_special=True)]
        assert theirs(text).input_ids == ids and theirs.decode(ids) == OWN.decode(ids)
    messages = [{"role": "system", "content": "be"}, {"role": "user", "content": "the cat?"}]
    messages += [{"role": "assistant", "content": "sat"}, {"role": "user", "content": "on"}]
    assert theirs.apply_chat_template(messages)["input_ids"] == OWN.apply_chat(messages)[0]
    asked = theirs.apply_chat_template(messages, add_generation_prompt=True)["input_ids"]
    assert asked == OWN.apply_chat(messages, reply=True)[0]
    again = read_tokenizer(tmp_path)
    assert again.roles.single == OWN.roles.single and again.begin == OWN.begin and again.specials == OWN.specials
    assert all(again.encode(text) == OWN.encode(text) for text in TEXTS)


def test_a_character_tokenizer_has_no_home(tmp_path):
    with pytest.raises(ValueError, match="a character tokenizer has no counterpart in Hugging Face's format"):
        write_tokenizer(Tokenizer.characters("abc"), tmp_path)
    assert not list(tmp_path.iterdir())


# GGUF


def metadata_of(theirs: tokenizers.Tokenizer, **more) -> dict:
    """The fields that llama.cpp's converter writes of a tokenizer."""
    content = json.loads(theirs.to_str())
    names = sorted(theirs.get_vocab(), key=theirs.get_vocab().get)
    types = dict.fromkeys(names, 1) | {f"<0x{byte:02X}>": 6 for byte in range(256) if f"<0x{byte:02X}>" in names}
    types |= {token["content"]: 3 if token["special"] else 4 for token in content["added_tokens"]}
    fields = {"model": "gpt2", "tokens": names, "token_type": [types[name] for name in names]}
    merges = [m if isinstance(m, str) else " ".join(m) for m in content["model"]["merges"]]
    return {f"tokenizer.ggml.{key}": value for key, value in {**fields, "merges": merges, **more}.items()}


@pytest.mark.parametrize(
    ("name", "pre"), [("gpt2", "gpt-2"), ("smollm", "smollm"), ("llama3", "llama-bpe"), ("qwen", "qwen2")]
)
def test_byte_pairs_of_a_gguf_are_those_of_the_tokenizer_that_it_was_made_of(name, pre):
    theirs = foreign(name)
    ours = tokenizer_from_gguf(metadata_of(theirs, pre=pre, eos_token_id=0))
    for text in TEXTS:
        ids = theirs.encode(text, add_special_tokens=False).ids
        assert ours.encode(text, allow_special=True) == ids and ours.decode(ids) == theirs.decode(ids, False)


@pytest.mark.parametrize("name", ["llama2", "gemma"])
def test_scores_of_a_gguf_are_the_merges_of_the_tokenizer_that_it_was_made_of(name):
    theirs = foreign(name)
    vocab, merges = theirs.get_vocab(), json.loads(theirs.to_str())["model"]["merges"]
    scores = dict.fromkeys(sorted(vocab, key=vocab.get), -1e6)
    scores |= {"".join(pair.split(" ") if isinstance(pair, str) else pair): -i for i, pair in enumerate(merges)}
    fields = {"model": "llama", "scores": list(scores.values()), "add_space_prefix": name == "llama2"}
    ids = {"bos_token_id": vocab.get("<s>", vocab.get("<bos>")), "unknown_token_id": vocab["<unk>"]}
    ours = tokenizer_from_gguf(metadata_of(theirs, **fields, **ids))
    assert ours.begin == (ids["bos_token_id"],)
    for text in TEXTS:
        found = theirs.encode(text, add_special_tokens=False).ids
        assert ours.encode(text, allow_special=True) == found, repr(text)
        assert ours.decode(found) == theirs.decode(found, skip_special_tokens=False)


# Refusals


def damaged(change):
    content = json.loads(foreign("smollm").to_str())
    change(content)
    return content


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["model"].update(type="Unigram", vocab=[["a", -1.0]]), "model is of the type 'Unigram'"),
        (lambda c: c["model"].update(type="WordLevel"), "model is of the type 'WordLevel'"),
        (lambda c: c["model"].update(dropout=0.1), "model: dropout is 0.1"),
        (lambda c: c["model"].update(end_of_word_suffix="</w>"), "model: end_of_word_suffix is '</w>'"),
        (lambda c: c["model"].update(unk_token="<none>"), "unk_token is '<none>', which is not in the vocabulary"),
        (lambda c: c["model"]["merges"].append(["Ġ", "nothing"]), "a merge is not of two tokens"),
        (lambda c: c.update(normalizer={"type": "Precompiled"}), "normalizer is of the type 'Precompiled'"),
        (lambda c: c.update(pre_tokenizer={"type": "UnicodeScripts"}), "pre_tokenizer is of the type 'UnicodeScripts'"),
        (lambda c: c.update(decoder={"type": "CTC"}), "decoder is of the type 'CTC'"),
        (lambda c: c.update(post_processor={"type": "Odd"}), "post_processor is of the type 'Odd'"),
        (
            lambda c: c["added_tokens"][1].update(id=9),
            "added_tokens: '<|im_start|>' has the id 9, where 1 was expected",
        ),
        (lambda c: c.pop("model"), "there is no model in it"),
        *[
            (
                lambda c, p=p: c.update(
                    pre_tokenizer={"type": "Split", "pattern": {"Regex": p}, "behavior": "Isolated", "invert": False}
                ),
                "the pattern .* is not known|which is not known",
            )
            for p in (
                r"\bx",
                r"\w+",
                "[a[b]]",
                "(a)",
                r"\p{N}{1,3}+",
                "^a",
                "[a--b]",
                r"\p{Nothing}",
                "a(",
                "[a&&b]",
                r"\h",
            )
        ],
    ],
)
def test_what_is_not_known_is_refused_in_a_sentence_that_names_file_and_part(change, message, tmp_path):
    (tmp_path / "tokenizer.json").write_text(json.dumps(damaged(change)))
    with pytest.raises(ValueError, match=rf"(?s)tokenizer\.json: .*({message})") as error:
        read_tokenizer(tmp_path)
    assert "\n" not in str(error.value)


def test_files_that_are_missing_or_damaged_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"holds neither tokenizer\.json nor vocab\.txt"):
        read_tokenizer(tmp_path)
    (tmp_path / "tokenizer.model").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"tokenizer\.model of SentencePiece is not read"):
        read_tokenizer(tmp_path)
    for text in ("{", "[]", "\x00", '{"model": 3}', '{"model": {"type": "BPE", "vocab": {"a": "x"}, "merges": 3}}'):
        (tmp_path / "tokenizer.json").write_text(text)
        with pytest.raises(ValueError, match=r"tokenizer\.json"):
            read_tokenizer(tmp_path)
    (tmp_path / "tokenizer.json").write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match=r"tokenizer\.json"):
        read_tokenizer(tmp_path)


def test_a_file_with_a_mark_of_byte_order_is_read(tmp_path):
    folder = saved(foreign("gpt2"), tmp_path / "x")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).write_bytes(b"\xef\xbb\xbf" + (folder / name).read_bytes())
    assert read_tokenizer(folder).encode("a cat") == foreign("gpt2").encode("a cat").ids


def test_a_tokenizer_json_with_something_broken_never_ends_in_another_error(tmp_path):
    """A value of a random place of it is replaced, or taken away."""
    draw = random.Random(3)
    original = json.loads(foreign("bert").to_str())
    for name in ("flags", "llama2", "deepseek", "bert"):
        original = foreign(name).to_str()
        for _ in range(60):
            content = json.loads(original)
            node = content
            while True:
                keys = list(node) if isinstance(node, dict) else list(range(len(node)))
                key = draw.choice(keys)
                if not isinstance(node[key], dict | list) or not node[key] or draw.random() < 0.2:
                    break
                node = node[key]
            node[key] = draw.choice([None, -1, 10**9, "x", [], {}, True, 0.5, [1], {"a": 1}])
            (tmp_path / "tokenizer.json").write_text(json.dumps(content))
            try:
                read_tokenizer(tmp_path).encode("a cat 12 [MASK]")
            except ValueError as error:
                assert "tokenizer.json: " in str(error), (key, node[key])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"model": "t5"}, "tokenizer.ggml.model is 't5'"),
        ({"pre": "odd"}, "tokenizer.ggml.pre is 'odd'"),
        ({"merges": None}, "there is no tokenizer.ggml.merges"),
        ({"eos_token_id": 10**6}, "eos_token_id is 1000000, and there are 600 tokens"),
        ({"token_type": [1]}, "not a text and a type for each token"),
        ({"model": "llama"}, "tokenizer.ggml.scores is not a number for each token"),
        ({"tokens": ["a"] * 600}, "holds a token twice"),
    ],
)
def test_metadata_of_a_gguf_that_is_not_known_is_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        tokenizer_from_gguf(metadata_of(foreign("smollm"), **{"pre": "smollm", "eos_token_id": 0, **fields}))


# Real ones


@needs_minilm
def test_minilm_gives_the_ids_of_transformers_by_either_file(tmp_path):
    theirs = transformers.AutoTokenizer.from_pretrained(MINILM)
    ours = read_tokenizer(MINILM)
    shutil.copy(MINILM / "vocab.txt", tmp_path)
    older = read_tokenizer(tmp_path)
    for text in [*TEXTS, *hostile_texts(400, 8, ("[SEP]", "[MASK]"))]:
        ids = theirs(text, truncation=False).input_ids
        assert [*ours.begin, *ours.encode(text, allow_special=True), *ours.end] == ids
        assert older.encode(text, allow_special=True) == ids[1:-1] and ours.encode(text) == older.encode(text)


@needs_smollm2
def test_smollm2_out_of_its_gguf_has_the_vocabulary_and_cuts_digits_one_by_one():
    gguf = pytest.importorskip("gguf")
    fields = {key: field.contents() for key, field in gguf.GGUFReader(SMOLLM2).fields.items()}
    ours = tokenizer_from_gguf(fields)
    assert ours.vocab_size == 49_152 and ours.begin == () and ours.stop_ids == {0, 2}
    vocab = {name: i for i, name in enumerate(fields["tokenizer.ggml.tokens"])}
    theirs = tokenizers.Tokenizer(
        tokenizers.models.BPE(vocab, [tuple(m.split(" ")) for m in fields["tokenizer.ggml.merges"]])
    )
    steps = [tokenizers.pre_tokenizers.Digits(True), tokenizers.pre_tokenizers.ByteLevel(False)]
    theirs.pre_tokenizer = tokenizers.pre_tokenizers.Sequence(steps)
    theirs.decoder = tokenizers.decoders.ByteLevel()
    theirs.add_special_tokens([name for name, i in vocab.items() if fields["tokenizer.ggml.token_type"][i] == 3])
    for text in [*TEXTS, *hostile_texts(400, 9, ("<|im_end|>", "<|endoftext|>"))]:
        ids = theirs.encode(text).ids
        assert ours.encode(text, allow_special=True) == ids and ours.decode(ids) == theirs.decode(ids, False)
