"""What is fuzzed: how each reader reads arbitrary bytes, and valid files to start from.

The first byte of an input may choose the file of a folder, or the extension of a file,
that the rest is the content of.
"""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import shutil
import tempfile
import warnings
import zipfile
import zlib
from pathlib import Path
from typing import Callable, Dict, Iterator, List, NamedTuple, Tuple

import h5py
import numpy as np
import spacy
import torch
from helpers import manylangs_folder, numpy_bilm

from spacy_elmo import load_bilm
from spacy_elmo.formats import native, options
from spacy_elmo.layers.bilm_layer import BiLMShim
from spacy_elmo.pretraining.data.lanes import Lanes
from spacy_elmo.pretraining.data.shards import META, Shards, ShardWriter
from spacy_elmo.pretraining.data.stored_files import describe
from spacy_elmo.pretraining.output import checkpoints
from spacy_elmo.readers.conll import conll_corpus_v1
from spacy_elmo.text.files import find_files, read_chunks
from spacy_elmo.text.tokenizers import tokenize_whitespace

OPTIONS: numpy_bilm.Options = {
    "lstm": {
        "dim": 3,
        "projection_dim": 2,
        "n_layers": 1,
        "cell_clip": 3,
        "proj_clip": 3,
        "use_skip_connections": True,
    },
    "char_cnn": {
        "embedding": {"dim": 1},
        "filters": [[1, 1], [2, 2]],
        "n_highway": 1,
        "n_characters": 262,
        "max_characters_per_token": 9,
        "activation": "relu",
    },
}
SUFFIXES = (".txt", ".jsonl", ".json", ".gz", ".xz", ".bz2", ".zst", "")
CHECKPOINT = "step-00000001"
RAM = Path("/dev/shm")
SCRATCH = RAM if RAM.is_dir() else None
"""Folder of the temporary files; None for the default."""


class Reader(NamedTuple):
    """A fuzz target.

    read (Callable[[bytes, Path], object]): Reads an input; may use an empty folder.
    seeds (Callable[[Path], Iterator[bytes]]): Makes valid inputs; may use an empty
        folder.
    """

    read: Callable[[bytes, Path], object]
    seeds: Callable[[Path], Iterator[bytes]]


def published(folder: Path) -> Tuple[Path, Path]:
    weights = numpy_bilm.random_weights(OPTIONS, np.random.default_rng(0))
    numpy_bilm.write_published(folder, OPTIONS, weights)
    return folder / "options.json", folder / "weights.hdf5"


def manylangs(folder: Path) -> List[Path]:
    weights = numpy_bilm.random_weights(OPTIONS, np.random.default_rng(0))
    folder.mkdir(exist_ok=True)
    manylangs_folder.write(folder, OPTIONS, weights)
    return sorted(folder.iterdir())


def shards(folder: Path) -> List[Path]:
    writer = ShardWriter(folder, 4)
    writer.add(tokenize_whitespace(["a b c", "b", "", "c a", "é"]))
    writer.add(tokenize_whitespace(["d a", "b"]))
    writer.close({"settings": {"tokenizer": "whitespace", "sentences": "lines"}})
    return sorted(folder.iterdir())


