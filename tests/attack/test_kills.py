"""Kills: at each operation on files, at random moments, by Ctrl-C once or twice; and two processes in one folder.

After any of them the same command line, with --resume where there is something to resume, ends with the very bits of a
run that nobody disturbed, and leaves no other file. `ATTACKS=300 pytest -m attack tests/attack/test_kills.py`
"""

import functools
import os
import random
import signal
import time

import pytest
from sandbox import (
    ATTACKS,
    COMMANDS,
    KILLED,
    MACHINE,
    SEED,
    again,
    contents,
    differences,
    fresh,
    is_locked,
    run,
    start,
    wait,
)

pytestmark = pytest.mark.attack
QUICK = ("pretrain", "classify-ptuning", "merge")  # without ATTACKS


@functools.cache
def undisturbed(zoo, name):
    """What a command leaves, how many operations on files it takes, and how long."""
    fresh(zoo)
    ended = run([*COMMANDS[name], "--out", "out"], zoo)
    assert ended.status == 0, ended.said
    found = contents(zoo / "out")
    fresh(zoo)
    return found, ended.operations, ended.seconds


def finish(zoo, name):
    """Go on as a person would after a kill; what is there in the end."""
    out, command = zoo / "out", [*COMMANDS[name], "--out", "out"]
    begun = (out / "config.json").exists()
    if name == "merge" and begun:  # it is whole: its last file is there
        (out / ".lock").unlink(missing_ok=True)
        return contents(out)
    ended = run(again(command, out), zoo)
    assert ended.status == 0, (ended, begun)
    return contents(out)


