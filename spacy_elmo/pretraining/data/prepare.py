"""Raw text -> shards, in parallel, once: the result is kept under a hash of the text
and the settings."""

import hashlib
import json
import multiprocessing
import shutil
from collections import deque
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Callable, Deque, Iterable, Iterator, Optional, Sequence, Tuple, Union

from ...files import hash_files, replace_folder
from ...text.files import Chunk, CorpusError, find_files, read_chunks
from ...text.tokenization import Tokenization
from ...text.tokenizers import (
    Tokenized,
    Tokenizer,
)
from .shards import META, Shards, ShardWriter

LAYOUT = 2
"""Part of the hash: changes with the files' layout."""


def prepare(
    paths: Sequence[Union[str, Path]],
    cache: Union[str, Path],
    tokenization: Optional[Tokenization] = None,
    *,
    shard_tokens: int = 1 << 24,
    n_process: int = 1,
    progress: Optional[Callable[[int, int], None]] = None,
) -> Shards:
    """The shards of a corpus; made only where the cache has none of this text and these
    settings.

    paths: files, folders and globs (see `text.find_files`).
    cache: folder in which each corpus has one.
    tokenization: how the text becomes sentences of words; by default by white space.
    shard_tokens: ids a shard, about; 4 bytes each.
    n_process: tokenisers at work beside this process; 1: none, all is done here. The
        result is the same.
    progress: called with the bytes read since the last call and the bytes in all.

    Raises CorpusError for text that cannot be read and where a tokeniser is killed,
    ValueError for unknown settings.
    """
    tokenization = tokenization or Tokenization()
    settings = {**tokenization.to_json(), "shard_tokens": shard_tokens}
    files = find_files(paths)
    key = _key(files, tokenization, settings)
    folder = Path(cache) / key
    if (folder / META).is_file():
        return Shards(folder)
    # Fails before any work where the settings are wrong.
    tokenizer = tokenization.make_tokenizer()
    with replace_folder(folder, overwrite=False) as unfinished:
        writer = ShardWriter(unfinished, shard_tokens)
        total = sum(path.stat().st_size for path in files)
        chunks = read_chunks(files)
        if n_process > 1:
            pairs = _in_processes(chunks, tokenization, n_process)
        else:
            pairs = ((chunk, tokenizer(chunk.lines)) for chunk in chunks)
        for chunk, tokenized in pairs:
            writer.add(tokenized)
            if progress is not None:
                progress(chunk.n_bytes, total)
        pipeline = tokenization.hash_pipeline()
        writer.close(
            {
                "layout": LAYOUT,
                "files": [path.name for path in files],
                "settings": settings,
                **({} if pipeline is None else {"pipeline": pipeline}),
            }
        )
        if not (folder / META).is_file():
            shutil.rmtree(folder, ignore_errors=True)
    return Shards(folder)


def _key(files: Sequence[Path], tokenization: Tokenization, settings: object) -> str:
    # The names' endings say how the contents are read.
    endings = [path.suffixes[-2:] for path in files]
    tokenizer = tokenization.identify_tokenizer()
    described = json.dumps([LAYOUT, hash_files(files), endings, tokenizer, settings])
    return hashlib.blake2b(described.encode(), digest_size=8).hexdigest()


_tokenizer: Tokenizer


def _start_worker(tokenization: Tokenization) -> None:
    global _tokenizer
    _tokenizer = tokenization.make_tokenizer()


def _work(chunk: Chunk) -> Tokenized:
    return _tokenizer(chunk.lines)


def _in_processes(
    chunks: Iterable[Chunk], tokenization: Tokenization, n_process: int
) -> Iterator[Tuple[Chunk, Tokenized]]:
    """In the order of the chunks, with few of them in memory."""
    context = multiprocessing.get_context("spawn")
    waiting: Deque[Tuple[Chunk, Future[Tokenized]]] = deque()
    try:
        with ProcessPoolExecutor(
            n_process,
            mp_context=context,
            initializer=_start_worker,
            initargs=(tokenization,),
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