class Prepared:
    """Valid files that inputs are put next to, made once per process."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(dir=SCRATCH)
        self._paths: Dict[str, Path] = {}

    def folder(self, make: Callable[[Path], object]) -> Path:
        path = Path(self._folder.name) / make.__name__
        if not path.exists():
            path.mkdir()
            make(path)
        return path

    def file_of(
        self, make: Callable[[Path], object], data: bytes, folder: Path
    ) -> Path:
        """Link the files of a folder, but write the rest of the input in place of the
        one that its first byte chooses. The links must not be written to."""
        target = folder / "copy"
        target.mkdir()
        files = sorted(self.folder(make).iterdir())
        chosen = files.pop(data[0] % len(files) if data else 0)
        for path in files:
            (target / path.name).hardlink_to(path)
        (target / chosen.name).write_bytes(data[1:])
        return target / chosen.name


PREPARED = Prepared()


def files_of(make: Callable[[Path], object]) -> Callable[[Path], Iterator[bytes]]:
    """Seeds for `Prepared.file_of`."""

    def seeds(folder: Path) -> Iterator[bytes]:
        make(folder)
        for number, path in enumerate(sorted(folder.iterdir())):
            yield bytes([number]) + path.read_bytes()

    return seeds


def read_options(data: bytes, folder: Path) -> None:
    (folder / options.FILE_NAME).write_bytes(data)
    weights = PREPARED.folder(published) / "weights.hdf5"
    load_bilm(folder / options.FILE_NAME, weights)


def options_seeds(folder: Path) -> Iterator[bytes]:
    yield published(folder)[0].read_bytes()


def read_hdf5(data: bytes, folder: Path) -> None:
    (folder / "weights.hdf5").write_bytes(data)
    load_bilm(PREPARED.folder(published) / options.FILE_NAME, folder / "weights.hdf5")


def hdf5_seeds(folder: Path) -> Iterator[bytes]:
    weights = published(folder)[1]
    yield weights.read_bytes()
    arrays: Dict[str, np.ndarray] = {}
    with h5py.File(weights) as file:
        file.visititems(lambda key, item: arrays.update(arrays_of(key, item)))
    for libver, filters in ("latest", {}), ("earliest", {"compression": "gzip"}):
        with h5py.File(weights, "w", libver=libver) as file:
            for key, array in arrays.items():
                file.create_dataset(key, data=array, **filters)
        yield weights.read_bytes()


def arrays_of(key: str, item: object) -> Dict[str, np.ndarray]:
    return {key: item[...]} if isinstance(item, h5py.Dataset) else {}


def read_safetensors(data: bytes, folder: Path) -> None:
    native.from_bytes(data)


def safetensors_seeds(folder: Path) -> Iterator[bytes]:
    published(folder)
    yield native.to_bytes(load_bilm(folder))
    manylangs(folder / "many")
    many = load_bilm(folder / "many")
    yield native.to_bytes(many, "float16")
    yield native.to_bytes(many, "int8")


def read_zip(data: bytes, folder: Path) -> None:
    (folder / "a.zip").write_bytes(data)
    load_bilm(folder / "a.zip")


def zip_seeds(folder: Path) -> Iterator[bytes]:
    files = [*published(folder / "published")]
    for method, names in (
        (zipfile.ZIP_STORED, files),
        (zipfile.ZIP_DEFLATED, files),
        (zipfile.ZIP_DEFLATED, manylangs(folder / "many")),
    ):
        with zipfile.ZipFile(folder / "a.zip", "w", method) as archive:
            for path in names:
                archive.write(path, f"144/{path.name}")
        yield (folder / "a.zip").read_bytes()


def read_manylangs(data: bytes, folder: Path) -> None:
    load_bilm(PREPARED.file_of(manylangs, data, folder).parent)


def checkpoint(folder: Path) -> None:
    tensors = {"model.a": torch.arange(3.0), "optimizer.a.sum": torch.zeros(3)}
    checkpoints.save(folder, 1, tensors, {"words": 3, "settings": {"seed": 1}})


def read_checkpoint(data: bytes, folder: Path) -> None:
    """The checksums are right, so that the reader sees what is behind them."""
    path = folder / CHECKPOINT
    path.mkdir()
    tensors, meta = path / checkpoints.TENSORS, path / checkpoints.META
    stored = PREPARED.folder(checkpoint) / CHECKPOINT
    if data[:1] == b"\0":
        shutil.copy(stored / tensors.name, tensors)
        meta.write_bytes(data[1:])
    else:
        tensors.write_bytes(data[1:])
        state = json.loads((stored / meta.name).read_bytes())
        state["checksum"] = f"{len(data) - 1}-{zlib.crc32(data[1:]):08x}"
        meta.write_text(json.dumps(state))
    checkpoints.load_newest(folder, lambda warning: None)


def checkpoint_seeds(folder: Path) -> Iterator[bytes]:
    checkpoint(folder)
    for number, name in enumerate((checkpoints.META, checkpoints.TENSORS)):
        yield bytes([number]) + (folder / CHECKPOINT / name).read_bytes()


def read_shards(data: bytes, folder: Path) -> None:
    """The checksums are right, so that the reader sees what is behind them."""
    changed = PREPARED.file_of(shards, data, folder)
    if changed.name != META:
        path = changed.with_name(META)
        meta = json.loads(path.read_bytes())
        meta["stored"].update(describe(changed))
        path.unlink()  # it is a link to the prepared file
        path.write_text(json.dumps(meta))
    text = Shards(changed.parent)
    text.types()
    Lanes(text, 2, 3, n_ids=min(text.n_ids, 100) or None).window(0)


def read_pipeline(data: bytes, folder: Path) -> None:
    """Read the part of a stored pipeline that spaCy and Thinc leave to us."""
    BiLMShim(1.0).from_bytes(data)


def pipeline_seeds(folder: Path) -> Iterator[bytes]:
    published(folder)
    shim = BiLMShim(1.0)
    shim.bilm = load_bilm(folder)
    yield shim.to_bytes()


def with_suffix(data: bytes, folder: Path) -> Path:
    """Write an input to a file; the first byte chooses its extension."""
    path = folder / f"a{SUFFIXES[data[0] % len(SUFFIXES) if data else 0]}"
    path.write_bytes(data[1:])
    return path


def compressed_seeds(*texts: bytes) -> Callable[[Path], Iterator[bytes]]:
    """Texts as they are and, of the first, each compression."""

    def seeds(folder: Path) -> Iterator[bytes]:
        for number, text in enumerate(texts):
            yield bytes([number]) + text
        first = texts[0]
        packed = gzip.compress(first), lzma.compress(first), bz2.compress(first)
        for number, data in enumerate(packed, start=3):
            yield bytes([number]) + data

    return seeds


NLP = spacy.blank("xx")
CONLL = """\
-DOCSTART- -X- -X- O

