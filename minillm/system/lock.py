"""One process a folder, and one a file that is being written.

Who writes into a folder holds its lock, a file that names the process. The operating system lets go of the lock when
the process ends, even by a kill, so the file of a dead process is no obstacle, and none has to be deleted by hand.
Where a file system knows no locks, the process named in the file is looked for: of one on another machine it is assumed
that it lives.
"""

import contextlib
import errno
import json
import os
import platform
from collections.abc import Iterator
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    import msvcrt

    fcntl = None

TAKEN = (errno.EWOULDBLOCK, errno.EACCES, errno.EDEADLK)  # what a lock that another process holds says
OUT_OF_THE_WAY = 1 << 30  # the byte that is locked on Windows, where locked bytes cannot be read


class InUse(ValueError):
    """Another process holds the lock."""


class FolderLock:
    """The lock of a folder that exists: acquire, write, release."""

    def __init__(self, folder: str | os.PathLike):
        self.folder = Path(folder)
        self.file = self.folder / ".lock"
        self.handle = -1

    def acquire(self) -> bool:
        """Take the lock, also over a process that died with it.

        Returns: whether such a process left its file behind.
        Raises: InUse, naming the process that holds it.
        """
        while True:
            left = self.file.exists()
            handle = os.open(self.file, os.O_RDWR | os.O_CREAT, 0o644)
            try:
                if not _lock(handle):
                    raise InUse(f"{self.folder} is in use by {self.owner()}: wait until it ends, or stop it")
                if _is_there(handle, self.file):  # not deleted by who held it before
                    os.ftruncate(handle, 0)
                    os.write(handle, json.dumps({"process": os.getpid(), "host": platform.node()}).encode())
                    self.handle, handle = handle, -1
                    return left
            finally:
                if handle >= 0:
                    os.close(handle)

    def release(self) -> None:
        """Delete the file and let go."""
        try:
            if fcntl is not None:  # Windows deletes no open file
                self.file.unlink(missing_ok=True)
        finally:
            os.close(self.handle)
        if fcntl is None:
            self.file.unlink(missing_ok=True)

    def owner(self) -> str:
        """The process that the file names, for people."""
        process, host = _written(self.file)
        return f"process {process} on {host}" if process else "another process"


@contextlib.contextmanager
def holding(handle: int, name: str | os.PathLike) -> Iterator[bool]:
    """Keep `discard` from an open file during the block, though it be closed there. Yields: whether it has its name."""
    if fcntl is None:  # Windows deletes no open file
        yield True
        return
    own = os.dup(handle)
    try:
        with contextlib.suppress(OSError):  # a file system that knows no locks, where nothing is discarded
            fcntl.flock(own, fcntl.LOCK_EX)
        yield _is_there(own, name)
    finally:
        os.close(own)


def discard(name: str | os.PathLike) -> None:
    """Delete a file, unless a living process holds it, or nobody can tell."""
    handle = -1
    with contextlib.suppress(OSError):
        if fcntl is not None:
            handle = os.open(name, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.unlink(name)
    if handle >= 0:
        os.close(handle)


def _lock(handle: int) -> bool:
    """Whether the lock is ours now."""
    try:
        if fcntl is not None:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        else:
            os.lseek(handle, OUT_OF_THE_WAY, os.SEEK_SET)
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
            os.lseek(handle, 0, os.SEEK_SET)
    except OSError as error:
        if fcntl is None or error.errno in TAKEN:
            return False
        return not _alive(*_written(handle))  # this file system knows no locks
    return True


def _is_there(handle: int, file: str | os.PathLike) -> bool:
    """Whether an open file still has its name."""
    try:
        return os.path.samestat(os.fstat(handle), os.stat(file))
    except FileNotFoundError:
        return False


def _written(file: Path | int) -> tuple[int, str]:
    """The process and the host in a lock file; 0 where it does not say."""
    try:
        content = json.loads(os.pread(file, 1000, 0) if isinstance(file, int) else file.read_bytes())
        return int(content["process"]), str(content["host"])
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return 0, ""


def _alive(process: int, host: str) -> bool:
    """Whether a process lives, as far as can be told from here."""
    if process <= 0 or (host, process) == (platform.node(), os.getpid()):
        return False
    if host != platform.node():
        return True
    try:
        os.kill(process, 0)
    except PermissionError:  # there is one, of another user
        return True
    except (ProcessLookupError, OverflowError):
        return False
    return True
