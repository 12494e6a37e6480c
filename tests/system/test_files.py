"""Files: whole or absent, whatever happens while they are written; and named when they are damaged."""

import errno
import json
import os
import signal
import tempfile

import pytest

from minillm.system import (
    Damaged,
    load_file,
    lock,
    read_json,
    read_object,
    reading,
    save_file,
    sweep,
    write_atomic,
    write_text,
)


@pytest.mark.parametrize("where", ["os.fsync", "os.chmod", "os.replace"])
def test_an_interrupt_while_a_file_is_written_leaves_the_old_one_and_no_other(tmp_path, monkeypatch, where):
    def stop(*_):
        raise KeyboardInterrupt

    path = tmp_path / "a.txt"
    write_text(path, "old")
    monkeypatch.setattr(where, stop)
    with pytest.raises(KeyboardInterrupt):
        write_text(path, "new")
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["a.txt"]


def test_an_interrupt_just_after_a_file_has_its_name_is_still_an_interrupt(tmp_path, monkeypatch):
    replace = os.replace

    def stop(*names):
        replace(*names)
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", stop)
    with pytest.raises(KeyboardInterrupt):
        write_text(tmp_path / "a.txt", "new")
    assert (tmp_path / "a.txt").read_text() == "new" and os.listdir(tmp_path) == ["a.txt"]


def test_what_killed_writers_leave_is_swept_and_nothing_else(tmp_path, monkeypatch):
    (tmp_path / "last").mkdir()
    for name in ("a.json", ".hidden", "last/b.json"):
        (tmp_path / name).write_text("1")
    before = sorted(tmp_path.rglob("*"))
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(SystemExit))
    monkeypatch.setattr(os, "unlink", lambda *_: None)  # as after a kill
    for name in ("a.json", "last/b.json", "c" * 240):
        with pytest.raises(SystemExit):
            write_atomic(tmp_path / name, [b"2"])
    monkeypatch.undo()
    assert len(sorted(tmp_path.rglob("*"))) == len(before) + 3
    sweep(tmp_path)
    assert sorted(tmp_path.rglob("*")) == before


def killed_while_writing(path):
    """Leave what a process leaves that is killed when all is written and nothing renamed."""
    child = os.fork()
    if not child:
        os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)
        write_text(path, "half")
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


def test_what_a_kill_leaves_of_a_file_goes_when_it_is_next_written_and_nothing_else(tmp_path):
    others = ["a.jsonl.tmp", ".a.jsonl.tmp", ".a.jsonl.12345678", ".a.jsonl.x.12345678.tmp", ".ba.jsonl.12345678.tmp"]
    for name in others:
        (tmp_path / name).write_text("mine")
    (tmp_path / ".a.jsonl.12345678.tmp").mkdir()
    before = sorted(os.listdir(tmp_path))
    killed_while_writing(tmp_path / "b.jsonl")
    (of_b,) = set(os.listdir(tmp_path)) - set(before)
    for _ in range(2):
        killed_while_writing(tmp_path / "a.jsonl")  # the second sweeps what the first left
    assert len(os.listdir(tmp_path)) == len(before) + 2
    write_text(tmp_path / "a.jsonl", "whole")
    assert sorted(os.listdir(tmp_path)) == sorted([*before, of_b, "a.jsonl"])
    assert (tmp_path / "a.jsonl").read_text() == "whole"


def test_what_a_living_process_is_writing_stays(tmp_path):
    path = tmp_path / "a.txt"

    def pieces():
        (mine,) = os.listdir(tmp_path)
        yield b"outer"
        write_text(path, "inner")
        assert sorted(os.listdir(tmp_path)) == sorted([mine, "a.txt"]) and path.read_text() == "inner"
        child = os.fork()  # another process
        if not child:
            write_text(path, "child")
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        assert sorted(os.listdir(tmp_path)) == sorted([mine, "a.txt"]) and path.read_text() == "child"

    write_atomic(path, pieces())
    assert os.listdir(tmp_path) == ["a.txt"] and path.read_text() == "outer"


def test_a_file_that_another_process_takes_for_a_dead_one_s_is_begun_anew(tmp_path, monkeypatch):
    made, make = [], tempfile.mkstemp

    def swept(**named):
        made.append(make(**named))
        if len(made) < 3:
            lock.discard(made[-1][1])
        return made[-1]

    monkeypatch.setattr(tempfile, "mkstemp", swept)
    write_text(tmp_path / "a.txt", "whole")
    assert len(made) == 3 and os.listdir(tmp_path) == ["a.txt"]
    with pytest.raises(OSError):
        os.fstat(made[0][0])  # closed