EU NNP I-NP B-ORG
rejects VBZ I-VP O
German JJ I-NP B-MISC
call NN I-NP O

Peter NNP I-NP B-PER
Blackburn NNP I-NP I-PER
"""


def read_conll(data: bytes, folder: Path) -> None:
    for _ in conll_corpus_v1(with_suffix(data, folder))(NLP):
        pass


def read_text(data: bytes, folder: Path) -> None:
    for chunk in read_chunks(find_files([with_suffix(data, folder)]), 1 << 10):
        tokenize_whitespace(chunk.lines)


READERS: Dict[str, Reader] = {
    "options": Reader(read_options, options_seeds),
    "hdf5": Reader(read_hdf5, hdf5_seeds),
    "safetensors": Reader(read_safetensors, safetensors_seeds),
    "zip": Reader(read_zip, zip_seeds),
    "manylangs": Reader(read_manylangs, files_of(manylangs)),
    "checkpoints": Reader(read_checkpoint, checkpoint_seeds),
    "shards": Reader(read_shards, files_of(shards)),
    "pipelines": Reader(read_pipeline, pipeline_seeds),
    "conll": Reader(read_conll, compressed_seeds(CONLL.encode(), b"a\tO\n\nb\tB-X\n")),
    "text": Reader(
        read_text,
        compressed_seeds(
            "She sat on the bank .\n\nnaïve\n".encode(),
            b'{"text": "a b\\nc"}\n{"text": "d"}\n',
        ),
    ),
}


def read(name: str, data: bytes) -> bool:
    """Read an input as a user's program would.

    RETURNS (bool): Whether it was accepted; any error of the readers' own kinds is a
        proper refusal.
    """
    with tempfile.TemporaryDirectory(dir=SCRATCH) as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            READERS[name].read(data, Path(folder))
        except (ValueError, OSError) as error:
            # Subclasses that are not ours do not say what to do.
            if isinstance(error, UnicodeError | json.JSONDecodeError):
                raise
            return False
    return True


def seeds(name: str) -> List[bytes]:
    """Valid inputs of a reader."""
    with tempfile.TemporaryDirectory() as folder:
        return list(READERS[name].seeds(Path(folder)))
