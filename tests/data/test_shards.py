"""Shards against the same text tokenized at once, for any number of workers, kills and sizes of a shard."""

import hashlib
import json

import numpy as np
import pytest
import torch

from minillm.data import (
    Documents,
    Options,
    Padded,
    PaddedPieces,
    Pieces,
    Sharding,
    Shards,
    Source,
    Windows,
    encoder_frame,
    text_example,
    tokenize,
)
from minillm.data.batches import window_table
from minillm.text import Tokenizer, read_documents

WORDS = "a low tale is lower than the lowest tale of all".split()


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "a.txt"
    draw = np.random.default_rng(0)
    path.write_text("\n\n".join(" ".join(draw.choice(WORDS, draw.integers(1, 60))) + f" {i}" for i in range(400)))
    return path


@pytest.fixture(scope="module")
def tokenizer(text):
    return Tokenizer.train(read_documents(text), 300)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr("minillm.text.blocks.read_blocks.__defaults__", (0, 1, 2000))


def make(folder, text, tokenizer, workers=1, stop=None, **options):
    folder.mkdir(exist_ok=True)
    tokenizer.save(folder / "tokenizer.json")
    (folder / "progress.json").exists() or (folder / "progress.json").write_text("{}")
    sharding = Sharding(folder, [Source(text, text.name)], Options(**{"valid_fraction": 0.1, **options}), {})
    sharding.go_on()

    def progress(place):
        if stop is not None and place >= stop:
            raise KeyboardInterrupt

    return sharding.run(workers, progress, {})


def files(folder):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def sorted_documents(text, tokenizer, shards):
    """The documents of the text on each side, found by the ids of those that were chosen for validation."""
    valid = {tuple(ids) for ids in Documents(shards.tokens("valid"), tokenizer)}
    documents = read_documents(text)
    return [[doc for doc in documents if (tuple(tokenizer.encode(doc)) in valid) == side] for side in (False, True)]


@pytest.mark.parametrize("shard_tokens", [500, 10**9])
def test_shards_are_the_tokens_of_the_whole_text_whatever_their_size(tmp_path, text, tokenizer, shard_tokens):
    manifest = make(tmp_path / "s", text, tokenizer, shard_tokens=shard_tokens)
    shards = Shards(tmp_path / "s")
    for part, documents in zip(("train", "valid"), sorted_documents(text, tokenizer, shards)):
        found, right = shards.tokens(part), tokenize(documents, tokenizer)
        assert torch.equal(found.ids[:], right.ids.long()) and torch.equal(found.starts, right.starts)
        assert found.bos_id == right.bos_id and torch.equal(found.targets(), right.targets())
        assert torch.equal(found.targets(9, 700), right.targets()[9:700])
        said = manifest["parts"][part]
        assert said["documents"] == len(documents) and said["tokens"] == len(right)
        assert said["characters"] == sum(map(len, documents))
        assert (len(said["shards"]) > 3) == (shard_tokens == 500)
        mine, theirs = Windows(found, 40, 4, seed=3), Windows(right, 40, 4, seed=3)
        for one, other in zip(mine, theirs, strict=True):
            assert one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def test_a_share_of_the_documents_is_for_validation_and_copies_are_on_one_side(tmp_path, text, tokenizer):
    twice = tmp_path / "twice.txt"
    twice.write_text(text.read_text() + "\n\n" + text.read_text())
    parts = make(tmp_path / "s", twice, tokenizer)["parts"]
    assert 40 < parts["valid"]["documents"] < 140  # of 800, 80 expected
    shards = Shards(tmp_path / "s")
    train, valid = ({tuple(ids) for ids in Documents(shards.tokens(part), tokenizer)} for part in ("train", "valid"))
    assert not train & valid
    once = make(tmp_path / "once", twice, tokenizer, dedup="exact")
    assert once["left_out"]["copies"] == 400
    assert sum(once["parts"][part]["documents"] for part in ("train", "valid")) == 400


def test_any_number_of_workers_makes_the_same_bits(tmp_path, text, tokenizer):
    for name, workers in (("one", 1), ("two", 2)):
        make(tmp_path / name, text, tokenizer, workers, shard_tokens=900, dedup="near", clean=True)
    assert files(tmp_path / "one") == files(tmp_path / "two")


