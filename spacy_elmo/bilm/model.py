"""The biLM: sentences -> all layers of each token."""

from typing import Any, Dict, Iterable, List, Optional, Sequence, Tuple, cast

import numpy as np
import torch
from torch import Tensor, nn

from .backends import Backend, LSTMState, select_backend
from .batching import (
    DEFAULT_BATCH_TOKENS,
    Sentence,
    group_by_length,
    list_sentences,
)
from .char_cnn import CharacterEncoder
from .characters import ByteCharacters, Characters, count_characters
from .config import BiLMConfig
from .lstm import Packing, ProjectedLSTM
from .operations import LayerPair, Operations, bind
from .precision import resolve_precision
from .prepared_weights import Fingerprint, Prepared, fingerprint, new_stamp
from .stack import run_stack

NOT_FINITE = (
    "expected vectors of finite numbers, found infinity or NaN: the weights are "
    "damaged, or their values are too large. Load the weights again, or use others."
)
DEFAULT_WORD_CACHE_MB = 64


class BiLM(nn.Module):
    """A deep bidirectional language model over characters, without its output layer
    (Peters et al. 2018, sections 3.1 and 3.2).

    A new model has random weights; `spacy_elmo.load_bilm` loads trained weights.

    config (BiLMConfig): Sizes.
    characters (Optional[Characters]): Maps words to character ids. None for the
        published byte scheme.
    word_cache_mb (float): An attribute: size in MiB of the cache of word vectors, which
        saves encoding the characters of a word again. 0 for no cache.
    prepared (Optional[Prepared]): An attribute: packed weights and cached words.
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
        self._stamp = new_stamp()
        self.prepared: Optional[Prepared] = None
        self._backends: Dict[Any, Backend] = {}
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

    @property
    def layer_pairs(self) -> List[LayerPair]:
        """The forward LM's and the backward LM's LSTM of each layer."""
        pairs = zip(self.forward_layers, self.backward_layers)
        return [[cast(ProjectedLSTM, layer) for layer in pair] for pair in pairs]

    def fingerprint(self) -> Fingerprint:
        """Return a value that changes with the weights, as far as PyTorch notices, and
        with each `clear_cache`."""
        return fingerprint(self, self._stamp)

    def clear_cache(self) -> None:
        """Discard packed weights and cached word vectors.

        Needed only after a change that PyTorch does not count: through `weight.data`,
        through memory shared with another library (`weight.numpy()[...] = x`), or of
        weights made in inference mode.
        """
        self._stamp = new_stamp()
        self.prepared = None

    def __getstate__(self) -> Dict[str, Any]:
        return {**self.__dict__, "prepared": None, "_backends": {}}

    def backend(self, dtype: torch.dtype = torch.float32) -> Backend:
        """Return the backend for passes with gradients, selected once.

        dtype (torch.dtype): Dtype of the matrix products, float32 or bfloat16.
        """
        weight = self.character_encoder.char_embedding.weight
        autocast = torch.is_autocast_enabled(weight.device.type)
        key = weight.device, weight.dtype, dtype, autocast
        if key not in self._backends:
            self._backends[key] = select_backend(
                weight.device, dtype, state_dtype=weight.dtype, training=True
            )
        return self._backends[key]

    def bind(self, dtype: torch.dtype = torch.float32) -> Operations:
        """Return the operations through which gradients flow to the parameters."""
        return bind(self.backend(dtype), self.character_encoder, self.layer_pairs)

    def operations(self, dtype: torch.dtype = torch.float32) -> Operations:
        """Return the operations of the present weights: packed for inference, or those
        of `bind` when gradients are enabled.

        dtype (torch.dtype): Dtype of the matrix products, float32 or bfloat16.
        """
        prepared = self._prepare(dtype)
        return self.bind(dtype) if prepared is None else prepared.operations

    def _prepare(self, dtype: torch.dtype) -> Optional[Prepared]:
        """Return what inference needs. None when gradients are enabled or under
        autocast, whose dtype must not leak into the cache."""
        if torch.is_grad_enabled() or torch.is_autocast_enabled(self.device.type):
            return None
        prepared = self.prepared
        if (
            prepared is None
            or prepared.dtype != dtype
            or prepared.word_cache_mb != self.word_cache_mb
            or prepared.fingerprint != fingerprint(self, self._stamp)
        ):
            self._backends.clear()  # with the buffers of earlier training
            weight = self.character_encoder.char_embedding.weight
            backend = select_backend(weight.device, dtype, state_dtype=weight.dtype)
            prepared = self.prepared = Prepared(
                self,
                self._stamp,
                backend,
                self.character_encoder,
                self.layer_pairs,
                self.word_cache_mb,
            )
        return prepared

    @torch.no_grad()
    def encode(
        self,
        sentences: Iterable[Sentence],
        batch_tokens: int = DEFAULT_BATCH_TOKENS,
        precision: str = "float32",
    ) -> List[np.ndarray]:
        """Compute all layers for each sentence, independently of its neighbors: the
        vectors are the same, up to rounding, alone and in any batch.

        sentences (Iterable[Iterable[str]]): Tokenized sentences; empty ones are
            allowed.
        batch_tokens (int): Maximum number of tokens per batch, boundary tokens
            included. Bounds the memory; a longer sentence gets its own batch.
        precision (str): "float32"; "bfloat16"; "int8", which needs the compiled
            kernels; "auto" for bfloat16 where it is native; or "fastest" for int8 if
            there are kernels for it, otherwise "auto".
        RETURNS (List[ndarray]): One float32 array of shape (n_layers + 1, n_tokens,
            2 * projection_dim) per sentence, in input order. Layer 0 is the token's
            vector from its characters alone, twice; the LSTM layers follow, with the
            forward half first.
        RAISES: ValueError if `batch_tokens` is less than 1, if `precision` is unknown,
            or if a vector is not finite; TypeError if a sentence is a string or has
            items that are not strings.
        """
        dtype = resolve_precision(precision, self.device)
        sentences = list_sentences(sentences)
        shape = (self.config.n_layers + 1, 0, self.config.width)
        results = [np.zeros(shape, dtype=np.float32) for _ in sentences]
        for numbers in group_by_length(sentences, batch_tokens):
            batch = [sentences[number] for number in numbers]
            layers = self.encode_batch(batch, dtype=dtype)[0].float().cpu().numpy()
            if not np.isfinite(layers).all():
                raise ValueError(NOT_FINITE)
            ends = np.cumsum([len(sentence) for sentence in batch])[:-1]
            for number, array in zip(numbers, np.split(layers, ends, axis=1)):
                results[number] = array.copy() if len(numbers) > 1 else array
        return results

    def forward(
        self,
        sentences: Iterable[Sentence],
        batch_tokens: int = DEFAULT_BATCH_TOKENS,
        precision: str = "float32",
    ) -> Tensor:
        """Compute the layers of `encode` as one differentiable tensor on the model's
        device.

        RETURNS (Tensor): (n_layers + 1, n_tokens of all sentences,
            2 * projection_dim), the tokens in input order.
        """
        dtype = resolve_precision(precision, self.device)
        sentences = list_sentences(sentences)
        lengths = np.asarray([len(sentence) for sentence in sentences], dtype=np.int64)
        starts = np.cumsum(lengths) - lengths
        layers = self.character_encoder.char_embedding.weight.new_empty(
            self.config.n_layers + 1, int(lengths.sum()), self.config.width
        )
        for numbers in group_by_length(sentences, batch_tokens):
            batch = [sentences[number] for number in numbers]
            rows = np.concatenate([starts[n] + np.arange(lengths[n]) for n in numbers])
            # In place: there is never more than one batch besides the result.
            layers.index_copy_(
                1,
                torch.from_numpy(rows).to(self.device),
                self.encode_batch(batch, dtype=dtype)[0],
            )
        return layers

    def encode_batch(
        self,
        sentences: Sequence[Sentence],
        states: Optional[Sequence[LSTMState]] = None,
        dtype: torch.dtype = torch.float32,
    ) -> Tuple[Tensor, List[LSTMState]]:
        """Encode one batch, with the LSTMs' state in and out.

        sentences (Sequence[Sequence[str]]): At least one tokenized sentence. Boundary
            tokens are added around each and removed from the result.
        states (Optional[Sequence[LSTMState]]): State of each layer after an earlier
            batch, whose i-th sentence the i-th sentence continues. None for zeros, as
            always in `encode`.
        dtype (torch.dtype): Dtype of the matrix products, float32 or bfloat16.
        RETURNS (Tuple[Tensor, List[LSTMState]]): The layers, (n_layers + 1, n_tokens,
            2 * projection_dim), sentence after sentence, and the state of each layer
            after each sentence's last token.
        """
        begin, end = self.characters.boundaries
        lengths = [len(sentence) + 2 for sentence in sentences]
        tokens = [word for s in sentences for word in (begin, *s, end)]
        distinct: Dict[str, int] = {}
        rows = [distinct.setdefault(word, len(distinct)) for word in tokens]
        prepared = self._prepare(dtype)
        vectors = self.encode_words(list(distinct), dtype, prepared)
        vectors = vectors[torch.tensor(rows, device=vectors.device)]
        layers, states = self.contextualize(vectors, lengths, states, dtype, prepared)
        if len(sentences) == 1:
            return layers[:, 1:-1], states
        ends = np.cumsum(lengths)
        is_inner = np.ones(len(tokens), dtype=bool)
        is_inner[ends - 1] = is_inner[ends - np.asarray(lengths)] = False
        inner = torch.from_numpy(np.flatnonzero(is_inner)).to(self.device)
        return layers.index_select(1, inner), states

    def encode_words(
        self,
        words: Sequence[str],
        dtype: torch.dtype = torch.float32,
        prepared: Optional[Prepared] = None,
    ) -> Tensor:
        """Compute word vectors from characters alone, (n_words, projection_dim).

        words (Sequence[str]): The words. Repeated words may be computed repeatedly.
        dtype (torch.dtype): Dtype of the matrix products, float32 or bfloat16.
        prepared (Optional[Prepared]): The present weights if the caller has just
            prepared them, to save comparing fingerprints.
        """
        prepared = prepared or self._prepare(dtype)
        if prepared is None:
            return self._encode_words(words, self.bind(dtype))
        operations = prepared.operations
        return prepared.words.look_up(
            words, lambda unknown: self._encode_words(unknown, operations)
        )

    def _encode_words(self, words: Sequence[str], operations: Operations) -> Tensor:
        char_ids = self.characters(words)
        word_ids = self.characters.word_ids(words)
        lengths = count_characters(char_ids, self.characters.padding)
        # Sorted by length, so that little padding is computed.
        order = np.argsort(lengths, kind="stable")
        vectors = self.encode_characters(
            torch.from_numpy(char_ids[order]).to(self.device),
            torch.from_numpy(word_ids[order]).to(self.device),
            lengths[order],
            operations,
        )
        unsort = torch.from_numpy(np.argsort(order)).to(self.device)
        return vectors.index_select(0, unsort)

    def encode_characters(
        self,
        char_ids: Tensor,
        word_ids: Tensor,
        lengths: np.ndarray,
        operations: Operations,
    ) -> Tensor:
        """Compute word vectors from the ids that `characters` returns, for words sorted
        by length, shortest first.

        char_ids (Tensor): (n_words, max_characters_per_token) int64.
        word_ids (Tensor): (n_words,) int64.
        lengths (ndarray): Characters per word without padding, (n_words,).
        operations (Operations): From `bind`.
        RETURNS (Tensor): (n_words, projection_dim).
        """
        vectors: Tensor = self.character_encoder(
            char_ids, word_ids, lengths.tolist(), operations.char_cnn, operations.linear
        )
        return vectors

    def zero_states(self, n_sequences: int) -> List[LSTMState]:
        """Return the state of each layer before the first token."""
        weight = self.character_encoder.char_embedding.weight
        states: List[LSTMState] = []
        for _ in range(self.config.n_layers):
            hidden = weight.new_zeros(2, n_sequences, self.config.projection_dim)
            cell = weight.new_zeros(2, n_sequences, self.config.dim)
            states.append(LSTMState(hidden, cell))
        return states

    def contextualize(
        self,
        vectors: Tensor,
        lengths: Sequence[int],
        states: Optional[Sequence[LSTMState]] = None,
        dtype: torch.dtype = torch.float32,
        prepared: Optional[Prepared] = None,
    ) -> Tuple[Tensor, List[LSTMState]]:
        """Compute all layers from word vectors.

        vectors (Tensor): (n_tokens, projection_dim), sequence after sequence.
        lengths (Sequence[int]): Length of each sequence, at least 1.
        states (Optional[Sequence[LSTMState]]): Initial state of each layer, one row per
            sequence in their order. None for zeros.
        dtype (torch.dtype): Dtype of the matrix products, float32 or bfloat16.
        prepared (Optional[Prepared]): As for `encode_words`.
        RETURNS (Tuple[Tensor, List[LSTMState]]): The layers, (n_layers + 1, n_tokens,
            2 * projection_dim), and the state of each layer after each sequence's last
            token (its first token in the backward direction).
        RAISES: ValueError if the states have another number of sequences.
        """
        if states is not None and states[0].hidden.shape[1] != len(lengths):
            raise ValueError(
                f"states: expected one row for each of the {len(lengths)} sequences, "
                f"found {states[0].hidden.shape[1]} rows. Each sequence must continue "
                "the one in the same place of the earlier batch."
            )
        packing = Packing.from_lengths(lengths, vectors.device)
        if states is None:
            states = self.zero_states(len(lengths))
        else:
            states = [_select(state, packing.order) for state in states]
        prepared = prepared or self._prepare(dtype)
        operations = self.bind(dtype) if prepared is None else prepared.operations
        n_layers, width = self.config.n_layers + 1, self.config.projection_dim
        layers = vectors.new_empty(n_layers, len(vectors), 2 * width)
        layers[0, :, :width] = layers[0, :, width:] = vectors
        outputs, states = run_stack(
            operations.lstms,
            torch.stack([vectors[packing.forward], vectors[packing.backward]]),
            packing.batch_sizes,
            states,
            skip_connections=self.config.use_skip_connections,
        )
        for number, (forward, backward) in enumerate(outputs, 1):
            layers[number, :, :width] = forward[packing.unpack_forward]
            layers[number, :, width:] = backward[packing.unpack_backward]
        unsort = torch.argsort(packing.order)
        return layers, [_select(state, unsort) for state in states]


def _select(state: LSTMState, order: Tensor) -> LSTMState:
    return LSTMState(state.hidden[:, order], state.cell[:, order])
