"""Text files: finding and opening them, and reading their lines in chunks."""

import bz2
import glob
import gzip
import io
import json
import lzma
import zlib
from functools import partial
from pathlib import Path
from typing import (
    IO,
    Any,
    Callable,
    Dict,
    Iterator,
    List,
    NamedTuple,
    Sequence,
    Tuple,
    Union,
)

JSON_SUFFIXES = (".jsonl", ".ndjson", ".json")
ARCHIVES = (".tar", ".tgz", ".tbz2", ".txz", ".zip", ".parquet")
"""Extensions of files that contain more than text."""
TOKENIZED = (".conllu", ".spacy")
"""Extensions of files of sentences that are tokenized already."""
TEXT_FIELD = "text"
"""Key of the text in JSON lines."""


MAX_RATIO = 100
"""Maximum compression ratio of data that is held in memory. Text stays below 20."""
DAMAGE = (OSError, EOFError, lzma.LZMAError, zlib.error)
"""Errors of files that are damaged, or not compressed as their extension says."""


class CorpusError(ValueError):
    """A corpus that is missing, damaged or not as expected. The message names the file
    and the line."""


class Chunk(NamedTuple):
    """Consecutive lines of a corpus.

    lines (List[str]): The lines, with an empty one between documents.
    n_bytes (int): Number of bytes read from disk for this chunk.
    """

    lines: List[str]
    n_bytes: int


def find_files(paths: Sequence[Union[str, Path]]) -> List[Path]:
    """Find text files.

    paths (Sequence[Union[str, Path]]): Files, folders and globs. Folders are searched
        recursively for .txt, .jsonl and .ndjson files, and .json files with JSON lines,
        compressed (.gz, .xz, .bz2, .zst) or not. Hidden files and folders are skipped.
        Files given by name or glob can have any extension.
    RETURNS (List[Path]): The files in the order of `paths`, each once. Matches in a
        folder or of a glob are sorted by name.
    RAISES: CorpusError if a path matches no file, or an archive.
    """
    files: Dict[Path, Path] = {}
    for name in paths:
        path = Path(name)
        if path.is_dir():
            matches = sorted(p for p in path.rglob("*") if _is_text(p, path))
            expected = (
                f"files ending in .txt, {', '.join(JSON_SUFFIXES)} (or compressed ones)"
            )
        elif path.is_file():
            matches, expected = [path], ""
        else:
            matches = sorted(map(Path, glob.glob(str(name), recursive=True)))
            matches = [match for match in matches if match.is_file()]
            expected = "a file, a folder, or a glob that matches files"
        if not matches:
            raise CorpusError(f"{name}: expected {expected}, found none.")
        for match in matches:
            suffix = extension(match)
            if suffix in ARCHIVES:
                raise _archive_error(match, f"an archive, by its extension {suffix}")
            files.setdefault(match.resolve(), match)
    if not files:
        raise CorpusError("corpus: expected at least one path, found none.")
    return list(files.values())


def read_chunks(
    files: Sequence[Path], chunk_chars: int = 1 << 20, text_field: str = TEXT_FIELD
) -> Iterator[Chunk]:
    """Read the lines of files.

    files (Sequence[Path]): Plain text or JSON lines in UTF-8, compressed or not.
    chunk_chars (int): Approximate number of characters per chunk. A document may
        continue in the next chunk.
    text_field (str): Key of the text in JSON lines.
    YIELDS (Chunk): The lines of all files, in order.
    RAISES: CorpusError if a file is damaged, is not in UTF-8, is a tar archive or
        tokenized, or if a line is not a JSON object with a text.
    """
    for path in files:
        if extension(path) in TOKENIZED:
            raise CorpusError(
                f"{path}: expected text, found tokenized sentences, by its extension "
                f"{extension(path)}. Convert them to text; only `elmo embed` and "
                "`elmo score` read them, as their only input."
            )
        lines: List[str] = []
        n_chars, n_bytes = 0, 0
        with path.open("rb") as raw:
            for line in _document_lines(path, raw, text_field):
                lines.append(line)
                n_chars += len(line) + 1
                if n_chars >= chunk_chars:
                    position = raw.tell()
                    yield Chunk(lines, position - n_bytes)
                    lines, n_chars, n_bytes = [], 0, position
            lines.append("")  # the next file starts a new document
            yield Chunk(lines, raw.tell() - n_bytes)


def decompress(raw: IO[bytes], path: Path) -> Any:
    """Open the content of a binary file, decompressed according to the extension of
    its name."""
    opener = _openers().get(path.suffix.lower())
    return opener(raw) if opener else raw


