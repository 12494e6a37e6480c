"""What commands print, and to whom: other encodings, pipes that close, full disks, control characters, no terminal."""

import contextlib
import io
import json
import os
import re
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from minillm.__main__ import start
from minillm.cli import main
from minillm.cli.terminal import Output, visible

ROOT = Path(__file__).resolve().parents[2]
TINY = "--depth 1 --width 16 --heads 1 --context 16 --batch-size 4 --max-steps 3 --samples 1 --device cpu".split()
CHINESE = ["春天的早晨 母鸡坐在池塘边唱歌", "月亮升起来 狐狸听见了歌声"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A model of Chinese characters."""
    folder = tmp_path_factory.mktemp("chinese")
    (folder / "zh.txt").write_text("\n\n".join(CHINESE * 20), encoding="utf-8")
    flags = ["--data", str(folder / "zh.txt"), "--tokenizer", "characters", *TINY]
    assert main(["pretrain", *flags, "--out", str(folder / "run")]) == 0
    return folder / "run"


def shell(command: str, **more) -> subprocess.CompletedProcess:
    """A command line as a shell runs it; $RUN is `python train.py`."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "RUN": f"{sys.executable} {ROOT / 'train.py'}"} | more
    return subprocess.run(["bash", "-c", command], capture_output=True, env=environment, timeout=120)


def test_a_terminal_without_the_characters_gets_their_codes(run, capsys):
    line = f"generate --from {run} --max-new-tokens 30 --dtype fp32"
    done = shell(f"$RUN {line}", PYTHONIOENCODING="cp1252")
    assert done.returncode == 0 and not done.stderr
    assert main(line.split()) == 0
    assert done.stdout == capsys.readouterr().out.encode("cp1252", "backslashreplace") and b"\\u" in done.stdout


def test_a_pipe_that_closes_ends_a_command_quietly(run):
    done = shell(
        f"set -o pipefail; $RUN generate --from {run} --max-new-tokens 9 | true",
    )
    assert done.returncode == 141 and b"train.py" not in done.stderr and b"rror" not in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has it")
def test_output_that_cannot_be_written_is_said_and_not_blamed_on_a_run(run):
    done = shell(f"$RUN generate --from {run} > /dev/full")
    assert done.returncode == 2
    assert done.stderr.decode().strip().endswith("what is printed can not be written: No space left on device")


def test_texts_are_not_written_over_a_device_or_a_pipe_and_a_link_stays_a_link(run, tmp_path, capsys):
    os.mkfifo(tmp_path / "pipe")
    for place in ("/dev/null", tmp_path / "pipe"):
        assert main(["generate", "--from", str(run), "--out", str(place)]) == 2
        assert "a device or a pipe" in capsys.readouterr().err
    assert not Path("/dev/null").is_file() and (tmp_path / "pipe").is_fifo()
    (tmp_path / "link").symlink_to(tmp_path / "real.jsonl")
    assert main(["generate", "--from", str(run), "--out", str(tmp_path / "link"), "--max-new-tokens", "3"]) == 0
    assert (tmp_path / "link").is_symlink() and "text" in json.loads((tmp_path / "real.jsonl").read_text())


def typed(monkeypatch, data: bytes) -> None:
    """Let these bytes be what is typed."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data), encoding="utf-8"))


def test_chat_says_which_line_it_cannot_read_and_goes_on(run, monkeypatch, capsys):
    typed(monkeypatch, "月亮\nunknown\n".encode() + b"\xff\xfe\n" + "池塘\n".encode())
    assert main(["chat", "--from", str(run), "--max-new-tokens", "3"]) == 0
    said = capsys.readouterr()
    assert "That line can not be read: " in said.out and "'u'" in said.out and "is no UTF-8 text" in said.out
    assert said.out.count("> ") == 5 and not said.err  # four lines, and the end


@pytest.mark.parametrize("closed", [None, "closed"])
def test_chat_without_a_keyboard_ends(run, monkeypatch, capsys, closed):
    stream = io.StringIO()
    stream.close()
    monkeypatch.setattr(sys, "stdin", stream if closed else None)
    assert main(["chat", "--from", str(run)]) == 0 and not capsys.readouterr().err


def test_a_terminal_gets_no_control_characters_of_others_and_a_file_gets_them(capsys):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    screen = Terminal()
    with contextlib.redirect_stdout(Output(screen)):
        print("\x1b]0;mine\x07 red\t\x9bA\r\nnext")
    assert screen.getvalue() == "\\x1b]0;mine\\x07 red\t\\x9bA\\r\nnext\n"
    assert not any(
        (ord(c) < 32 and c not in "\t\n") or 127 <= ord(c) < 160 for c in visible("".join(map(chr, range(300))))
    )


def test_a_message_has_no_control_characters(tmp_path, capsys):
    assert main(["generate", "--from", str(tmp_path / "a\x1b[2J")]) == 2
    said = capsys.readouterr().err
    assert "\x1b" not in said and "\\x1b[2J holds no run" in said


def test_a_missing_package_is_one_sentence(tmp_path):
    (tmp_path / "torch.py").write_text("raise ModuleNotFoundError('none', name='torch')")
    for command in (f"{ROOT / 'train.py'} pretrain", "-m minillm"):
        done = shell(f"cd {ROOT}; PYTHONPATH={tmp_path} {sys.executable} {command}")
        assert done.returncode == 2 and b"Traceback" not in done.stderr
        assert b"the package torch is not installed: pip install -r requirements.txt" in done.stderr


def console_script() -> str:
    """The command that pip writes for `minillm`."""
    module, name = re.search(r'^minillm = "(.+):(.+)"$', (ROOT / "pyproject.toml").read_text(), re.M).groups()
    return f"-c 'import sys; from {module} import {name}; sys.exit({name}())'"


@pytest.mark.parametrize("command", [f"{ROOT / 'train.py'} pretrain", "-m minillm", console_script()])
def test_an_interrupt_while_torch_is_loaded_ends_a_command_quietly(tmp_path, command):
    """Also where a package takes the exception for one of its own."""
    hasty = "import os, signal, time\ntry:\n    os.kill(os.getpid(), signal.SIGINT)\n    time.sleep(5)\n"
    (tmp_path / "torch.py").write_text(hasty + "except BaseException as error:\n    raise ImportError from error\n")
    line = f"cd {ROOT}; PYTHONPATH={tmp_path} {sys.executable} {command}"
    heard = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # tests that run in the background may not hear it
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, preexec_fn=heard)
    assert done.returncode == 130 and not done.stderr and not done.stdout


def test_an_interrupt_just_before_or_after_a_command_is_quiet_too_and_one_that_is_ignored_stays_so(monkeypatch, capsys):
    def interrupted():
        assert signal.getsignal(signal.SIGINT) is before
        raise KeyboardInterrupt

    monkeypatch.setattr("minillm.cli.main", interrupted)
    for before in (signal.default_int_handler, signal.SIG_IGN):
        usual = signal.signal(signal.SIGINT, before)
        try:
            assert start() == 130
        finally:
            signal.signal(signal.SIGINT, usual)
    assert not any(capsys.readouterr())


def test_an_error_of_the_program_is_not_shown_as_one_of_the_user(run, monkeypatch, capsys):
    monkeypatch.setattr("minillm.cli.generate.start_of", lambda run: [1, 2].index(3))
    assert main(["generate", "--from", str(run)]) == 1
    assert "did not expect (ValueError: 3 is not in list): --debug" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (["pretrian"], "did you mean pretrain?"),
        (["sft", "--bach-size", "4"], "did you mean --batch-size?"),
        (["pretrain", "--depth", "0"], "argument --depth: 0 is too small"),
        (["pretrain", "--batch-size", "99999999999"], "at most 2,147,483,647"),
        (["generate", "--n", "2000000"], "at most 1,000,000"),
        (["generate", "--rehearse", "1"], "generate --help shows what there is"),  # a flag of another command
        (["classify", "--pooling", "sum"], "'sum' is none of auto, first, last, mean"),
    ],
)
def test_a_flag_that_is_wrong_is_one_line_and_names_what_is_near(line, words, capsys):
    with pytest.raises(SystemExit) as exit:
        main(line)
    said = capsys.readouterr().err
    assert exit.value.code == 2 and words in said and len(said.strip().splitlines()) == 1


def test_help_shows_what_follows_as_auto(capsys):
    with pytest.raises(SystemExit):
        main(["pretrain", "--help"])
    said = " ".join(capsys.readouterr().out.split())
    assert "2 on a CPU, 6 on a GPU (default: auto)" in said and "(0: from" not in said and "default: 0)" in said
