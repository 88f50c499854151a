"""Words -> character ids, in the published scheme and in ELMoForManyLangs' scheme."""

from typing import Dict, List, Mapping, Sequence, Tuple, Union

import numpy as np

BEGIN_SENTENCE = "<S>"
END_SENTENCE = "</S>"

_BOS, _EOS, _BOW, _EOW, _PAD = (256 + offset + 1 for offset in range(5))


class ByteCharacters:
    """The published scheme (Józefowicz et al. 2016): a word is its UTF-8 bytes.

    A row holds the begin-of-word marker, at most `max_characters - 2` bytes, the
    end-of-word marker and padding. Ids are bytes plus 1, as 0 is a masked position.
    Characters of several bytes may be cut; lone surrogates have no UTF-8 form and are
    dropped. The words "<S>" and "</S>" are the boundary tokens of a sentence.

    max_characters (int): Ids per word, at least 3.
    """

    boundaries = (BEGIN_SENTENCE, END_SENTENCE)
    padding = _PAD

    def __init__(self, max_characters: int = 50) -> None:
        self.max_characters = max_characters
        self._markers = {
            BEGIN_SENTENCE: (_BOW, _BOS, _EOW),
            END_SENTENCE: (_BOW, _EOS, _EOW),
        }

    def __call__(self, words: Sequence[str]) -> np.ndarray:
        """Return character ids, (n_words, max_characters) int64."""
        ids = np.full((len(words), self.max_characters), _PAD, dtype=np.int64)
        for row, word in zip(ids, words):
            marker = self._markers.get(word)
            if marker is not None:
                row[:3] = marker
                continue
            utf8 = word.encode("utf8", "ignore")[: self.max_characters - 2]
            row[0] = _BOW
            row[1 : len(utf8) + 1] = np.frombuffer(utf8, dtype=np.uint8)
            row[1 : len(utf8) + 1] += 1
            row[len(utf8) + 1] = _EOW
        return ids

    def word_ids(self, words: Sequence[str]) -> np.ndarray:
        """Return zeros, (n_words,) int64: the byte scheme has no word vocabulary."""
        return np.zeros(len(words), dtype=np.int64)

    def vocabularies(self) -> Dict[str, List[Tuple[str, int]]]:
        """Return the vocabularies to store with the weights: none."""
        return {}


class VocabularyCharacters:
    """The scheme of ELMoForManyLangs (Che et al. 2018): the Unicode characters of a
    word are looked up in a vocabulary, and optionally the word itself in another.

    Words are cut to `max_characters - 2` characters for both. The published weights
    were trained with the begin-of-word and end-of-word markers swapped: position 0
    holds the id of `<eow>`.

    characters (Mapping[str, int]): Character -> id, with entries for <bow>, <eow>,
        <oov>, <pad>, <bos> and <eos>.
    words (Mapping[str, int]): Word -> id, with an entry for <oov> unless it is empty.
    max_characters (int): Ids per word, at least 3.
    RAISES: ValueError if one of these entries is missing.
    """

    boundaries = ("<bos>", "<eos>")

    def __init__(
        self,
        characters: Mapping[str, int],
        words: Mapping[str, int],
        max_characters: int = 50,
    ) -> None:
        needed = ("<bow>", "<eow>", "<oov>", "<pad>", "<bos>", "<eos>")
        missing = [token for token in needed if token not in characters]
        if missing or (words and "<oov>" not in words):
            raise ValueError(
                f"Expected the entries {', '.join(needed)} in the character vocabulary "
                "and <oov> in the word vocabulary, found no "
                f"{', '.join(missing) or '<oov> in the word vocabulary'}."
            )
        self.max_characters = max_characters
        self.characters = dict(characters)
        self.words = dict(words)
        self._first, self._last = self.characters["<eow>"], self.characters["<bow>"]
        self.padding, self._oov = self.characters["<pad>"], self.characters["<oov>"]

    def __call__(self, words: Sequence[str]) -> np.ndarray:
        """Return character ids, (n_words, max_characters) int64."""
        ids = np.full((len(words), self.max_characters), self.padding, dtype=np.int64)
        lookup, oov = self.characters, self._oov
        for row, word in zip(ids, words):
            if word in self.boundaries:
                inner = [lookup[word]]
            else:
                inner = [lookup.get(c, oov) for c in word[: self.max_characters - 2]]
            row[: len(inner) + 2] = [self._first, *inner, self._last]
        return ids

    def word_ids(self, words: Sequence[str]) -> np.ndarray:
        """Return word ids, (n_words,) int64."""
        if not self.words:
            return np.zeros(len(words), dtype=np.int64)
        oov, longest = self.words["<oov>"], self.max_characters - 2
        ids = [self.words.get(word[:longest], oov) for word in words]
        return np.asarray(ids, dtype=np.int64)

    def vocabularies(self) -> Dict[str, List[Tuple[str, int]]]:
        """Return the vocabularies to store with the weights."""
        return {
            "characters": list(self.characters.items()),
            "words": list(self.words.items()),
        }


Characters = Union[ByteCharacters, VocabularyCharacters]


def count_characters(char_ids: np.ndarray, padding: int) -> np.ndarray:
    """Count the ids of each word before its padding, (n_words,)."""
    used = char_ids != padding
    lengths: np.ndarray = char_ids.shape[1] - np.argmax(used[:, ::-1], axis=1)
    return lengths
