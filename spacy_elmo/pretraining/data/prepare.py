"""Raw text -> shards, in parallel. The result is cached under a hash of the text and
the settings."""

import hashlib
import json
import multiprocessing
import shutil
from collections import deque
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import (
    Any,
    Callable,
    Deque,
    Dict,
    Iterable,
    Iterator,
    Optional,
    Sequence,
    Tuple,
    Union,
)

from ...files import hash_files, replace_folder
from ...text.files import (
    TEXT_FIELD,
    Chunk,
    CorpusError,
    find_files,
    is_json_lines,
    read_chunks,
)
from ...text.tokenization import Tokenization
from ...text.tokenizers import Tokenized, Tokenizer
from .shards import META, Shards, ShardWriter

LAYOUT = 2
"""Version of the files' layout. Part of the hash."""


def prepare(
    paths: Sequence[Union[str, Path]],
    cache: Union[str, Path],
    tokenization: Optional[Tokenization] = None,
    *,
    shard_tokens: int = 1 << 24,
    n_process: int = 1,
    chunk_chars: int = 1 << 20,
    progress: Optional[Callable[[int, int], None]] = None,
) -> Shards:
    """Tokenize a corpus into shards, unless the cache has them.

    paths (Sequence[Union[str, Path]]): Files, folders and globs, as for `find_files`.
    cache (Union[str, Path]): Folder with one subfolder per corpus.
    tokenization (Optional[Tokenization]): How text becomes sentences of words. Defaults
        to splitting lines at whitespace.
    shard_tokens (int): Approximate number of ids per shard, of 4 bytes each.
    n_process (int): Number of tokenizer processes, which does not change the result. If
        1, this process does the work.
    chunk_chars (int): Approximate number of characters to tokenize at a time.
    progress (Optional[Callable]): Called with the number of bytes read since the last
        call, and the total.
    RETURNS (Shards): The corpus.
    RAISES: CorpusError if the text cannot be read or a tokenizer process is killed,
        ValueError if the tokenization is unknown.
    """
    tokenization = tokenization or Tokenization()
    settings: Dict[str, Any] = {**tokenization.to_json(), "shard_tokens": shard_tokens}
    if tokenization.text_field != TEXT_FIELD:  # added after version 0.1
        settings["text_field"] = tokenization.text_field
    files = find_files(paths)
    folder = Path(cache) / _cache_key(files, tokenization, settings)
    if (folder / META).is_file():
        return Shards(folder)
    # Raises for wrong settings before anything is written.
    tokenizer = tokenization.make_tokenizer()
    with replace_folder(folder, overwrite=False) as unfinished:
        writer = ShardWriter(unfinished, shard_tokens)
        total = sum(path.stat().st_size for path in files)
        chunks = read_chunks(files, chunk_chars, tokenization.text_field)
        if n_process > 1:
            tokenized_chunks = _tokenize_in_processes(chunks, tokenization, n_process)
        else:
            tokenized_chunks = ((chunk, tokenizer(chunk.lines)) for chunk in chunks)
        for chunk, tokenized in tokenized_chunks:
            writer.add(tokenized)
            if progress is not None:
                progress(chunk.n_bytes, total)
        meta = {
            "layout": LAYOUT,
            "files": [path.name for path in files],
            "settings": settings,
        }
        pipeline_hash = tokenization.hash_pipeline()
        if pipeline_hash is not None:
            meta["pipeline"] = pipeline_hash
        writer.close(meta)
        if not (folder / META).is_file():
            shutil.rmtree(folder, ignore_errors=True)
    return Shards(folder)


def _cache_key(
    files: Sequence[Path], tokenization: Tokenization, settings: object
) -> str:
    # File extensions determine how the contents are read. If JSON lines have another
    # extension, the key must differ from version 0.1's, which read them as text.
    extensions = [
        path.suffixes[-2:] + ["json"] * (is_json_lines(path) and not _is_jsonl(path))
        for path in files
    ]
    tokenizer = tokenization.identify_tokenizer()
    key = json.dumps([LAYOUT, hash_files(files), extensions, tokenizer, settings])
    return hashlib.blake2b(key.encode(), digest_size=8).hexdigest()


def _is_jsonl(path: Path) -> bool:
    return ".jsonl" in path.suffixes[-2:]


_tokenizer: Tokenizer
"""Tokenizer of this worker process."""


def _start_worker(tokenization: Tokenization) -> None:
    global _tokenizer
    _tokenizer = tokenization.make_tokenizer()


def _tokenize(chunk: Chunk) -> Tokenized:
    return _tokenizer(chunk.lines)


def _tokenize_in_processes(
    chunks: Iterable[Chunk], tokenization: Tokenization, n_process: int
) -> Iterator[Tuple[Chunk, Tokenized]]:
    """Yield tokenized chunks in order, with few of them in memory."""
    context = multiprocessing.get_context("spawn")
    pending: Deque[Tuple[Chunk, Future[Tokenized]]] = deque()
    try:
        with ProcessPoolExecutor(
            n_process,
            mp_context=context,
            initializer=_start_worker,
            initargs=(tokenization,),
        ) as pool:
            for chunk in chunks:
                pending.append((chunk, pool.submit(_tokenize, chunk)))
                if len(pending) > 2 * n_process:
                    first, future = pending.popleft()
                    yield first, future.result()
            for first, future in pending:
                yield first, future.result()
    except BrokenProcessPool as error:
        raise CorpusError(
            f"corpus: expected {n_process} tokenizer processes to run to the end of "
            "the text, found one that was killed, probably for lack of memory. Lower "
            "corpus.n_process or free some memory. If the process printed an error, "
            "that is the reason."
        ) from error