def test_where_a_file_system_knows_no_locks_files_are_written_and_none_is_deleted(tmp_path, monkeypatch):
    def unknown(*_):
        raise OSError(errno.ENOLCK, "no locks available")

    killed_while_writing(tmp_path / "a.txt")
    monkeypatch.setattr(lock.fcntl, "flock", unknown)
    write_text(tmp_path / "a.txt", "whole")
    assert len(os.listdir(tmp_path)) == 2 and (tmp_path / "a.txt").read_text() == "whole"


def test_an_object_names_its_file_when_it_lacks_a_field_also_deep_within(tmp_path):
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"a": 1, "b": {"c": [{"d": None}]}, "e": True}))
    found = read_object(path)
    assert found == {"a": 1, "b": {"c": [{"d": None}]}, "e": True} and found.get("x") is None
    for get, name in ((lambda: found["x"], "x"), (lambda: found["b"]["c"][0]["y"], "y")):
        with pytest.raises(Damaged, match=rf'a\.json: there is no "{name}" in it'):
            get()
    assert found.check(a=int, b=dict, x=str) is found and found.check(a=float)
    assert found["b"]["c"][0].check(d=int)  # null is like none
    for kinds, said in (
        ({"a": str}, '"a" to be a text, found 1'),
        ({"e": int}, '"e" to be a whole number, found true'),
    ):
        with pytest.raises(Damaged, match=f"a.json: expected {said}"):
            found.check(**kinds)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "not valid JSON"),
        (bytes(100), "not valid JSON"),
        (b"\xff\xfe", "not valid JSON"),
        (b"[" * 100_000 + b"]" * 100_000, "nested too deeply"),
        (b"[1]", r"expected a JSON object, \{...\}, found \[1\]"),
        (b'"a"', 'found "a"'),
    ],
)
def test_a_damaged_json_file_is_named(tmp_path, content, said):
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"a\.json: .*{said}"):
        read_object(path)
    path.unlink()
    with pytest.raises(ValueError, match=r"a\.json: there is no such file"):
        read_json(path)


@pytest.mark.parametrize(
    "stumble", [lambda: {}["a"], lambda: [][1], lambda: 1 + "", lambda: None.x, lambda: 1 / 0, lambda: int("x")]
)
def test_whatever_a_reader_stumbles_over_names_the_file_once(stumble):
    with pytest.raises(Damaged) as found, reading("outer"), reading("inner"):
        stumble()
    assert str(found.value).startswith("inner: ") and "outer" not in str(found.value)
    assert found.value.__cause__ is not None  # for --debug
    with pytest.raises(KeyboardInterrupt), reading("a"):
        raise KeyboardInterrupt
    with pytest.raises(PermissionError), reading("a"):
        raise PermissionError


@pytest.mark.parametrize(
    "header",
    [
        [],
        {"__metadata__": []},
        {"__metadata__": {"a": 1}},
        {"a": 1},
        {"a": {"dtype": "F32", "shape": [10**30], "data_offsets": [0, 0]}},
        {"a": {"dtype": "F32", "shape": [10**9], "data_offsets": [0, 0]}},
        {"a": {"dtype": "F32", "shape": ["x"], "data_offsets": [0, 4]}},
        {"a": {"dtype": "F32", "shape": [1], "data_offsets": [0.0, 4]}},
        {"a": {"dtype": "F32", "shape": [1], "data_offsets": [0]}},
        {"a": {"dtype": [], "shape": [1], "data_offsets": [0, 4]}},
    ],
)
def test_a_safetensors_file_with_a_mad_header_is_named(tmp_path, header):
    text = json.dumps(header).encode()
    (tmp_path / "a").write_bytes(len(text).to_bytes(8, "little") + text + bytes(4))
    with pytest.raises(ValueError, match="a: not a whole safetensors file"):
        load_file(tmp_path / "a")
    deep = b"[" * 100_000
    (tmp_path / "a").write_bytes(len(deep).to_bytes(8, "little") + deep)
    with pytest.raises(ValueError, match="a: not a whole safetensors file"):
        load_file(tmp_path / "a")
    save_file({}, tmp_path / "a")
    assert load_file(tmp_path / "a") == ({}, {})
