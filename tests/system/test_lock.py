"""The lock of a folder: one process at a time, and none of the dead stands in the way."""

import errno
import json
import os
import platform
import types

import pytest

from minillm.system import FolderLock, InUse, lock


def child(action) -> int:
    """The exit status of a forked process."""
    pid = os.fork()
    if not pid:
        status = 99
        try:
            status = action()
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_a_held_lock_is_refused_by_the_name_of_its_process_and_free_again_when_released(tmp_path):
    held = FolderLock(tmp_path)
    assert not held.acquire()
    for other in (FolderLock(tmp_path), FolderLock(str(tmp_path))):
        with pytest.raises(InUse, match=f"is in use by process {os.getpid()} on {platform.node()}: wait until it ends"):
            other.acquire()

    def refused() -> int:
        try:
            FolderLock(tmp_path).acquire()
        except InUse:
            return 3
        return 0

    assert child(refused) == 3
    held.release()
    assert os.listdir(tmp_path) == [] and child(refused) == 0
    assert FolderLock(tmp_path).acquire()  # the child died with it


def test_a_dead_process_leaves_its_file_and_not_its_lock_whatever_the_file_says(tmp_path):
    for left in ("", "x", '{"process": 1, "host": "elsewhere"}', "[" * 100_000, json.dumps({"process": os.getppid()})):
        (tmp_path / ".lock").write_text(left)
        held = FolderLock(tmp_path)
        assert held.acquire()
        held.release()
    assert os.listdir(tmp_path) == []


def test_a_lock_that_was_deleted_while_it_was_opened_is_no_lock(tmp_path, monkeypatch):
    first, second, flock = FolderLock(tmp_path), FolderLock(tmp_path), lock.fcntl.flock
    first.acquire()

    def slow(handle, how):
        if first.handle >= 0:
            monkeypatch.setattr(lock.fcntl, "flock", flock)
            first.release()
            first.handle = -1
            third.acquire()
        flock(handle, how)

    third = FolderLock(tmp_path)
    monkeypatch.setattr(lock.fcntl, "flock", slow)
    with pytest.raises(InUse):  # its file is gone, and the new one is the third's
        second.acquire()


def test_where_a_file_system_knows_no_locks_the_process_is_looked_for(tmp_path, monkeypatch):
    def unknown(*_):
        raise OSError(errno.ENOLCK, "no locks available")

    monkeypatch.setattr(lock.fcntl, "flock", unknown)
    dead, here = child(lambda: 0) or os.fork(), platform.node()
    if not dead:
        os._exit(0)
    os.waitpid(dead, 0)
    for process, host, free in (
        (dead, here, True),
        (os.getppid(), here, False),
        (os.getpid(), here, True),
        (-1, here, True),  # these two are no process
        (10**40, here, True),
        (1, here, False),
        (dead, "elsewhere", False),
    ):
        (tmp_path / ".lock").write_text(json.dumps({"process": process, "host": host}))
        held = FolderLock(tmp_path)
        if free:
            assert held.acquire()
            held.release()
        else:
            with pytest.raises(InUse, match=f"process {process} on {host}"):
                held.acquire()


def test_on_windows_a_byte_is_locked_and_the_file_deleted_when_it_is_closed(tmp_path, monkeypatch):
    owner = []

    def locking(handle, how, size):
        if owner:
            raise PermissionError(errno.EACCES, "locked")
        owner.append(handle)

    monkeypatch.setattr(lock, "fcntl", None)
    monkeypatch.setattr(lock, "msvcrt", types.SimpleNamespace(locking=locking, LK_NBLCK=2), raising=False)
    held = FolderLock(tmp_path)
    assert not held.acquire()
    with pytest.raises(InUse, match=f"process {os.getpid()}"):
        FolderLock(tmp_path).acquire()
    held.release()
    assert os.listdir(tmp_path) == []
