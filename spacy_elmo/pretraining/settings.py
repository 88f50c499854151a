"""All settings of a pretraining run, and what differs between two runs."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, Iterator, List, Mapping, Optional, Sequence, Set, Union

from ..bilm.config import ACTIVATIONS, BiLMConfig
from ..bilm.config import PRESETS as SIZES
from .checked import (
    FROM_0,
    SWITCH,
    Checked,
    Kind,
    Problem,
    SectionError,
    one_of,
    optional,
    read_section,
    read_values,
    whole,
)
from .config_file import ConfigError, ConfigFile, read_config, suggest
from .sections import (
    CorpusSettings,
    ExportSettings,
    InitializeSettings,
    NoiseSettings,
    OptimizerSettings,
    ScheduleSettings,
    SoftmaxSettings,
    TrainingSettings,
    VocabularySettings,
)

__all__ = [
    "ConfigError",
    "CorpusSettings",
    "ExportSettings",
    "InitializeSettings",
    "NoiseSettings",
    "OptimizerSettings",
    "PretrainSettings",
    "ScheduleSettings",
    "SoftmaxSettings",
    "TrainingSettings",
    "VocabularySettings",
    "changes",
]

SECTIONS = (
    "corpus",
    "vocabulary",
    "bilm",
    "softmax",
    "training",
    "initialize",
    "export",
)
PATHS_SECTION = "paths"
"""Its keys are free: values that others refer to."""

BILM: Dict[str, Kind] = {
    "char_dim": whole(1),
    "filters": Kind("a list of pairs [width, number]", lambda value: value),
    "n_highway": whole(0),
    "max_characters_per_token": whole(1),
    "activation": one_of(*ACTIVATIONS),
    "dim": whole(1),
    "projection_dim": whole(1),
    "n_layers": whole(1),
    "cell_clip": optional(FROM_0),
    "proj_clip": optional(FROM_0),
    "use_skip_connections": SWITCH,
}
"""The fields of a BiLMConfig that a new model can have. What filters may be, and all
of them together, it says itself."""


@dataclass(frozen=True)
class PretrainSettings(Checked):
    """A run: a class for each section of its config, and the new model's sizes.

    bilm: None where initialize.weights brings the sizes.
    """

    corpus: CorpusSettings
    training: TrainingSettings
    bilm: Optional[BiLMConfig] = None
    vocabulary: VocabularySettings = field(default_factory=VocabularySettings)
    softmax: SoftmaxSettings = field(default_factory=SoftmaxSettings)
    initialize: InitializeSettings = field(default_factory=InitializeSettings)
    export: ExportSettings = field(default_factory=ExportSettings)

    @classmethod
    def from_file(
        cls, path: Union[str, Path], overrides: Sequence[str] = ()
    ) -> "PretrainSettings":
        """Read a config (see `config_file.read_config`).

        overrides: `--section.key value ...`, as on the command line.

        Raises ConfigError with all that is wrong.
        """
        return _Reader(read_config(path, overrides)).read()

    @classmethod
    def from_dict(
        cls, values: Mapping[str, Any], *, source: str = "config"
    ) -> "PretrainSettings":
        """Read what `to_dict` made, or a config that is parsed already.

        source: what to call it in errors.

        Raises ConfigError with all that is wrong.
        """
        return _Reader(ConfigFile(dict(values), source)).read()

    def to_dict(self) -> Dict[str, Any]:
        """All settings, as JSON has them: the defaults too, but not the other
        optimizer's. `from_dict` reads them back."""
        values = {}
        for name in SECTIONS:
            section = getattr(self, name)
            if isinstance(section, BiLMConfig):
                sizes = {key: getattr(section, key) for key in BILM}
                sizes["filters"] = [list(pair) for pair in section.filters]
                values[name] = sizes
            else:
                values[name] = section and section.to_dict()
        return values

    def _contradictions(self) -> Iterator[Problem]:
        if (self.bilm is None) == (self.initialize.weights is None):
            yield Problem(
                "bilm",
                "expected either sizes or initialize.weights, found "
                f"{'neither' if self.bilm is None else 'both'}. Give one of them.",
            )
        if self.training.patience and self.corpus.dev is None:
            yield Problem(
                "training.patience",
                f"expected 0 without [corpus] dev, found {self.training.patience}. "
                "There is no held-out text to stop by: name one.",
            )


