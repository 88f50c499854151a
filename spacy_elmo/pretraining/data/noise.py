"""Noise in the words that the network reads: misspellings, and sentences in another
letter case. The words that it predicts stay as they are."""

from collections import Counter
from functools import lru_cache
from typing import Callable, Dict, List, NamedTuple, Sequence, Tuple

import numpy as np

from ...bilm.characters import Characters, count_characters
from ..sections import NoiseSettings

_CACHED_WORDS = 1 << 17
_ALPHABET_TYPES = 20_000
_MIN_LETTERS = 3
"""Minimum letters in a misspelled word. Shorter words would turn into others."""


class Spelling(NamedTuple):
    """A word, encoded for the network.

    char_ids (ndarray): Its character ids, of shape (max_characters,).
    word_id (int): Its id in a biLM's own word vocabulary, 0 if there is none.
    length (int): Number of character ids before the padding.
    """

    char_ids: np.ndarray
    word_id: int
    length: int


class NoisePlan(NamedTuple):
    """The noise of a window's words, in the shape of its ids.

    case (ndarray): Index into `CASES` for each word, int64.
    misspelled (ndarray): Whether each word is misspelled, bool.
    draws (ndarray): Random number that selects each misspelling, int64.
    """

    case: np.ndarray
    misspelled: np.ndarray
    draws: np.ndarray


def _title(word: str) -> str:
    # str.title would change "don't" to "Don'T" and "NATO" to "Nato".
    return word[:1].upper() + word[1:]


CASES: Tuple[Callable[[str], str], ...] = (str.lower, str.upper, _title, str)
"""Letter cases of a word: lower, upper and title case, and unchanged."""


class Noise:
    """Changes the words of a window at random. The same seed and step give the same
    noise, whatever was drawn before and however many processes share the lanes.

    settings (NoiseSettings): The rates.
    types (Sequence[str]): The words of the corpus; `types[i - 1]` is the type i.
    counts (ndarray): How often each occurs, of shape (n_types,). Replacement letters
        have the letter frequencies of the text.
    characters (Characters): The network's character scheme.
    """

    def __init__(
        self,
        settings: NoiseSettings,
        types: Sequence[str],
        counts: np.ndarray,
        characters: Characters,
    ) -> None:
        self.settings = settings
        self.types = types
        self.characters = characters
        self.alphabet = _make_alphabet(types, counts)
        self._spell = lru_cache(maxsize=_CACHED_WORDS)(self._spell_uncached)

    def plan(self, ids: np.ndarray, *seed: int) -> NoisePlan:
        """Draw the noise of a window.

        ids (ndarray): Type ids in reading order, 0 for a sentence boundary, of shape
            (n_directions, n_steps, n_lanes).
        seed (int): Numbers that identify the window.
        """
        random = np.random.default_rng([*seed, 1])
        n_directions, n_steps, n_lanes = ids.shape
        rates = self.settings
        bounds = np.cumsum([rates.lower_case, rates.upper_case, rates.title_case])
        # One draw for each part of a lane between two boundaries.
        draws = random.random((n_directions, n_steps + 1, n_lanes))
        cases = np.searchsorted(bounds, draws, side="right")
        sentences = np.cumsum(ids == 0, axis=1)
        return NoisePlan(
            np.take_along_axis(cases, sentences, axis=1),
            random.random(ids.shape) < self.settings.misspelled,
            random.integers(1 << 62, size=ids.shape),
        )

    def change(self, ids: np.ndarray, plan: NoisePlan) -> Tuple[np.ndarray, List[str]]:
        """Apply a plan.

        ids (ndarray): Type ids, 0 and ids above the last type for boundaries.
        plan (NoisePlan): For these ids.
        RETURNS (Tuple[ndarray, List[str]]): For each id the index of its new word, or
            -1 if it is unchanged, and the new words, each once.
        """
        index = np.full(ids.shape, -1, dtype=np.int64)
        words: Dict[str, int] = {}
        changes = plan.misspelled | (plan.case != len(CASES) - 1)
        changes &= (ids > 0) & (ids <= len(self.types))
        places = np.flatnonzero(changes)
        for place, number, case, misspelled, draw in zip(
            places.tolist(),
            ids.flat[places].tolist(),
            plan.case.flat[places].tolist(),
            plan.misspelled.flat[places].tolist(),
            plan.draws.flat[places].tolist(),
        ):
            word = self.types[number - 1]
            changed = CASES[case](word)
            if misspelled:
                changed = misspell(changed, draw, self.alphabet)
            # In upper case, the word "<s>" would be encoded as a sentence boundary.
            if changed != word and changed not in self.characters.boundaries:
                index.flat[place] = words.setdefault(changed, len(words))
        return index, list(words)

    def spell(self, words: Sequence[str]) -> List[Spelling]:
        """Encode words for the network. Most are cached."""
        return [self._spell(word) for word in words]

    def _spell_uncached(self, word: str) -> Spelling:
        char_ids = self.characters([word])
        length = count_characters(char_ids, self.characters.padding)
        word_ids = self.characters.word_ids([word])
        return Spelling(char_ids[0], int(word_ids[0]), int(length[0]))


def misspell(word: str, draw: int, alphabet: str) -> str:
    """Swap two neighboring letters, drop, double or replace one. Words of fewer than
    three letters are returned as they are.

    word (str): Any word. Only its letters change.
    draw (int): A large random number, which selects the change.
    alphabet (str): Letters to choose a replacement from.
    """
    letters = [place for place, letter in enumerate(word) if letter.isalpha()]
    if len(letters) < _MIN_LETTERS:
        return word
    draw, kind = divmod(draw, 4)
    draw, chosen = divmod(draw, len(letters))
    place = letters[chosen]
    before, letter, after = word[:place], word[place], word[place + 1 :]
    if kind == 0 and after[:1].isalpha():
        return before + after[0] + letter + after[1:]
    if kind == 1:
        return before + after
    if kind == 2:
        return before + letter + letter + after
    # Also for a letter to be swapped that is not followed by another.
    replacement = alphabet[draw % len(alphabet)]
    return before + (replacement.upper() if letter.isupper() else replacement) + after


def _make_alphabet(types: Sequence[str], counts: np.ndarray) -> str:
    """Make a string of lower-case letters with the text's letter frequencies."""
    letters: Counter[str] = Counter()
    for i in np.argsort(-counts, kind="stable")[:_ALPHABET_TYPES].tolist():
        for letter in filter(str.isalpha, types[i].lower()):
            letters[letter] += int(counts[i])
    total = letters.total()
    return "".join(letter * -(-n * 1000 // total) for letter, n in letters.items())
