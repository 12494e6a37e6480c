"""Files that are either whole or absent: written beside their place, then renamed.

A killed process or a full disk leaves the file that was there before.
"""

import json
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path


def check_file(path: str | os.PathLike) -> None:
    """Raises ValueError where no file can be written: for a folder, and below something that is no folder."""
    path = Path(path)
    if path.is_dir():
        raise ValueError(f"{path} is a folder: name a file in it")
    above = next((folder for folder in path.parents if os.path.lexists(folder)), None)
    if above is not None and not above.is_dir():
        raise ValueError(f"{path}: {above} is a file, and nothing can be written into it; name a folder")


def write_atomic(path: str | os.PathLike, pieces: Iterable[bytes]) -> None:
    """Write the bytes of `pieces` to `path`: all of them, or, on a full disk or a kill, nothing.

    Raises ValueError as `check_file` does.
    """
    path = Path(path)
    check_file(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            for piece in pieces:
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def write_text(path: str | os.PathLike, text: str) -> None:
    """Write `text` as UTF-8."""
    write_atomic(path, [text.encode()])


def write_json(path: str | os.PathLike, content) -> None:
    """Write `content` as indented JSON."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def read_json(path: str | os.PathLike):
    """The content of a JSON file. Raises ValueError, naming the file, when it is missing or damaged."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise ValueError(f"{path}: there is no such file") from None
    except ValueError as error:
        raise ValueError(f"{path}: not valid JSON ({error})") from None
