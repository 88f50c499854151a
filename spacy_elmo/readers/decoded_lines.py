"""Files in any encoding, compressed or not -> lines."""

import io
from pathlib import Path
from typing import List

from ..text.files import DAMAGE, decompress, max_bytes


def read_lines(path: Path, encoding: str) -> List[str]:
    """Read the lines of a file.

    path (Path): The file. It is decompressed according to its extension.
    encoding (str): The encoding. A byte order mark is not part of the text.
    RETURNS (List[str]): The lines, each but the last with a newline.
    RAISES: ValueError if the file cannot be read, or, with the line number, if it is
        not in the encoding.
    """
    try:
        with path.open("rb") as raw:
            limit = max_bytes(path)
            data: bytes = decompress(raw, path).read(limit + 1)
            if len(data) > limit:
                raise OSError(f"more than {limit} bytes")
    except DAMAGE as error:
        raise ValueError(f"expected a file that can be read, found {error}.") from error
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        start = data[: error.start].decode(encoding, errors="replace") + "?"
        raise ValueError(
            f"line {len(_split(start))}: expected {encoding}, found the byte "
            f"0x{data[error.start]:02x} ({error.reason}). Set the encoding of the "
            'file, for example encoding = "latin-1".'
        ) from error
    return _split(text[1:] if text.startswith("\ufeff") else text)


def _split(text: str) -> List[str]:
    """Split into lines as a text file is. (str.splitlines also splits at characters
    that are no line endings in a file, such as U+2028.)"""
    return list(io.StringIO(text, newline=None))
