"""`prepare` as people use it: text in, shards out, a model trained on them; and what it says to what is wrong."""

import gzip
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from minillm.cli import main
from minillm.data import Shards, tokenize
from minillm.hub import load_tokenizer, source
from minillm.text import Tokenizer, read_documents

SMALL = "--depth 1 --width 16 --heads 2 --max-steps 4 --eval-every 2 --device cpu --dtype fp32".split()
OPTIONS = "--vocab-size 300 --workers 1 --valid-fraction 0.2".split()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with texts of three kinds."""
    monkeypatch.chdir(tmp_path)
    texts = [f"the {i % 7} low tales of {i} lower films, and {i * i} more" for i in range(90)]
    corpus = tmp_path / "corpus" / "more"
    corpus.mkdir(parents=True)
    (corpus.parent / "a.txt").write_text("\n\n".join(texts[:30]))
    (corpus / "b.jsonl").write_text("\n".join(json.dumps({"text": text}) for text in texts[30:60]))
    (corpus / "c.txt.gz").write_bytes(gzip.compress("\n\n".join(texts[60:]).encode()))
    (corpus / "picture.png").write_bytes(b"\x89PNG")
    return corpus.parent


def prepare(*words, data="corpus", out="shards", options=OPTIONS):
    return main(["prepare", "--data", data, "--out", out, *options, *words])


def test_a_folder_becomes_shards_that_pretrain_and_mlm_learn_from_and_resume(folder, capsys):
    assert prepare() == 0
    said = capsys.readouterr().out
    assert "3 files" in said and "train: " in said and "pretrain --data shards" in said
    assert sorted(path.name for path in (folder.parent / "shards").iterdir()) == [
        "manifest.json", "tokenizer.json", "train-00000.safetensors", "valid-00000.safetensors",
    ]  # fmt: skip
    manifest = json.loads((folder.parent / "shards" / "manifest.json").read_text())
    assert sum(part["documents"] for part in manifest["parts"].values()) == 90
    assert [file["name"] for file in manifest["made"]["files"]] == ["a.txt", "more/b.jsonl", "more/c.txt.gz"]
    assert main(["pretrain", "--data", "shards", "--out", "p", "--context", "16", *SMALL]) == 0
    for out, *more in (["m"], ["n", "--next-sentence"]):
        assert main(["mlm", "--data", "shards", "--out", out, *more, "--context", "16", *SMALL]) == 0
    assert load_tokenizer(source("p")).fingerprint == manifest["tokenizer"]
    capsys.readouterr()
    assert main(["pretrain", "--data", "shards", "--out", "q", "--from", "p", *SMALL[6:]]) == 0
    assert main(["pretrain", "--resume", "--out", "q"]) == 0 and "is finished" in capsys.readouterr().out


def test_a_run_on_shards_has_the_losses_of_one_on_the_same_documents(folder, monkeypatch):
    assert prepare("--valid", "corpus/a.txt", data="corpus/more/b.jsonl", options="--vocab-size 300".split()) == 0
    assert main(["pretrain", "--data", "shards", "--out", "a", "--context", "16", *SMALL]) == 0
    more = ["--valid", "corpus/a.txt", "--tokenizer", "shards/tokenizer.json"]
    assert main(["pretrain", "--data", "corpus/more/b.jsonl", *more, "--out", "b", "--context", "16", *SMALL]) == 0
    one, other = (json.loads((folder.parent / name / "metrics.json").read_text()) for name in "ab")
    for key in ("val_loss", "bigram_loss", "tokens"):
        assert one[key] == other[key]
    logs = [(folder.parent / name / "log.jsonl").read_text() for name in "ab"]
    assert logs[0] == logs[1]


def test_the_tokenizer_of_a_run_is_taken_and_its_shards_go_with_that_run_alone(folder, capsys):
    words = "pretrain --data corpus/a.txt --out p --context 16 --vocab-size 280".split()
    assert main([*words, *SMALL]) == 0
    assert prepare("--from", "p", options=["--workers", "1"]) == 0
    own = load_tokenizer(source("p"))
    assert Shards("shards").tokenizer.fingerprint == own.fingerprint
    assert main(["pretrain", "--data", "shards", "--from", "p", "--out", "q", *SMALL[6:]]) == 0
    assert prepare(out="others") == 0
    capsys.readouterr()
    assert main(["pretrain", "--data", "others", "--from", "p", "--out", "r", *SMALL[6:]]) == 2
    said = capsys.readouterr().err
    assert "made with another tokenizer than that of p" in said and not os.path.exists("r/config.json")


def test_a_file_to_measure_on_is_kept_apart_and_its_copies_are_not_learned_from(folder):
    both = folder.parent / "both.txt"
    both.write_text((folder / "a.txt").read_text().upper() + "\n\na new tale")
    options = "--vocab-size 300 --workers 1 --dedup exact".split()
    assert prepare("--valid", "corpus/a.txt", data="both.txt", options=options) == 0
    shards = Shards("shards")
    assert shards.part("valid")["documents"] == 30 and shards.part("train")["documents"] == 1
    right = tokenize(read_documents(folder / "a.txt"), shards.tokenizer)
    assert shards.tokens("valid").ids[:].equal(right.ids.long())


def test_characters_are_taken_from_all_of_the_text_and_a_pattern_names_files(folder):
    (folder / "z.txt").write_text("an \u017f at the very end\n\nof all")
    assert prepare("--tokenizer", "characters", data="corpus/*.txt", options=["--workers", "1"]) == 0
    assert "\u017f" in Shards("shards").tokenizer.decode(range(len(Shards("shards").tokenizer)))
    assert len(Shards("shards").manifest["made"]["files"]) == 2


@pytest.mark.parametrize(
    "words, said",
    [
        ([], "prepare needs --out"),
        (["--out", "o"], "prepare needs --data"),
        (["--data", "nowhere.txt", "--out", "o"], "nowhere.txt: there is no such file"),
        (["--data", "corpus", "--out", "corpus/a.txt"], "is a file; name a folder"),
        (["--data", "corpus", "--out", "corpus"], "there is something in this folder already"),
        (["--data", "corpus", "--out", "o", "--resume"], "no work on shards was begun in o"),
        (["--data", "corpus", "--out", "o", "--from", "x", "--sample", "3"], "--sample has no use here"),
        (["--data", "corpus", "--out", "o", "--valid-fraction", "1"], "must lie between 0 and 1"),
        (["--data", "corpus", "--out", "o", "--workers", "-1"], "there must be at least one"),
        (["--data", "x.csv", "--out", "o"], "expected .txt, .jsonl"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence_and_leaves_nothing(folder, capsys, words, said):
    (folder.parent / "x.csv").write_text("text\na\n")
    assert main(["prepare", *words]) == 2
    assert said in capsys.readouterr().err and not (folder.parent / "o").exists()


def test_flags_that_prepare_has_decided_a_folder_of_text_and_a_damaged_shard_are_refused(folder, capsys):
    assert prepare() == 0
    shard = folder.parent / "shards" / "train-00000.safetensors"
    shard.write_bytes(shard.read_bytes()[:-1] + b"?")
    for words, said in (
        (["--data", "shards"], "train-00000.safetensors: the checksum does not match"),
        (["--data", "shards", "--tokenizer", "characters"], "--tokenizer has no use here: shards holds shards"),
        (["--data", "corpus"], "this is a folder: name one file in it, or make shards of all by prepare"),
    ):
        assert main(["pretrain", *words, "--out", "p", *SMALL]) == 2
        assert said in capsys.readouterr().err


def test_going_on_needs_the_same_text_and_flags(folder, capsys):
    assert prepare(out="whole") == 0
    os.mkdir("shards")
    begun = {"settings": {}, "files": []}
    (folder.parent / "shards" / "progress.json").write_text(json.dumps(begun))
    assert prepare() == 2 and "work was begun there; go on with --resume" in capsys.readouterr().err
    stop_after_the_tokenizer(folder)
    assert main(["prepare", "--resume", "--out", "stopped", "--seed", "3"]) == 2
    assert "where --seed is 0, not 3" in capsys.readouterr().err
    assert main(["prepare", "--resume", "--out", "stopped"]) == 0
    assert all(path.read_bytes() == (Path("whole") / path.name).read_bytes() for path in Path("stopped").iterdir())
    stop_after_the_tokenizer(folder)
    (folder / "a.txt").write_text("other text\n\nand more")
    assert main(["prepare", "--resume", "--out", "stopped"]) == 2
    assert "a.txt is not the file that" in capsys.readouterr().err


def stop_after_the_tokenizer(folder):
    """What a run leaves that is stopped before its first shard."""
    out = folder.parent / "stopped"
    for path in out.glob("*"):
        path.unlink()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("minillm.data.sharding.Sharding.run", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        assert prepare(out="stopped") == 130
    assert {path.name for path in out.iterdir()} == {"progress.json", "tokenizer.json"}


def test_workers_end_with_the_process_that_started_them(folder):
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-c", SLOW, "prepare", "--data", "corpus", "--out", "killed", "--workers", "2"]
    child = subprocess.Popen([*command, "--vocab-size", "300"], start_new_session=True, env=env)
    while not (folder.parent / "working").exists():
        assert child.poll() is None
        time.sleep(0.05)
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    for _ in range(100):
        try:
            os.killpg(child.pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    os.killpg(child.pid, signal.SIGKILL)
    raise AssertionError("workers are left")


SLOW = """
import sys, time
from pathlib import Path
from minillm.cli import main
from minillm.data import sharding
def slow(worker, block):
    Path("working").touch()
    time.sleep(60)
sharding.Worker.__call__ = slow
main(sys.argv[1:])
"""


def test_text_that_is_not_to_be_had_and_one_document_are_refused(folder, capsys):
    (folder.parent / "one.txt").write_text("only one document")
    assert prepare(data="one.txt") == 2
    assert "no document is left for" in capsys.readouterr().err
    assert Tokenizer.load("shards/tokenizer.json")
