"""Raw text: which files there are, and their lines in chunks for the tokenisers."""

import bz2
import glob
import gzip
import io
import json
import lzma
import zlib
from pathlib import Path
from typing import IO, Any, Callable, Dict, Iterator, List, NamedTuple, Sequence, Union

TEXT_SUFFIXES = (".txt", ".jsonl")
ARCHIVES = (".tar", ".tgz", ".tbz2", ".txz", ".zip", ".parquet")
"""Endings of files in which text lies among what is none."""


class CorpusError(ValueError):
    """A corpus that is missing, damaged or not what it should be: the message names the
    file, the line, what was expected and what was found."""


class Chunk(NamedTuple):
    """Some lines of a corpus, an empty one between documents.

    n_bytes: read for it from the disk, for a progress bar.
    """

    lines: List[str]
    n_bytes: int


def find_files(paths: Sequence[Union[str, Path]]) -> List[Path]:
    """The files that files, folders (searched to the bottom) and globs name, each once,
    those of a folder or glob sorted by name.

    A folder's files must end in .txt or .jsonl, packed (.gz, .xz, .bz2, .zst) or not;
    a file that is named itself, or by a glob, may have any name.

    Raises CorpusError where nothing is found, and for a named archive.
    """
    found: Dict[Path, Path] = {}
    for name in paths:
        path = Path(name)
        if path.is_dir():
            here = sorted(p for p in path.rglob("*") if p.is_file() and _is_text(p))
            expected = "files ending in .txt or .jsonl (packed or not) in the folder"
        elif path.is_file():
            here, expected = [path], ""
        else:
            matches = glob.glob(str(name), recursive=True)
            here = sorted(Path(match) for match in matches if Path(match).is_file())
            expected = "a file, a folder, or a glob that matches files"
        if not here:
            raise CorpusError(f"{name}: expected {expected}, found none.")
        for file in here:
            _check_no_archive(file)
            found.setdefault(file.resolve(), file)
    if not found:
        raise CorpusError("corpus: expected at least one path, found none.")
    return list(found.values())


def read_chunks(files: Sequence[Path], chunk_chars: int = 1 << 20) -> Iterator[Chunk]:
    """The lines of all files in their order, in chunks of about `chunk_chars`
    characters; a document may go on in the next chunk.

    Raises CorpusError for a damaged file, text that is not UTF-8, a tar archive by
    whatever name, and a line of a .jsonl file that is no object with a text.
    """
    for path in files:
        lines: List[str] = []
        n_chars, n_bytes = 0, 0
        with path.open("rb") as raw:
            for line in _lines(path, raw):
                lines.append(line)
                n_chars += len(line) + 1
                if n_chars >= chunk_chars:
                    position = raw.tell()
                    yield Chunk(lines, position - n_bytes)
                    lines, n_chars, n_bytes = [], 0, position
            lines.append("")  # the next file begins another document
            yield Chunk(lines, raw.tell() - n_bytes)


def _lines(path: Path, raw: IO[bytes]) -> Iterator[str]:
    suffixes = path.suffixes
    opener = _openers().get(path.suffix)
    if opener:
        suffixes.pop()
    is_json = suffixes[-1:] == [".jsonl"]
    number = 0
    try:
        file = opener(raw) if opener else raw
        for number, data in enumerate(file, start=1):
            if number == 1 and _is_tar(data):
                raise _archive_error(path, "a tar archive")
            line = data.decode("utf8").rstrip("\r\n")
            if number == 1:
                line = line.lstrip("\ufeff")  # a byte order mark
            if is_json:
                yield from _json_lines(line, f"{path}, line {number}")
            else:
                yield line.strip()
    except UnicodeDecodeError as error:
        raise CorpusError(
            f"{path}, line {number}: expected UTF-8, found {error}. Convert the file "
            "first."
        ) from error
    except (OSError, EOFError, lzma.LZMAError, zlib.error) as error:
        raise CorpusError(
            f"{path}, after line {number}: expected a file that can be read to its "
            f"end, found {error}. It is damaged or truncated, or not packed as its "
            "name says."
        ) from error


def _json_lines(line: str, where: str) -> Iterator[str]:
    """A document: its own lines, then an empty one."""
    if not line.strip():
        return
    try:
        text = json.loads(line)["text"]
        if not isinstance(text, str):
            raise TypeError(f"a text of type {type(text).__name__}")
        text.encode("utf8")  # JSON can hold half a character
    except (ValueError, KeyError, TypeError) as error:
        raise CorpusError(
            f'{where}: expected a JSON object with a string under "text", found '
            f"{line[:60]!r} ({error!r})."
        ) from error
    for part in text.split("\n"):
        if part.strip():
            yield part.strip()
    yield ""


def _openers() -> Dict[str, Callable[[IO[bytes]], Any]]:
    return {
        ".gz": gzip.open,
        ".xz": lzma.open,
        ".bz2": bz2.open,
        ".zst": _open_zstd,
    }


def _open_zstd(raw: IO[bytes]) -> Any:
    try:
        import zstandard
    except ImportError as error:
        raise CorpusError(
            f"{raw.name}: expected the package zstandard to read it, found none. "
            "Install it: pip install 'spacy-elmo[pretrain]'."
        ) from error

    def blocks() -> Iterator[bytes]:
        # The package's own reader takes the end of a truncated file for the text's.
        decompressor = zstandard.ZstdDecompressor(max_window_size=1 << 31)
        frame = None
        try:
            while data := raw.read(1 << 18):
                while data:
                    frame = frame or decompressor.decompressobj()
                    yield frame.decompress(data)
                    data = b""
                    if frame.eof:
                        data, frame = frame.unused_data, None
        except zstandard.ZstdError as error:
            raise OSError(str(error)) from error
        if frame is not None:
            raise EOFError("the end of the file within a frame")

    return io.BufferedReader(_Blocks(blocks()))


class _Blocks(io.RawIOBase):
    """Blocks of bytes as a stream."""

    def __init__(self, blocks: Iterator[bytes]) -> None:
        self._blocks = blocks
        self._rest = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._rest:
            try:
                self._rest = next(self._blocks)
            except StopIteration:
                return 0
        part, self._rest = self._rest[: len(buffer)], self._rest[len(buffer) :]
        buffer[: len(part)] = part
        return len(part)


def _is_text(path: Path) -> bool:
    return _ending(path) in TEXT_SUFFIXES


def _ending(path: Path) -> str:
    """The name's last suffix but that of a packing, or an empty string."""
    suffixes = path.suffixes
    if path.suffix in _openers():
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


def _check_no_archive(path: Path) -> None:
    ending = _ending(path).lower()
    if ending in ARCHIVES:
        raise _archive_error(path, f"an archive by its ending {ending}")


def _is_tar(first_line: bytes) -> bool:
    """Its first header is 512 bytes of numbers and zeros, in which no line ends."""
    return first_line[257:262] == b"ustar" and b"\0" in first_line[:257]


def _archive_error(path: Path, found: str) -> CorpusError:
    return CorpusError(
        f"{path}: expected text, packed or not, found {found}. Unpack it first, and "
        "name the files or the folder of the text in it."
    )