@pytest.mark.parametrize("dedup", ["none", "exact", "near"])
def test_what_is_stopped_anywhere_goes_on_to_the_same_bits(tmp_path, text, tokenizer, dedup):
    make(tmp_path / "whole", text, tokenizer, shard_tokens=900, dedup=dedup)
    size = text.stat().st_size
    for number, stops in enumerate(([size // 2], [1, size // 3, size // 3 + 1, size])):
        folder = tmp_path / f"stopped{number}"
        for stop in stops:
            with pytest.raises(KeyboardInterrupt):
                make(folder, text, tokenizer, shard_tokens=900, dedup=dedup, stop=stop)
        make(folder, text, tokenizer, shard_tokens=900, dedup=dedup)
        assert files(folder) == files(tmp_path / "whole")


def test_a_vocabulary_beyond_16_bits_is_stored_in_32(tmp_path, text):
    many = Tokenizer.characters("".join(map(chr, range(32, 127))) + "".join(map(chr, range(0xE000, 0xF900))) + "\n")
    wide = Tokenizer.characters("".join(chr(i) for i in range(32, 0x13000) if not 0xD800 <= i < 0xE000) + "\n")
    for tokenizer, name in ((many, "uint16"), (wide, "uint32")):
        make(tmp_path / name, text, tokenizer)
        tokens = Shards(tmp_path / name).tokens("train")
        assert {str(ids.dtype) for ids in tokens.ids.ids} == {name}
        documents, _ = sorted_documents(text, tokenizer, Shards(tmp_path / name))
        assert torch.equal(tokens.ids[:], tokenize(documents, tokenizer).ids.long())


def test_a_damaged_missing_or_foreign_shard_is_named(tmp_path, text, tokenizer):
    folder = tmp_path / "s"
    make(folder, text, tokenizer, shard_tokens=900)
    path = folder / "train-00001.safetensors"
    whole = path.read_bytes()
    for damaged, said in (
        (whole[:-1] + bytes([whole[-1] ^ 1]), "the checksum does not match"),
        (whole[:-40], "not a whole safetensors file"),
        (None, "there is no such file"),
        ((folder / "train-00002.safetensors").read_bytes(), "is not the shard that"),
    ):
        path.unlink()
        if damaged is not None:
            path.write_bytes(damaged)
        with pytest.raises(ValueError, match=f"train-00001.safetensors.*{said}"):
            Shards(folder).tokens("train")
        path.write_bytes(whole)
    assert len(Shards(folder).tokens("train"))


def test_another_tokenizer_an_unfinished_folder_and_a_foreign_manifest_are_refused(tmp_path, text, tokenizer):
    folder = tmp_path / "s"
    make(folder, text, tokenizer)
    with pytest.raises(ValueError, match="made with another tokenizer than that of runs/x"):
        Shards(folder).fits(Tokenizer.characters("abc"), "runs/x")
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**manifest, "version": 0}))
    with pytest.raises(ValueError, match="is not of the shards of this minillm"):
        Shards(folder)
    (folder / "manifest.json").unlink()
    with pytest.raises(ValueError, match="not finished: go on with prepare --resume"):
        Shards(folder)


def test_ids_of_several_files_are_indexed_as_those_of_one_row(tmp_path, text, tokenizer):
    make(tmp_path / "s", text, tokenizer, shard_tokens=300)
    ids = Shards(tmp_path / "s").tokens("train").ids
    row = torch.cat([torch.from_numpy(one.astype(np.int64)) for one in ids.ids])
    generator = torch.Generator().manual_seed(0)
    for _ in range(200):
        places = torch.randint(len(row), (3, 5), generator=generator)
        start, stop = places[0, :2].tolist()
        assert torch.equal(ids[places], row[places]) and torch.equal(ids[start:stop], row[start:stop])
    assert torch.equal(ids[-7:], row[-7:]) and torch.equal(ids[:-1], row[:-1])


def test_pieces_of_documents_are_those_cut_by_hand(tmp_path, text, tokenizer):
    make(tmp_path / "s", text, tokenizer, shard_tokens=900)
    shards = Shards(tmp_path / "s")
    documents, frame = sorted_documents(text, tokenizer, shards)[0], encoder_frame(tokenizer)
    encoded = tokenizer.encode_batch(documents)
    cut = [ids[at : at + 10] for ids in encoded for at in range(0, max(len(ids), 1), 10)]
    examples = [text_example(ids, frame, 12) for ids in cut if ids]
    lazy = Documents(shards.tokens("train"), tokenizer)
    assert list(lazy) == encoded
    pieces = Pieces(lazy, 10, lambda ids: text_example(ids, frame, 12), around=2)
    mine, theirs = PaddedPieces(pieces, tokenizer.pad_id, 4, seed=1), Padded(examples, tokenizer.pad_id, 4, seed=1)
    for one, other in zip(mine, theirs, strict=True):
        assert all(torch.equal(one[key], other[key]) for key in other)


@pytest.mark.parametrize("world", [1, 2, 3])
def test_processes_share_the_batches_of_one_and_stand_at_one_place(text, tokenizer, world):
    tokens = tokenize(read_documents(text)[:20], tokenizer)
    alone = Windows(tokens, 16, 4, seed=5).forever()
    right = [next(alone)["input_ids"] for _ in range(12 * world)]
    ranks = [Windows(tokens, 16, 4, seed=5) for _ in range(world)]
    streams = []
    for rank, batches in enumerate(ranks):
        batches.rank, batches.world = rank, world
        streams.append(batches.forever())
    for step in range(12):
        for rank, stream in enumerate(streams):
            assert torch.equal(next(stream)["input_ids"], right[step * world + rank])
        assert len({json.dumps(batches.state_dict()) for batches in ranks}) == 1
    fewer = Windows(tokens, 16, 4, seed=5)
    fewer.load_state_dict(ranks[0].state_dict())
    assert torch.equal(next(fewer.forever())["input_ids"], next(alone)["input_ids"])


def test_a_table_of_windows_is_the_same_from_a_tensor_that_is_shared():
    starts = torch.tensor([0, 3, 7])
    assert torch.equal(window_table(9, 4, starts), torch.tensor([[0, 1], [3, 5], [4, 8]]))
    assert window_table(1, 4, starts[:1]).shape == (0, 2)