class _Reader:
    """Reads all sections before it stops at what is wrong in one."""

    def __init__(self, config: ConfigFile) -> None:
        self.config = config
        self.problems: List[str] = []

    def read(self) -> PretrainSettings:
        self._check_names()
        corpus = self._section(CorpusSettings, "corpus")
        training = self._training()
        initialize = self._section(InitializeSettings, "initialize")
        sections = {
            "vocabulary": self._section(VocabularySettings, "vocabulary"),
            "bilm": self._bilm(bool(initialize and initialize.weights)),
            "softmax": self._section(SoftmaxSettings, "softmax"),
            "initialize": initialize,
            "export": self._section(ExportSettings, "export"),
        }
        if not self.problems:
            try:
                return PretrainSettings(corpus, training, **sections)
            except SectionError as error:
                for key, text in error.found:
                    self.problems.append(f"{self.config.where(key)}: {text}")
        raise ConfigError(self.problems)

    def _check_names(self) -> None:
        known = (PATHS_SECTION, *SECTIONS)
        for name in self.config.values:
            if name not in known:
                self.problems.append(
                    f"{self.config.where(name)}: expected a section of a pretraining "
                    f"config, found [{name}]. {suggest(name, known)}"
                )
        paths = self.config.values.get(PATHS_SECTION, {})
        for name in self.config.unused:
            section, _, key = name.partition(".")
            if section == PATHS_SECTION:
                # It would be without effect.
                others = [other for other in paths if other != key]
                self.problems.append(
                    f"--{name}: expected a key of [{PATHS_SECTION}], found {key!r}, to "
                    f"which nothing refers. {suggest(key, others)}"
                )

    def _section(self, section: Any, name: str, **below: Any) -> Any:
        given = self.config.values.get(name, {})
        return read_section(section, given, name, self.config, self.problems, **below)

    def _training(self) -> Any:
        given = self.config.values.get("training", {})
        below = {}
        for name, section in (
            ("optimizer", OptimizerSettings),
            ("schedule", ScheduleSettings),
            ("noise", NoiseSettings),
        ):
            values = given.get(name, {}) if isinstance(given, Mapping) else {}
            path = f"training.{name}"
            read = read_section(section, values, path, self.config, self.problems)
            below[name] = read or section()
        return self._section(TrainingSettings, "training", **below)

    def _bilm(self, has_weights: bool) -> Optional[BiLMConfig]:
        given = self.config.values.get("bilm")
        known = {"preset": optional(one_of(*SIZES)), **BILM}
        values = read_values(
            known, {} if given is None else given, "bilm", self.config, self.problems
        )
        if values is None:
            return None
        preset = values.pop("preset", None)
        if has_weights:
            found = [*(["preset"] if preset else []), *values]
            if found:
                self.problems.append(
                    f"{self.config.where('bilm')}: expected no settings beside "
                    f"[initialize] weights, found {', '.join(found)}. The sizes come "
                    "with the weights: remove the section, or the weights."
                )
            return None
        try:
            if preset:
                return BiLMConfig.preset(preset, **values)
            return BiLMConfig(**values)
        except ValueError as error:
            key, _, text = str(error).partition(": ")
            self.problems.append(f"{self.config.where(f'bilm.{key}')}: {text}")
            return None


_ASIDE = {
    "paths",
    "corpus.train",
    "corpus.dev",
    "corpus.cache",
    "corpus.n_process",
    "corpus.shard_tokens",
    "vocabulary.path",
    "initialize.weights",
    "training.ema_decay",
    "training.checkpoint_frequency",
    "training.keep_checkpoints",
    "training.log_frequency",
    "training.cuda_graph",
    "training.logger",
    "training.n_evaluated",
    "training.eval_frequency",
    "training.patience",
    "export",
}
"""Settings that do not alter the course of training. Text, vocabulary and weights do;
they are compared by what they are, not by where they lie."""


_COURSE = {"training.schedule", "training.max_steps", "training.max_epochs"}


def changes(
    old: Mapping[str, Any], new: Mapping[str, Any], *, same_course: bool = False
) -> List[str]:
    """What differs in the settings of two runs and alters the course of training, as
    lines like "training.dropout: 0.1 -> 0.2".

    old, new: what `PretrainSettings.to_dict` made.
    same_course: whether all steps so far have the same learning rates in both.
    """
    aside = _ASIDE | _COURSE if same_course else _ASIDE
    return list(_differences(old, new, "", aside))


def _differences(old: Any, new: Any, path: str, aside: Set[str]) -> Iterator[str]:
    if path in aside:
        return
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in {**old, **new}:
            below = f"{path}.{key}".strip(".")
            yield from _differences(
                old.get(key, _UNSET), new.get(key, _UNSET), below, aside
            )
    elif old != new:
        yield f"{path}: {_text(old)} -> {_text(new)}"


_UNSET = object()


def _text(value: Any) -> str:
    return "unset" if value is _UNSET else json.dumps(value)
