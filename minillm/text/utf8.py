"""A plain text file, whole or in parts: UTF-8, or a sentence that says what it is. Left out: guessing encodings."""

import codecs
import os
from pathlib import Path

from minillm.system import check_readable

StrPath = str | os.PathLike

CONVERT = "convert it with: iconv -f {} -t UTF-8 {} > utf8.txt"
UTF16_AND_32 = {codecs.BOM_UTF32_LE: "UTF-32", codecs.BOM_UTF32_BE: "UTF-32"}  # first: one begins with UTF-16's mark
UTF16_AND_32 |= {codecs.BOM_UTF16_LE: "UTF-16", codecs.BOM_UTF16_BE: "UTF-16"}


def read_text(path: StrPath) -> str:
    """The whole text of a UTF-8 file, character for character.

    Raises: ValueError for no such file, a folder, a device, an empty or a binary file, and for another encoding.
    """
    check_readable(path)
    try:
        data = Path(path).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise ValueError(f"{path}: there is no such file; check the path") from None
    except IsADirectoryError:
        raise ValueError(f"{path}: this is a folder; name one file in it") from None
    if not data:
        raise ValueError(f"{path}: the file is empty (0 bytes); bring a file with text in it")
    return decoded(path, data)


def decoded(path: StrPath, data: bytes, offset: int = 0, line: int = 1) -> str:
    """The text in bytes of a file, of which `offset` bytes and `line` - 1 lines stand before; ValueError if none."""
    if offset == 0:
        for mark, encoding in UTF16_AND_32.items():
            if data.startswith(mark):
                raise ValueError(f"{path}: the file is {encoding}, expected UTF-8; {CONVERT.format(encoding, path)}")
    if (at := data.find(b"\0")) >= 0:
        where = f"at byte offset {offset + at}, line {line + data.count(10, 0, at)}"  # 10: a line feed
        raise ValueError(f"{path}: looks like a binary file (a zero byte {where}); bring a plain text file in UTF-8")
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        at, line = error.start, line + data.count(10, 0, error.start)
        raise ValueError(
            f"{path}: not UTF-8: byte 0x{data[at]:02x} at byte offset {offset + at}, line {line}; "
            f"if the file is in Windows-1252 or Latin-1, {CONVERT.format('WINDOWS-1252', path)}"
        ) from None
    text = text.removeprefix("\ufeff") if offset == 0 else text
    return text.replace("\r\n", "\n").replace("\r", "\n")