def max_bytes(path: Path) -> int:
    """Maximum number of bytes of a file's content to hold in memory, because a small
    file could decompress to any number."""
    return max(1 << 20, MAX_RATIO * path.stat().st_size)


def is_json_lines(path: Path) -> bool:
    """Check whether a file is JSON lines or plain text, by its extension or, if that
    is inconclusive, by its first line."""
    suffix = extension(path)
    if suffix == ".txt" or suffix in JSON_SUFFIXES:
        return suffix != ".txt"
    return _starts_with_object(path)


def _starts_with_object(path: Path) -> bool:
    with path.open("rb") as raw:
        lines = (line for _, line in _decoded_lines(path, raw))
        first = next((line for line in lines if line.strip()), "")
    try:
        return first.startswith("{") and isinstance(json.loads(first), dict)
    except (ValueError, RecursionError):
        return False


def _document_lines(path: Path, raw: IO[bytes], text_field: str) -> Iterator[str]:
    if is_json_lines(path):
        for number, line in _decoded_lines(path, raw):
            yield from _json_lines(line, f"{path}, line {number}", text_field)
    else:
        for _, line in _decoded_lines(path, raw):
            yield line.strip()


def read_lines(path: Path) -> Iterator[Tuple[int, str]]:
    """Stream the lines of a file, decompressed and decoded.

    YIELDS (Tuple[int, str]): The number of a line, from 1, and the line.
    RAISES: CorpusError if the file is damaged or not UTF-8.
    """
    with path.open("rb") as raw:
        yield from _decoded_lines(path, raw)


def _decoded_lines(path: Path, raw: IO[bytes]) -> Iterator[Tuple[int, str]]:
    """Decompress and decode lines, and number them from 1."""
    number = 0
    try:
        limit = max_bytes(path)
        content = decompress(raw, path)
        lines = iter(partial(content.readline, limit + 1), b"")
        for number, data in enumerate(lines, start=1):
            if len(data) > limit:
                raise CorpusError(
                    f"{path}, line {number}: expected at most {limit} bytes, found a "
                    "longer line. The file is not text in lines, or decompresses to an "
                    "implausible size: do not trust it."
                )
            if number == 1 and _is_tar(data):
                raise _archive_error(path, "a tar archive")
            line = data.decode("utf8")
            yield number, line if number > 1 else line.lstrip("\ufeff")
    except UnicodeDecodeError as error:
        raise CorpusError(
            f"{path}, line {number}: expected UTF-8, found {error}. Convert the file "
            "first."
        ) from error
    except DAMAGE as error:
        raise CorpusError(
            f"{path}, after line {number}: expected a file that can be read to its "
            f"end, found {error}. It is damaged or truncated, or not compressed as its "
            "extension says."
        ) from error


def _json_lines(line: str, where: str, text_field: str) -> Iterator[str]:
    """The lines of a document's text, and an empty one at its end."""
    if not line.strip():
        return
    try:
        text = json.loads(line)[text_field]
        if not isinstance(text, str):
            raise TypeError(f"a value of type {type(text).__name__}")
        text.encode("utf8")  # JSON can contain lone surrogates
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise CorpusError(
            f'{where}: expected a JSON object with a string under "{text_field}", '
            f"found {line.strip()[:60]!r} ({type(error).__name__}: {error}). JSON must "
            "have one object per line. If the text has another key, set "
            "corpus.text_field or --text-field."
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
            f"{raw.name}: expected the package zstandard, which reads it, found none. "
            "Install it: pip install 'spacy-elmo[pretrain]'."
        ) from error

    def blocks() -> Iterator[bytes]:
        # zstandard's own reader does not report truncated files.
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
            raise EOFError("the end of the file inside a frame")

    return io.BufferedReader(_Blocks(blocks()))


class _Blocks(io.RawIOBase):
    """A stream over blocks of bytes."""

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


def _is_text(path: Path, folder: Path) -> bool:
    """Check whether a file found in a folder is a visible text file."""
    if not path.is_file() or any(
        part.startswith(".") for part in path.relative_to(folder).parts
    ):
        return False
    suffix = extension(path)
    if suffix == ".json":  # often something else
        return _starts_with_object(path)
    return suffix == ".txt" or suffix in JSON_SUFFIXES


def extension(path: Path) -> str:
    """The last extension, in lower case, without the extension of a compression."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in _openers():
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


def _is_tar(first_line: bytes) -> bool:
    """Check for a tar header: 512 bytes of numbers and zeros, without a newline."""
    return first_line[257:262] == b"ustar" and b"\0" in first_line[:257]


def _archive_error(path: Path, found: str) -> CorpusError:
    return CorpusError(
        f"{path}: expected text, compressed or not, found {found}. Unpack it first, "
        "and give the files or the folder of its text."
    )
