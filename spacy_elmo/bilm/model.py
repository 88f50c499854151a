"""The biLM: sentences of words -> all layers of each word."""

from typing import (
    Any,
    Dict,
    Iterator,
    List,
    NamedTuple,
    Optional,
    Sequence,
    Tuple,
    cast,
)
from weakref import finalize

import numpy as np
import torch
from torch import Tensor, nn

from . import onednn
from .backends.cpu.workspace import release
from .char_cnn import CharacterEncoder
from .characters import ByteCharacters, Characters, count_characters
from .config import BiLMConfig
from .directions import Directions
from .lstm import LSTMState, ProjectedLSTM
from .packing import Packing
from .precision import resolve_precision
from .ready import ReadyBiLM, fingerprint, new_stamp

DEFAULT_BATCH_TOKENS = 4096
DEFAULT_WORD_CACHE_MB = 64

Sentence = Sequence[str]


class BiLMState(NamedTuple):
    """Where each stream of text stands, one LSTMState a layer, a row a stream."""

    forward: List[LSTMState]
    backward: List[LSTMState]


class BiLM(nn.Module):
    """A deep bidirectional language model over characters, without its output layer
    (Peters et al. 2018, sections 3.1 and 3.2).

    config: sizes.
    characters: how words become ids. None: the published byte scheme.

    A new model has random weights; `spacy_elmo.load_bilm` reads trained ones.

    word_cache_mb: an attribute, MiB for the vectors of words that were met before, so
        that their characters are not read again. 0 keeps none.
    """

    def __init__(
        self, config: BiLMConfig, characters: Optional[Characters] = None
    ) -> None:
        super().__init__()
        if characters is None:
            if config.characters != "bytes":
                raise ValueError(
                    f"characters: expected a VocabularyCharacters for the scheme "
                    f"{config.characters!r}, found None."
                )
            characters = ByteCharacters(config.max_characters_per_token)
        self.config = config
        self.characters = characters
        self.word_cache_mb: float = DEFAULT_WORD_CACHE_MB
        self.stamp = new_stamp()
        self._ready: Optional[ReadyBiLM] = None
        finalize(self, release).atexit = False  # what its training has left
        self.character_encoder = CharacterEncoder(config)
        self.forward_layers = nn.ModuleList(
            ProjectedLSTM(config) for _ in range(config.n_layers)
        )
        self.backward_layers = nn.ModuleList(
            ProjectedLSTM(config) for _ in range(config.n_layers)
        )

    @property
    def device(self) -> torch.device:
        return self.character_encoder.char_embedding.weight.device

    @property
    def n_parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.parameters())

    def clear_cache(self) -> None:
        """Forget what was laid out and kept for the present weights. A change of the
        weights is seen without this, unless PyTorch does not count it: one through
        `weight.data`, through memory that a tensor shares with another library
        (`weight.numpy()[...] = x`), or of weights that were made in inference mode."""
        self.stamp = new_stamp()
        self._ready = None

    def __getstate__(self) -> Dict[str, Any]:
        return {**self.__dict__, "_ready": None}

    def __setstate__(self, state: Dict[str, Any]) -> None:
        super().__setstate__(state)
        finalize(self, release).atexit = False

    def _get_ready(self, dtype: torch.dtype) -> Optional[ReadyBiLM]:
        """For a pass without gradients; None with them, and where autocast changes the
        dtype: that must not stay in what is kept."""
        if torch.is_grad_enabled() or torch.is_autocast_enabled(self.device.type):
            return None
        ready = self._ready
        if (
            ready is None
            or ready.dtype != dtype
            or ready.word_cache_mb != self.word_cache_mb
            or ready.by_onednn != onednn.is_enabled()
            or ready.fingerprint != fingerprint(self)
        ):
            ready = self._ready = ReadyBiLM(self, dtype, self.word_cache_mb)
        return ready

    @torch.no_grad()
    def encode(
        self,
        sentences: Sequence[Sentence],
        batch_tokens: int = DEFAULT_BATCH_TOKENS,
        precision: str = "float32",
    ) -> List[np.ndarray]:
        """All layers of each word of each sentence.

        Stateless: a sentence gets the same vectors alone and beside any others, up to
        the rounding of float32.

        sentences: of words; may be empty, as may a sentence.
        batch_tokens: words that are in work at once, boundary tokens included; what
            bounds the memory beside the result. A longer sentence is a batch alone.
        precision: "float32", "bfloat16" or "auto" (see `bilm.precision`).
        RETURNS: per sentence, in the order given, (n_layers + 1, n_words,
            2 * projection_dim), float32: first the word's vector from its characters
            alone, twice; then each LSTM layer, forward half first.

        Raises ValueError for a batch_tokens under 1 or an unknown precision, TypeError
        where a sentence is a string.
        """
        dtype = resolve_precision(precision, self.device)
        shape = (self.config.n_layers + 1, 0, self.config.width)
        results = [np.zeros(shape, dtype=np.float32) for _ in sentences]
        for numbers in group_by_length(sentences, batch_tokens):
            batch = [sentences[number] for number in numbers]
            layers = self.encode_batch(batch, dtype=dtype)[0].float().cpu().numpy()
            ends = np.cumsum([len(sentence) for sentence in batch])[:-1]
            for number, array in zip(numbers, np.split(layers, ends, axis=1)):
                results[number] = array.copy() if len(numbers) > 1 else array
        return results

    def forward(
        self,
        sentences: Sequence[Sentence],
        batch_tokens: int = DEFAULT_BATCH_TOKENS,
        precision: str = "float32",
    ) -> Tensor:
        """`encode` as one tensor on the model's device, through which gradients flow.

        RETURNS: (n_layers + 1, number of words of all sentences, 2 * projection_dim),
            the words in the order given.
        """
        dtype = resolve_precision(precision, self.device)
        lengths = np.asarray([len(sentence) for sentence in sentences], dtype=np.int64)
        starts = np.cumsum(lengths) - lengths
        layers = self.character_encoder.char_embedding.weight.new_empty(
            self.config.n_layers + 1, int(lengths.sum()), self.config.width
        )
        for numbers in group_by_length(sentences, batch_tokens):
            batch = [sentences[number] for number in numbers]
            rows = np.concatenate([starts[n] + np.arange(lengths[n]) for n in numbers])
            # In place: beside the result there is never more than one batch.
            layers.index_copy_(
                1,
                torch.from_numpy(rows).to(self.device),
                self.encode_batch(batch, dtype=dtype)[0],
            )
        return layers

    def encode_batch(
        self,
        sentences: Sequence[Sentence],
        state: Optional[BiLMState] = None,
        dtype: torch.dtype = torch.float32,
    ) -> Tuple[Tensor, BiLMState]:
        """One batch, with the LSTMs' state in and out.

        sentences: of words, at least one; boundary tokens are put around each and
            stripped from the result.
        state: of an earlier batch, whose i-th sentence the i-th one here goes on from.
            None: zeros, as everywhere in `encode`.
        dtype: of the matrix products, float32 or bfloat16.
        RETURNS: (n_layers + 1, number of words, 2 * projection_dim), the sentences one
            after the other, and the state after each one's own last token.
        """
        begin, end = self.characters.boundaries
        lengths = [len(sentence) + 2 for sentence in sentences]
        tokens = [word for s in sentences for word in (begin, *s, end)]
        distinct: Dict[str, int] = {}
        rows = [distinct.setdefault(word, len(distinct)) for word in tokens]
        vectors = self.encode_words(list(distinct), dtype)
        vectors = vectors[torch.tensor(rows, device=self.device)]
        layers, state = self.contextualize(vectors, lengths, state, dtype)
        if len(sentences) == 1:
            return layers[:, 1:-1], state
        ends = np.cumsum(lengths)
        inner = np.ones(len(tokens), dtype=bool)
        inner[ends - 1] = inner[ends - np.asarray(lengths)] = False
        kept = torch.from_numpy(np.flatnonzero(inner)).to(self.device)
        return layers.index_select(1, kept), state

    def encode_words(
        self, words: Sequence[str], dtype: torch.dtype = torch.float32
    ) -> Tensor:
        """The words' vectors from their characters alone, each formed once.

        RETURNS: (len(words), projection_dim), float32.
        """
        ready = self._get_ready(dtype)
        if ready is None:
            return self._read_characters(words, dtype, None)
        return ready.words.look_up(
            words, lambda unknown: self._read_characters(unknown, dtype, ready)
        )

    def _read_characters(
        self, words: Sequence[str], dtype: torch.dtype, ready: Optional[ReadyBiLM]
    ) -> Tensor:
        char_ids = self.characters(words)
        word_ids = self.characters.word_ids(words)
        lengths = count_characters(char_ids, self.characters.padding)
        # Words of about one length together: nobody computes another's padding.
        order = np.argsort(lengths, kind="stable")
        vectors = self.encode_characters(
            torch.from_numpy(char_ids[order]).to(self.device),
            torch.from_numpy(word_ids[order]).to(self.device),
            lengths[order],
            dtype,
            ready,
        )
        back = torch.from_numpy(np.argsort(order)).to(self.device)
        return vectors.index_select(0, back)

    def encode_characters(
        self,
        char_ids: Tensor,
        word_ids: Tensor,
        lengths: np.ndarray,
        dtype: torch.dtype = torch.float32,
        ready: Optional[ReadyBiLM] = None,
    ) -> Tensor:
        """The same from what `characters` makes of the words, the shortest first.

        char_ids: (n_words, max_characters_per_token), int64. word_ids: (n_words,),
        int64. lengths: of the words, without padding, (n_words,), on the host.
        RETURNS: (n_words, projection_dim), float32.
        """
        encoder = self.character_encoder
        if ready is None:
            return encoder(char_ids, word_ids, lengths.tolist(), dtype)
        features = encoder.convolve(
            char_ids, lengths.tolist(), ready.filter_weight, dtype
        )
        return encoder.project(features, word_ids, ready.apply, ready.dtype)

    def layer_pairs(self) -> List[List[ProjectedLSTM]]:
        """Of each layer, the forward LM's LSTM and the backward LM's."""
        pairs = zip(self.forward_layers, self.backward_layers)
        return [[cast(ProjectedLSTM, layer) for layer in pair] for pair in pairs]

    def contextualize(
        self,
        vectors: Tensor,
        lengths: Sequence[int],
        state: Optional[BiLMState] = None,
        dtype: torch.dtype = torch.float32,
    ) -> Tuple[Tensor, BiLMState]:
        """Word vectors -> all layers. Each direction is a stack of its own.

        vectors: (n_tokens, projection_dim), the sequences one after the other.
        lengths: of the sequences, each at least 1.
        state: a row a sequence, in their order; None: zeros.
        RETURNS: (n_layers + 1, n_tokens, 2 * projection_dim) and the state after each
            sequence's last token (its first one, for the backward direction).

        Raises ValueError for a state of another number of streams.
        """
        if state is not None:
            found = state.forward[0].hidden.shape[0]
            if found != len(lengths):
                raise ValueError(
                    f"state: expected one of {len(lengths)} streams, found one of "
                    f"{found}. Each sequence goes on from the same place in the batch."
                )
        packing = Packing.from_lengths(lengths, vectors.device)
        ready = self._get_ready(dtype)
        pairs: Sequence[Directions]
        if ready is not None:
            pairs = ready.layers
        else:
            pairs = [Directions(pair, dtype) for pair in self.layer_pairs()]
        n_layers, width = self.config.n_layers + 1, self.config.projection_dim
        layers = vectors.new_empty(n_layers, len(vectors), 2 * width)
        layers[0, :, :width] = layers[0, :, width:] = vectors
        inputs = torch.stack([vectors[packing.forward], vectors[packing.backward]])
        unpack = (packing.unpack_forward, packing.unpack_backward)
        states = []
        unsort = torch.argsort(packing.order)
        for number, pair in enumerate(pairs):
            hidden = vectors.new_zeros(2, len(lengths), width)
            cell = vectors.new_zeros(2, len(lengths), self.config.dim)
            if state is not None:
                before = [direction[number] for direction in state]
                hidden = torch.stack([one.hidden[packing.order] for one in before])
                cell = torch.stack([one.cell[packing.order] for one in before])
            last, outputs = pair.run(inputs, packing.batch_sizes, hidden, cell)
            if number and self.config.use_skip_connections:
                outputs = outputs + inputs
            layers[number + 1, :, :width] = outputs[0][unpack[0]]
            layers[number + 1, :, width:] = outputs[1][unpack[1]]
            states.append(LSTMState(last.hidden[:, unsort], last.cell[:, unsort]))
            inputs = outputs
        return layers, BiLMState(
            *(
                [LSTMState(h[direction], c[direction]) for h, c in states]
                for direction in (0, 1)
            )
        )


def group_by_length(
    sentences: Sequence[Sentence], batch_tokens: int
) -> Iterator[List[int]]:
    """Numbers of sentences of about one length, longest first, that together have at
    most `batch_tokens` tokens (two boundary tokens a sentence included), or that are
    one longer sentence. Empty sentences are left out.

    Raises ValueError for a batch_tokens under 1, TypeError for a string as sentence.
    """
    if batch_tokens < 1:
        raise ValueError(
            f"batch_tokens: expected a whole number from 1, found {batch_tokens}."
        )
    if isinstance(sentences, str) or any(isinstance(s, str) for s in sentences):
        raise TypeError(
            "sentences: expected a list of lists of words, found a string among them. "
            "Split it into words first, or put it into a list."
        )
    lengths = np.asarray([len(sentence) for sentence in sentences], dtype=np.int64)
    batch: List[int] = []
    tokens = 0
    for number in np.argsort(-lengths, kind="stable").tolist():
        length = int(lengths[number]) + 2
        if length == 2:
            break
        if batch and tokens + length > batch_tokens:
            yield batch
            batch, tokens = [], 0
        batch.append(number)
        tokens += length
    if batch:
        yield batch
