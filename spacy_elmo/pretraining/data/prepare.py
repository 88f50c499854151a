"""Raw text -> shards, in parallel, once: the result is kept under a hash of the text
and the settings."""

import hashlib
import json
import multiprocessing
import shutil
from collections import deque
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Callable, Deque, Iterable, Iterator, Optional, Sequence, Tuple, Union

from ...files import hash_files, replace_folder
from ...text.files import Chunk, CorpusError, find_files, read_chunks
from ...text.tokenizers import (
    LINES,
    WHITESPACE,
    Tokenized,
    Tokenizer,
    identify,
    make_tokenizer,
)
from .shards import META, Shards, ShardWriter

LAYOUT = 2
"""Part of the hash: changes with the files' layout."""


@dataclass(frozen=True)
class PrepareSettings:
    """How text becomes shards.

    tokenizer: "whitespace", a language code, or a spaCy pipeline's name or path.
    sentences: "lines" (each line is a sentence) or "split" (lines are paragraphs).
    shard_tokens: ids a shard, about; 4 bytes each.
    """

    tokenizer: str = WHITESPACE
    sentences: str = LINES
    shard_tokens: int = 1 << 24


def prepare(
    paths: Sequence[Union[str, Path]],
    cache: Union[str, Path],
    settings: Optional[PrepareSettings] = None,
    *,
    n_process: int = 1,
    progress: Optional[Callable[[int, int], None]] = None,
) -> Shards:
    """The shards of a corpus; made only where the cache has none of this text and these
    settings.

    paths: files, folders and globs (see `text.find_files`).
    cache: folder in which each corpus has one.
    n_process: tokenisers at work beside this process; 1: none, all is done here. The
        result is the same.
    progress: called with the bytes read since the last call and the bytes in all.

    Raises CorpusError for text that cannot be read and where a tokeniser is killed,
    ValueError for unknown settings.
    """
    settings = settings or PrepareSettings()
    files = find_files(paths)
    key = _key(files, settings)
    folder = Path(cache) / key
    if (folder / META).is_file():
        return Shards(folder)
    # Fails before any work where the settings are wrong.
    tokenizer = make_tokenizer(settings.tokenizer, settings.sentences)
    with replace_folder(folder, overwrite=False) as unfinished:
        writer = ShardWriter(unfinished, settings.shard_tokens)
        total = sum(path.stat().st_size for path in files)
        chunks = read_chunks(files)
        if n_process > 1:
            pairs = _in_processes(chunks, settings, n_process)
        else:
            pairs = ((chunk, tokenizer(chunk.lines)) for chunk in chunks)
        for chunk, tokenized in pairs:
            writer.add(tokenized)
            if progress is not None:
                progress(chunk.n_bytes, total)
        pipeline = hash_pipeline(settings.tokenizer)
        writer.close(
            {
                "layout": LAYOUT,
                "files": [path.name for path in files],
                "settings": asdict(settings),
                **({} if pipeline is None else {"pipeline": pipeline}),
            }
        )
        if not (folder / META).is_file():
            shutil.rmtree(folder, ignore_errors=True)
    return Shards(folder)


def hash_pipeline(tokenizer: str) -> Optional[str]:
    """Of a pipeline that is named by its path, which is another on other machines; None
    for other tokenizers."""
    folder = Path(tokenizer)
    if not folder.is_dir():
        return None
    return hash_files(sorted(path for path in folder.rglob("*") if path.is_file()))


def _key(files: Sequence[Path], settings: PrepareSettings) -> str:
    # The names' endings say how the contents are read.
    endings = [path.suffixes[-2:] for path in files]
    tokenizer = identify(settings.tokenizer)
    described = json.dumps(
        [LAYOUT, hash_files(files), endings, tokenizer, asdict(settings)]
    )
    return hashlib.blake2b(described.encode(), digest_size=8).hexdigest()


_tokenizer: Tokenizer


def _start_worker(tokenizer: str, sentences: str) -> None:
    global _tokenizer
    _tokenizer = make_tokenizer(tokenizer, sentences)


def _work(chunk: Chunk) -> Tokenized:
    return _tokenizer(chunk.lines)


def _in_processes(
    chunks: Iterable[Chunk], settings: PrepareSettings, n_process: int
) -> Iterator[Tuple[Chunk, Tokenized]]:
    """In the order of the chunks, with few of them in memory."""
    context = multiprocessing.get_context("spawn")
    waiting: Deque[Tuple[Chunk, Future[Tokenized]]] = deque()
    try:
        with ProcessPoolExecutor(
            n_process,
            mp_context=context,
            initializer=_start_worker,
            initargs=(settings.tokenizer, settings.sentences),
        ) as pool:
            for chunk in chunks:
                waiting.append((chunk, pool.submit(_work, chunk)))
                if len(waiting) > 2 * n_process:
                    first, result = waiting.popleft()
                    yield first, result.result()
            while waiting:
                first, result = waiting.popleft()
                yield first, result.result()
    except BrokenProcessPool as error:
        raise CorpusError(
            f"corpus: expected {n_process} tokenisers that work to the text's end, "
            "found that a tokeniser process was ended from outside, probably for want "
            "of memory: lower corpus.n_process, or free memory. If it has written an "
            "error of its own, that is the reason."
        ) from error
