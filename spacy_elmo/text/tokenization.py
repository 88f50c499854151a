"""How raw text becomes sentences of words. Chosen once, for pretraining, and stored
with shards and weights, so that later text is tokenized in the same way."""

import json
from pathlib import Path
from typing import (
    Any,
    Callable,
    Dict,
    Iterator,
    List,
    Mapping,
    NamedTuple,
    Optional,
    Sequence,
    Union,
)

from ..files import hash_files, write_json
from .files import TEXT_FIELD, CorpusError, find_files, read_chunks
from .tokenizers import LINES, WHITESPACE, Tokenizer, is_language, make_tokenizer

PRETRAINING_META = "pretraining.json"
"""File in a folder of pretrained weights that describes their training."""

CHUNK_CHARS = 1 << 16
"""Characters to tokenize at a time: few enough for a smooth progress bar."""


class Tokenization(NamedTuple):
    """A tokenizer and how it finds sentences.

    tokenizer (str): "whitespace", a language code, or a spaCy pipeline's name or path.
    sentences (str): "lines" if each line is a sentence, or "split" if lines are
        paragraphs to be split.
    pipeline_hash (Optional[str]): Hash of the files of a pipeline named by its path, if
        stored: the path may not exist on another machine.
    text_field (str): Key of the text in JSON lines.
    """

    tokenizer: str = WHITESPACE
    sentences: str = LINES
    pipeline_hash: Optional[str] = None
    text_field: str = TEXT_FIELD

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Tokenization":
        """The inverse of `to_json`. RAISES: KeyError or TypeError."""
        return cls(values["tokenizer"], values["sentences"])

    def to_json(self) -> Dict[str, str]:
        """The settings that are stored with weights and shards."""
        return {"tokenizer": self.tokenizer, "sentences": self.sentences}

    def describe(self) -> str:
        """What commands print."""
        return f"tokenizer: {self.tokenizer}, sentences: {self.sentences}"

    def make_tokenizer(self, nlp: Any = None) -> Tokenizer:
        """Load the tokenizer. See `tokenizers.make_tokenizer`."""
        return make_tokenizer(self.tokenizer, self.sentences, nlp)

    def hash_pipeline(self) -> Optional[str]:
        """The hash of the pipeline's files, or None if no path names the pipeline."""
        if self.pipeline_hash is None and Path(self.tokenizer).is_dir():
            return hash_files([self.tokenizer])
        return self.pipeline_hash

    def has_tokenizer_of(self, other: "Tokenization") -> bool:
        """Compare tokenizers by name, or by content if two paths name pipelines."""
        if self.tokenizer == other.tokenizer:
            return True
        pipeline_hash = self.hash_pipeline()
        return pipeline_hash is not None and pipeline_hash == other.hash_pipeline()

    def identify_tokenizer(self) -> str:
        """Describe the tokenizer with its present version or contents.

        RAISES: CorpusError if the tokenizer needs spaCy, which is not installed.
        """
        name = self.tokenizer
        if name == WHITESPACE:
            return name
        try:
            import spacy
            from spacy.util import get_package_version
        except ImportError as error:
            raise CorpusError(
                f"tokenizer: expected {WHITESPACE!r} where spaCy is not installed, "
                f"found {name!r}. Install spaCy, or give a folder of prepared shards "
                "instead of text."
            ) from error

        if not is_language(name) and Path(name).is_dir():
            return f"spacy {spacy.__version__} {hash_files([name])}"
        return f"spacy {spacy.__version__} {name} {get_package_version(name)}"

    def read_sentences(
        self,
        paths: Sequence[Union[str, Path]],
        progress: Optional[Callable[[int, int], None]] = None,
        tokenize: Optional[Tokenizer] = None,
    ) -> Iterator[List[str]]:
        """Stream the sentences of text files. Empty lines are skipped.

        paths (Sequence[Union[str, Path]]): Files, folders and globs, as for
            `find_files`.
        progress (Optional[Callable]): Called with the number of bytes read since the
            last call, and the total.
        tokenize (Optional[Tokenizer]): The tokenizer, if it is loaded already.
        YIELDS (List[str]): The words of a sentence.
        RAISES: CorpusError if the text cannot be read or contains no words, ValueError
            if the tokenizer cannot be loaded.
        """
        files = find_files(paths)
        tokenize = tokenize or self.make_tokenizer()
        total = sum(path.stat().st_size for path in files)
        is_empty = True
        for chunk in read_chunks(files, CHUNK_CHARS, self.text_field):
            for sentence in tokenize(chunk.lines).sentences():
                is_empty = False
                yield sentence
            if progress is not None:
                progress(chunk.n_bytes, total)
        if is_empty:
            names = ", ".join(map(str, paths))
            raise CorpusError(f"{names}: expected text, found no words.")

    def split_text(self, text: str) -> List[List[str]]:
        """Tokenize a string, as if it were a text file."""
        lines = [line.strip() for line in text.splitlines()]
        return list(self.make_tokenizer()(lines).sentences())


def weights_folder(weights: Union[str, Path]) -> Path:
    """The folder of a model: its path, or the parent of its .safetensors file."""
    path = Path(weights)
    return path.parent if path.suffix == ".safetensors" and path.is_file() else path


def read_tokenization(weights: Union[str, Path]) -> Optional[Tokenization]:
    """Read how a model's training text was tokenized.

    weights (Union[str, Path]): The model's folder, or the .safetensors file in it.
    RETURNS (Optional[Tokenization]): The tokenization, or None if the folder does not
        say, as is the case for published weights.
    RAISES: ValueError if the file is damaged.
    """
    path = weights_folder(weights) / PRETRAINING_META
    if not path.is_file():
        return None
    try:
        return Tokenization.from_json(json.loads(path.read_text(encoding="utf8")))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path}: expected the JSON written by pretraining, found {error!r}. Copy "
            "the folder again, or delete the file and choose a tokenizer yourself."
        ) from error


def write_tokenization(folder: Path, tokenization: Optional[Tokenization]) -> None:
    """Store a tokenization with weights, for `read_tokenization`.

    folder (Path): The model's folder. Its description of an earlier training, if any,
        is replaced, because it belonged to other weights.
    tokenization (Optional[Tokenization]): The tokenization, or None if unknown.
    """
    path = folder / PRETRAINING_META
    if tokenization is None:
        path.unlink(missing_ok=True)
    else:
        write_json(path, tokenization.to_json())
