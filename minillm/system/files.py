"""Files that are whole or absent: bytes, text, JSON; for tensors see `safetensors`.

A file is written beside its place, then renamed, so a killed process or a full disk leaves the one that was there;
the half that a kill leaves beside it is deleted when the file is next written.
Whatever is wrong with a file that is read is one sentence, a ValueError, that names it (`reading`).
"""

import contextlib
import json
import math
import os
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from minillm.system.lock import discard, holding

UNFINISHED = ".tmp"  # how the name of a file ends that is being written
KINDS = {str: "a text", dict: "an object", list: "a list", int: "a whole number", float: "a number"}


class Damaged(ValueError):
    """A file does not hold what it should; the message names it."""


@contextlib.contextmanager
def reading(path: str | os.PathLike) -> Iterator[None]:
    """A block that makes something of what a file says: whatever stops it becomes `Damaged`, and names the file."""
    try:
        yield
    except (Damaged, OSError):
        raise
    except ValueError as error:  # says what is wrong
        raise Damaged(f"{path}: {error}") from error
    except (LookupError, TypeError, AttributeError, ArithmeticError, RuntimeError, AssertionError) as error:
        said = (str(error).strip() or type(error).__name__).split("\n")[0][:200]
        said = f"there is no {said}" if isinstance(error, KeyError) else said
        raise Damaged(f"{path}: damaged, or changed after it was written ({said})") from error


def is_kind(value, kind: type) -> bool:
    """Whether a value of a JSON file is of a kind, as JSON has them: true is no number, and 1 is one."""
    return isinstance(value, int | float if kind is float else kind) and isinstance(value, bool) <= (kind is bool)


class Fields(dict):
    """An object of a JSON file: asked for a field that it does not have, it names the file."""

    def __init__(self, content: dict, path: str | os.PathLike):
        super().__init__(content)
        self.path = path

    def __missing__(self, name):
        raise Damaged(f'{self.path}: there is no "{name}" in it')

    def check(self, **kinds: type) -> "Fields":
        """The object itself; `Damaged` where a field that it has is neither null nor of this kind."""
        for name, kind in kinds.items():
            if self.get(name) is not None and not is_kind(self[name], kind):
                raise Damaged(f'{self.path}: expected "{name}" to be {KINDS[kind]}, found {shown(self[name])}')
        return self


def shown(value) -> str:
    """A value of a JSON file for people, short."""
    text = json.dumps(value, default=str)
    return text if len(text) <= 40 else text[:37] + "..."


def read_object(path: str | os.PathLike, text: str | None = None) -> Fields:
    """The object in a JSON file, or in a text that stands in it; `Damaged`, naming the file, for anything else."""
    content = read_json(path, text, lambda found: Fields(found, path))
    if not isinstance(content, Fields):
        raise Damaged(f"{path}: expected a JSON object, {{...}}, found {shown(content)}")
    return content


def check_readable(path: str | os.PathLike) -> None:
    """Raise ValueError for a device or a pipe, which may never end; a pipe of the shell's, /dev/stdin, is read."""
    path = Path(path)
    if path.exists() and not (path.is_file() or path.is_dir() or (path.is_fifo() and path.is_relative_to("/dev"))):
        raise ValueError(f"{path} is no file but a device or a pipe: name a file")


def check_file(path: str | os.PathLike) -> None:
    """Raise ValueError where no file can be written: for a folder, a device, a pipe, and below what is no folder."""
    path = Path(path)
    if path.is_dir():
        raise ValueError(f"{path} is a folder: name a file in it")
    if path.exists() and not path.is_file():
        raise ValueError(f"{path} is no file but a device or a pipe, which would be replaced: name a file")
    above = next((folder for folder in path.parents if os.path.lexists(folder)), None)
    if above is not None and not above.is_dir():
        raise ValueError(f"{path}: {above} is a file, and nothing can be written into it; name a folder")


def write_atomic(path: str | os.PathLike, pieces: Iterable[bytes]) -> None:
    """Write the bytes of `pieces` to `path`, all or, on a full disk or a kill, none; ValueError as `check_file`."""
    path = Path(os.path.realpath(path))  # a link stays, and what it leads to is written
    check_file(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with _draft(path) as (handle, temporary):
        try:
            with os.fdopen(handle, "wb") as file:
                for piece in pieces:
                    file.write(piece)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(temporary, 0o644)
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):  # interrupted when it had its name already
                os.unlink(temporary)
            raise


@contextlib.contextmanager
def _draft(path: Path) -> Iterator[tuple[int, str]]:
    """A new file beside `path`, held during the block; what killed processes had begun for that path is deleted."""
    begin = f".{path.name[:100]}."
    with contextlib.suppress(OSError):  # a folder that may be written and not listed
        for name in os.listdir(path.parent):
            if re.fullmatch(re.escape(begin) + r"\w{8}" + re.escape(UNFINISHED), name):
                discard(path.parent / name)
    ours = False
    while not ours:  # another process may have taken it for one that a dead process left
        handle, temporary = tempfile.mkstemp(prefix=begin, suffix=UNFINISHED, dir=path.parent)
        with holding(handle, temporary) as ours:
            if ours:
                yield handle, temporary
            else:
                os.close(handle)


def sweep(folder: str | os.PathLike) -> None:
    """Delete what killed processes had begun to write, in a folder where nobody else writes (`FolderLock`)."""
    for path in Path(folder).rglob(f".*{UNFINISHED}"):
        path.unlink(missing_ok=True)


def write_text(path: str | os.PathLike, text: str) -> None:
    """Write `text` as UTF-8."""
    write_atomic(path, [text.encode()])


def to_json(content, indent: int | None = None) -> str:
    """`content` as JSON, which has no NaN and no infinity: they become null."""
    return json.dumps(_finite(content), indent=indent, ensure_ascii=False, allow_nan=False)


def _finite(content):
    if isinstance(content, float):
        return content if math.isfinite(content) else None
    if isinstance(content, dict):
        return {key: _finite(value) for key, value in content.items()}
    return [_finite(value) for value in content] if isinstance(content, list | tuple) else content


def write_json(path: str | os.PathLike, content) -> None:
    """Write `content` as indented JSON; see `to_json`."""
    write_text(path, to_json(content, indent=2) + "\n")


def read_json(path: str | os.PathLike, text: str | None = None, object_hook: Callable | None = None):
    """The content of a JSON file; ValueError, naming the file, when it is missing or damaged.

    Args: text: what to parse instead, of a file that holds more; object_hook: as of `json.loads`.
    """
    if text is None:
        check_readable(path)
    try:
        text = Path(path).read_text(encoding="utf-8") if text is None else text
        return json.loads(text, object_hook=object_hook)
    except (FileNotFoundError, NotADirectoryError):
        raise ValueError(f"{path}: there is no such file") from None
    except RecursionError:
        raise Damaged(f"{path}: not valid JSON (nested too deeply)") from None
    except ValueError as error:
        raise Damaged(f"{path}: not valid JSON ({error})") from None
