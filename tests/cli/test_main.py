"""The command line: flags from dataclasses, and one clear sentence with exit status 2 for whatever is wrong."""

import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from minillm.cli import main
from minillm.cli.flags import change, fields_of, flag_name
from minillm.cli.main import COMMANDS
from minillm.cli.opening import restore_settings, saved_settings
from minillm.cli.sft import SFTSettings
from minillm.hub import load_tokenizer
from minillm.system import load_file
from minillm.text import Tokenizer
from minillm.training import RunFolder

ROOT = Path(__file__).resolve().parents[2]
TINY = "--depth 1 --width 16 --heads 1 --context 16 --batch-size 4 --max-steps 6 --vocab-size 300 --samples 2"
TINY = [*TINY.split(), "--device", "cpu", "--dtype", "fp32"]


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "my.txt"
    path.write_text("\n\n".join(f"The hen number {i} sat by the pond and sang of the moon." for i in range(60)))
    return path


@pytest.fixture
def run(text, tmp_path, capsys):
    out = tmp_path / "run"
    assert main(["pretrain", "--data", str(text), "--out", str(out), *TINY]) == 0
    capsys.readouterr()
    return out


def sentence(arguments, capsys) -> str:
    """The one line that a failing command prints."""
    assert main([str(a) for a in arguments]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("train.py: ")
    return error


def test_a_run_leaves_the_whole_folder(run):
    names = "config.json last log.jsonl loss.png metrics.json model.safetensors samples.txt tokenizer.json"
    assert sorted(path.name for path in run.iterdir()) == names.split()
    metrics = json.loads((run / "metrics.json").read_text())
    keys = "stage val_loss bigram_loss floor steps tokens seconds tokens_per_second peak_memory_bytes parameters"
    assert set(keys.split()) | {"trainable_parameters"} <= set(metrics)
    assert metrics["stage"] == "pretrain" and metrics["steps"] == 6 and metrics["floor"] is None
    assert 0 < metrics["val_loss"] < 7 and metrics["parameters"] == metrics["trainable_parameters"]
    records = RunFolder(run).records()
    assert [r["step"] for r in records] == [1, 2, 3, 4, 5, 6] and "val_loss" in records[-1]
    assert (run / "loss.png").read_bytes()[:4] == b"\x89PNG"


KINDS = ["--model lstm", "--recipe gpt2", "--recipe llama", "--tokenizer characters", "--documents file"]
KINDS += ["--dropout 0.1", "--optimizer adamw --accumulate 2"]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_model_trains_and_writes(text, tmp_path, capsys, kind):
    out = tmp_path / "run"
    assert main(["pretrain", "--data", str(text), "--out", str(out), *TINY, *kind.split()]) == 0
    flags = ["--n", "3", "--out", str(tmp_path / "t.jsonl"), "--prompt", "The"]
    assert main(["generate", "--from", str(out), *flags]) == 0
    lines = [json.loads(line) for line in (tmp_path / "t.jsonl").read_text().splitlines()]
    assert len(lines) == 3 and all(set(line) == {"prompt", "text"} and line["prompt"] == "The" for line in lines)


def test_the_bigram_stage_trains_a_table(text, tmp_path, capsys):
    out = tmp_path / "bigram"
    assert main(["bigram", "--data", str(text), "--out", str(out), *TINY, "--max-steps", "60"]) == 0
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["stage"] == "bigram" and metrics["val_loss"] < metrics["bigram_loss"] + 1


def test_eval_scores_every_token_of_every_document_once(run, tmp_path, capsys):
    documents = ["The hen sat by a pond.", "The moon sang."]  # short enough to be read whole
    (tmp_path / "v.txt").write_text("\n\n".join(documents))
    flags = ["--from", run, "--data", tmp_path / "v.txt", "--dtype", "fp32", "--out", tmp_path / "e.json"]
    assert main(["eval", *map(str, flags)]) == 0
    scores = json.loads((tmp_path / "e.json").read_text())
    assert scores["tokens"] == sum(len(ids) + 1 for ids in load_tokenizer(RunFolder(run)).encode_batch(documents))
    assert scores["perplexity"] == pytest.approx(math.exp(scores["loss"]))
    assert scores["bits_per_byte"] == pytest.approx(scores["loss"] * scores["tokens"] / 36 / math.log(2))


def test_text_from_the_middle_of_generation_is_the_same_for_one_seed(run, capsys):
    outputs = []
    for seed in ("1", "1", "2"):
        main(["generate", "--from", str(run), "--seed", seed])
        outputs.append(capsys.readouterr().out)
    assert outputs[0] == outputs[1] != outputs[2]


def test_further_training_goes_on_from_a_run(run, text, tmp_path, capsys):
    flags = ["--max-steps", "3", "--context", "16", "--batch-size", "4", "--samples", "1", "--dtype", "fp32"]
    assert main(["pretrain", "--data", str(text), "--from", str(run), "--out", str(tmp_path / "b"), *flags]) == 0
    a, b = RunFolder(run), RunFolder(tmp_path / "b")
    assert b.config()["tokenizer"] == a.config()["tokenizer"]
    assert b.records()[0]["loss"] < 5.6  # ln 300 is 5.7: it did not start from nothing


@pytest.mark.attack  # with the other kills; seconds of starting
def test_a_killed_run_resumes_bit_for_bit(text, tmp_path):
    """kill -9 in the middle, --resume, and every file that matters is the one of an unbroken run."""
    command = [sys.executable, str(ROOT / "train.py"), "pretrain", "--data", str(text), *TINY]
    command += ["--max-steps", "40", "--eval-every", "5", "--dropout", "0.1", "--batch-size", "8"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    subprocess.run([*command, "--out", str(tmp_path / "a")], check=True, capture_output=True, env=environment)
    killed = subprocess.Popen(
        [*command, "--out", str(tmp_path / "b")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment
    )
    deadline = time.time() + 60
    while not (tmp_path / "b/last/training.safetensors").exists() and time.time() < deadline:
        time.sleep(0.005)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    resume = [sys.executable, str(ROOT / "train.py"), "pretrain", "--resume", "--out", str(tmp_path / "b")]
    subprocess.run(resume, check=True, capture_output=True, env=environment)
    for name in ("model.safetensors", "log.jsonl", "samples.txt", "tokenizer.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name
    (a, x), (b, y) = (load_file(RunFolder(tmp_path / name).last_file) for name in "ab")
    assert all(torch.equal(a[k], b[k]) for k in a) and a.keys() == b.keys()
    x, y = json.loads(x["state"]), json.loads(y["state"])
    x["history"].pop("seconds"), y["history"].pop("seconds")
    assert x == y


BAD_DATA = {
    "missing": (None, "there is no such file"),
    "empty": (b"", "empty"),
    "binary": (b"\x89PNG\0\0\0\x01" * 50, "binary"),
    "latin-1": ("Stra\u00dfe ".encode("latin-1") * 50, "byte offset 4"),
    "one word": (b"hen", "one document"),
    "blank": (b" \n\n \n", "my.txt"),
}


@pytest.mark.parametrize("name", BAD_DATA)
def test_unusable_text_is_one_sentence_and_leaves_nothing(name, tmp_path, capsys):
    content, words = BAD_DATA[name]
    path = tmp_path / "my.txt"
    if content is not None:
        path.write_bytes(content)
    message = sentence(["pretrain", "--data", path, "--out", tmp_path / "run", *TINY], capsys)
    assert words in message and "my.txt" in message
    assert not (tmp_path / "run").exists()


def test_a_text_shorter_than_one_window_is_refused(tmp_path, capsys):
    path = tmp_path / "my.txt"
    path.write_text("A hen.\n\nA fox.")
    message = sentence(["pretrain", "--data", path, "--out", tmp_path / "run", *TINY], capsys)
    assert "my.txt, the part to learn from: the text has" in message and "one window needs 17" in message
    assert not (tmp_path / "run").exists()


def test_malformed_jsonl_is_named_by_line(tmp_path, capsys):
    path = tmp_path / "my.jsonl"
    path.write_text('{"text": "a"}\n{"text": "b"}\n{"text": \n')
    assert "my.jsonl:3" in sentence(["pretrain", "--data", path, "--out", tmp_path / "run"], capsys)
    path.write_text('{"text": "a"}\n{"words": "b"}\n')
    assert "my.jsonl:2" in sentence(["pretrain", "--data", path, "--out", tmp_path / "run"], capsys)


@pytest.mark.parametrize("arguments", [["nosuchstage"], ["pretrain", "--nosuchflag"], ["pretrain", "--depth", "deep"],
                                       ["pretrain", "--recipe", "gpt9"]])  # fmt: skip
def test_unknown_stages_flags_and_values_exit_with_two(arguments, capsys):
    with pytest.raises(SystemExit) as exit:
        main(arguments)
    assert exit.value.code == 2 and "error:" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--device", "cuda"], "no CUDA device"),
        (["--device", "abacus"], "unknown device"),
        (["--dtype", "fp8"], "unknown dtype"),
        (["--width", "17", "--heads", "4"], "width 17"),
        (["--vocab-size", "10"], "10"),
        (["--valid-fraction", "1.5"], "1.5"),
        (["--tokenizer", "nosuch.json"], "nosuch.json"),
        (["--dropout", "2"], "dropout is 2"),
        (["--batch-size", "-3"], "batch"),
    ],
)
def test_unusable_settings_are_one_sentence_and_leave_nothing(flags, words, text, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    message = sentence(["pretrain", "--data", text, "--out", tmp_path / "run", *TINY, *flags], capsys)
    assert words in message and not (tmp_path / "run").exists()


def test_a_folder_that_holds_a_run_is_not_overwritten(run, text, tmp_path, capsys):
    before = (run / "model.safetensors").read_bytes()
    assert "already holds a run" in sentence(["pretrain", "--data", text, "--out", run, *TINY], capsys)
    assert before == (run / "model.safetensors").read_bytes()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("x")
    assert "not empty" in sentence(["pretrain", "--data", text, "--out", tmp_path / "full", *TINY], capsys)
    thesis = tmp_path / "full" / "thesis.tex"
    assert "this is a file" in sentence(["pretrain", "--data", text, "--out", thesis, *TINY], capsys)
    assert "would overwrite" in sentence(["pretrain", "--data", text, "--out", text, *TINY], capsys)


def test_resuming_with_other_settings_another_text_or_no_run_is_refused(run, text, tmp_path, capsys):
    assert "--batch-size is 4, not 5" in sentence(["pretrain", "--resume", "--out", run, "--batch-size", "5"], capsys)
    (run / "metrics.json").unlink()  # as if it were not finished
    text.write_text("\n\n".join(f"Quite another text, number {i}, stands here." for i in range(60)))
    assert "not the one that this run began with" in sentence(["pretrain", "--resume", "--out", run], capsys)
    assert "holds no run: there is no such folder" in sentence(["generate", "--from", tmp_path / "nothing"], capsys)
    assert "holds no run" in sentence(["pretrain", "--resume", "--out", tmp_path / "nothing"], capsys)


def test_texts_are_not_written_into_a_folder(run, tmp_path, capsys):
    for stage in ("generate", "eval"):
        assert "is a folder: name a file in it" in sentence([stage, "--from", run, "--out", tmp_path], capsys)
        message = sentence([stage, "--from", run, "--out", run / "config.json" / "x"], capsys)
        assert "config.json is a file, and nothing can be written into it; name a folder" in message


@pytest.mark.parametrize("stage", ["generate", "eval"])
def test_a_seed_that_is_too_large_is_refused_where_nothing_is_trained_too(run, capsys, stage):
    flags = ["--from", run, "--seed", "99999999999999999999"]
    assert "the seed is 99999999999999999999: it must lie between" in sentence([stage, *flags], capsys)


def test_another_tokenizer_is_noticed(run, capsys):
    Tokenizer.characters("abc").save(run / "tokenizer.json")
    assert "is not the tokenizer that this model was trained with" in sentence(["generate", "--from", run], capsys)


@pytest.mark.parametrize("damage", ["truncate", "flip", "delete"])
@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json"])
def test_a_damaged_run_is_noticed(run, name, damage, capsys):
    path = run / name
    whole = path.read_bytes()
    if damage == "delete":
        path.unlink()
    elif damage == "truncate":
        path.write_bytes(whole[: len(whole) // 2])
    else:
        middle = len(whole) // 2
        path.write_bytes(whole[:middle] + bytes([whole[middle] ^ 0x40]) + whole[middle + 1 :])
    if (name, damage) == ("config.json", "flip"):
        path.write_text(path.read_text().replace('"layers"', '"lairs"') if '"layers"' in path.read_text() else "{}")
    message = sentence(["generate", "--from", run], capsys)
    assert str(run) in message


def test_a_context_longer_than_the_models_is_refused(run, text, tmp_path, capsys):
    flags = ["--from", run, "--context", "999"]
    assert "--context 999 is longer than the 16" in sentence(["eval", *flags, "--data", text], capsys)
    message = sentence(["pretrain", *flags, "--data", text, "--out", tmp_path / "b"], capsys)
    assert "--context 999 is longer than the 16" in message and not (tmp_path / "b").exists()
    assert "context is 16" in sentence(["generate", "--from", run, "--prompt", "hen " * 50], capsys)


def test_a_full_disk_is_one_sentence(text, tmp_path, capsys, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("minillm.system.files.os.fsync", full)
    message = sentence(["pretrain", "--data", text, "--out", tmp_path / "run", *TINY], capsys)
    assert "the disk is full" in message
    assert not [p for p in (tmp_path / "run").rglob("*") if p.is_file()]


def test_a_gpu_out_of_memory_is_one_sentence(text, tmp_path, capsys, monkeypatch):
    def full(*args, **kwargs):
        raise torch.OutOfMemoryError("CUDA out of memory.\nLong story")

    monkeypatch.setattr("minillm.cli.life.fit", full)
    message = sentence(["pretrain", "--data", text, "--out", tmp_path / "run", *TINY], capsys)
    assert "out of memory" in message and "--batch-size" in message


def test_every_stage_explains_every_flag(capsys):
    for name, command in COMMANDS.items():
        with pytest.raises(SystemExit) as exit:
            main([name, "--help"])
        shown = capsys.readouterr().out
        assert exit.value.code == 0 and command.help.split("\n")[0] in shown
        for _, field, _ in fields_of(command.settings):
            assert flag_name(field.name) in shown and field.metadata["help"], field.name


def test_no_setting_of_a_command_has_the_name_of_another_and_groups_have_headings(capsys):
    for name, command in COMMANDS.items():
        names = [field.name for _, field, _ in fields_of(command.settings)]
        assert len(set(names)) == len(names), name
    with pytest.raises(SystemExit):
        main(["sft", "--help"])
    shown = capsys.readouterr().out
    for heading in ("data:", "task:", "training:", "what learns:", "adapter:", "run:", "machine:"):
        assert f"\n{heading}\n" in shown, heading


def test_a_setting_is_changed_in_its_group_and_comes_back_from_json():
    settings = change(SFTSettings(), rank=3, learning_rate=0.5, from_=Path("/a"))
    assert settings.method.adapter.rank == 3 and settings.training.learning_rate == 0.5
    assert settings.training.batch_size == SFTSettings().training.batch_size
    assert restore_settings(SFTSettings, json.loads(json.dumps(saved_settings(settings)))) == settings
    with pytest.raises(ValueError, match=r"settings of another version of minillm \(colour\)"):
        restore_settings(SFTSettings, {"colour": "red"})


def test_an_error_that_nobody_expected_is_one_sentence_and_debug_shows_where(run, capsys, monkeypatch):
    def broken(*args, **kwargs):
        raise KeyError("lost")

    monkeypatch.setattr("minillm.cli.generate.write", broken)
    assert main(["generate", "--from", str(run)]) == 1
    said = capsys.readouterr().err
    assert "did not expect (KeyError: 'lost'): --debug" in said and "Traceback" not in said
    assert main(["generate", "--from", str(run), "--debug"]) == 1
    assert "Traceback" in capsys.readouterr().err
    monkeypatch.setenv("MINILLM_DEBUG", "1")
    assert main(["generate", "--from", str(run), "--n", "0"]) == 2
    assert "ask for at least one text" in capsys.readouterr().err


def test_chat_continues_what_is_typed(run, capsys, monkeypatch):
    lines = iter(["The hen", "", "The moon", "quit"])
    monkeypatch.setattr("builtins.input", lambda prompt: next(lines))
    assert main(["chat", "--from", str(run), "--max-new-tokens", "5"]) == 0
    assert len(capsys.readouterr().out.strip().splitlines()) >= 3


def test_settings_that_nothing_can_be_drawn_with_are_refused_before_a_line_is_typed(run, capsys, monkeypatch):
    monkeypatch.setattr("builtins.input", lambda prompt: pytest.fail("a line was asked for"))
    for flags, words in {
        "--max-new-tokens -3": "max_new_tokens is -3: it must be at least 0",
        "--temperature nan": "temperature is nan: it must be a number from 0",
        "--temperature inf": "temperature is inf: it must be a number from 0",
        "--top-p 0": "top_p is 0.0: it must be above 0",
        "--top-k -1": "top_k is -1: it must be at least 0",
    }.items():
        for stage in ("generate", "chat"):
            assert words in sentence([stage, "--from", run, *flags.split()], capsys)


def test_a_file_that_is_read_is_not_written_over(text, tmp_path, capsys):
    assert main(["pretrain", "--data", str(text), "--out", str(tmp_path / "run"), *TINY]) == 0
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"text": "a hen"}\n')
    begin = ["--from", str(tmp_path / "run"), "--device", "cpu", "--data"]
    for command in ("predict", "eval"):
        given = [command, *begin, str(rows), "--out", str(tmp_path / "." / "rows.jsonl")]
        assert "would overwrite what --data reads" in sentence(given, capsys)
    assert rows.read_text() == '{"text": "a hen"}\n'
    page = ["page", "--from", str(tmp_path / "run"), "--device", "cpu", "--out", str(rows)]
    assert "there is a file that is no page" in sentence(page, capsys)


def test_every_command_is_attacked():
    told = (Path(__file__).parents[1] / "attack" / "inside.py").read_text()
    assert [name for name in COMMANDS if f'    "{name}": ' not in told] == []