def attacks(share):
    return max(ATTACKS // share, 1)


@pytest.mark.parametrize("name", COMMANDS if ATTACKS else QUICK)
def test_a_run_killed_at_any_operation_on_files_ends_with_the_same_bits(zoo, name):
    whole, operations, _ = undisturbed(zoo, name)
    others = set(os.listdir(zoo))
    chosen = range(1, operations + 1)
    number = attacks(len(COMMANDS)) if ATTACKS else 3
    for at in random.Random(f"{name}{SEED}").sample(chosen, min(number, operations)):
        fresh(zoo)
        killed = run([*COMMANDS[name], "--out", "out"], zoo, die_at=at)
        assert killed.status == KILLED, (at, killed)
        assert not differences(whole, finish(zoo, name)), (at, operations)
        assert set(os.listdir(zoo)) == others | {"out"}, at


@pytest.mark.parametrize("name", ["pretrain", "classify-ptuning"])
def test_a_run_killed_again_and_again_ends_with_the_same_bits(zoo, name):
    whole, operations, _ = undisturbed(zoo, name)
    draw = random.Random(1)
    for _ in range(attacks(100)):
        fresh(zoo)
        for _ in range(4):
            command = again([*COMMANDS[name], "--out", "out"], zoo / "out")
            ended = run(command, zoo, die_at=draw.randint(1, operations))
            assert ended.status in (0, KILLED), ended
        assert not differences(whole, finish(zoo, name))


@pytest.mark.parametrize(
    "signals", [(signal.SIGKILL,), (signal.SIGINT,), (signal.SIGINT, signal.SIGINT), (signal.SIGTERM,)]
)
def test_a_run_stopped_at_a_random_moment_ends_with_the_same_bits(zoo, signals):
    names = sorted(COMMANDS) if ATTACKS else QUICK
    draw = random.Random(len(signals))
    for number in range(attacks(4) if ATTACKS else 2):
        name = names[number % len(names)]
        whole, _, seconds = undisturbed(zoo, name)
        fresh(zoo)
        child = start([*COMMANDS[name], "--out", "out"], zoo)
        time.sleep(draw.uniform(0, seconds))
        for one in signals:
            os.kill(child, one)
            time.sleep(draw.uniform(0, 0.02))
        ended = wait(child, zoo)
        assert ended.status in (0, 130, 128 + signals[0]), ended
        assert "Traceback" not in ended.said, ended.said
        assert not differences(whole, finish(zoo, name)), (name, signals)


def test_shards_killed_at_any_operation_on_files_end_with_the_same_bits(zoo):
    words = "prepare --data text.txt --vocab-size 280 --dedup exact --shard-tokens 300 --workers 1 --out out".split()
    fresh(zoo)
    with pytest.MonkeyPatch.context() as patch:  # children inherit it
        patch.setattr("minillm.text.blocks.read_blocks.__defaults__", (0, 1, 200))
        ended = run(words, zoo)
        assert ended.status == 0, ended
        whole, draw = contents(zoo / "out"), random.Random(4)
        assert len(whole) > 6
        every = range(1, ended.operations + 1)
        for at in every if ATTACKS else draw.sample(every, 12):
            fresh(zoo)
            assert run(words, zoo, die_at=at).status == KILLED, at
            begun = any((zoo / "out" / name).exists() for name in ("progress.json", "manifest.json"))
            if begun and draw.random() < 0.5:  # once more, while it goes on
                run([*words, "--resume"], zoo, die_at=draw.randint(1, ended.operations))
            found = run([*words, "--resume"] if begun else words, zoo)
            assert found.status == 0, (at, found)
            assert not differences(whole, contents(zoo / "out")), at


@pytest.mark.parametrize("words", ["generate --from pretrain", "eval --from pretrain --data text.txt"])
def test_a_file_of_answers_is_whole_or_absent_after_a_kill_and_the_next_run_leaves_nothing_beside_it(zoo, words):
    command, out = [*words.split(), *MACHINE, "--out", "out/a.jsonl"], zoo / "out"
    fresh(zoo)
    ended = run(command, zoo)
    assert ended.status == 0, ended
    whole = contents(out)
    for at in range(1, ended.operations + 1):
        fresh(zoo)
        assert run(command, zoo, die_at=at).status == KILLED, at
        assert not (out / "a.jsonl").exists() or contents(out) == whole, at
        assert run(command, zoo).status == 0
        assert contents(out) == whole, at


@pytest.mark.parametrize("name", ["pretrain", "bigram", "mlm"])
def test_two_runs_started_at_once_are_both_whole(zoo, name):
    whole, _, seconds = undisturbed(zoo, name)
    for number in range(attacks(100)):
        fresh(zoo)
        children = []
        for log in ("one", "two"):
            children.append((start(COMMANDS[name], zoo, log=log), log))
            time.sleep(random.Random(number).uniform(0, seconds / 4) if number else 0)
        for child, log in children:
            ended = wait(child, zoo, log)
            assert ended.status == 0, ended
        stage = COMMANDS[name][0]
        assert sorted(os.listdir(zoo / "runs")) == [stage, f"{stage}-2"]
        for folder in (stage, f"{stage}-2"):
            found = contents(zoo / "runs" / folder)
            assert set(differences(whole, found)) <= {"config.json"}  # which says --out


def test_a_folder_in_use_is_refused_in_a_sentence_and_the_run_in_it_is_not_disturbed(zoo):
    whole, operations, _ = undisturbed(zoo, "pretrain")
    command = [*COMMANDS["pretrain"], "--out", "out"]
    for at in random.Random(3).sample(range(8, operations - 1), attacks(50)):
        fresh(zoo)
        child = start(command, zoo, stop_at=at, log="first")
        os.waitpid(child, os.WUNTRACED)
        assert is_locked(zoo / "out"), at
        for more in ([], ["--resume"]):
            second = run([*command, *more], zoo)
            assert second.status == 2 and second.said.count("\n") == 1, second
            known = (f"is in use by process {child} on", "holds no run")  # not yet, where it has not begun
            assert any(said in second.said for said in known), second.said
        os.kill(child, signal.SIGCONT)
        first = wait(child, zoo, "first")
        assert first.status == 0, first
        assert not differences(whole, contents(zoo / "out")), at
