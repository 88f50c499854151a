"""The settings of a pretraining run, and which may change when a run is resumed."""

import json
from pathlib import Path
from typing import (
    Any,
    Dict,
    Iterator,
    List,
    Mapping,
    Optional,
    Sequence,
    Set,
    Tuple,
    Union,
)

from pydantic import (
    Field,
    InstanceOf,
    ValidationInfo,
    field_serializer,
    field_validator,
)
from pydantic_core import PydanticCustomError

from ..bilm.config import BiLMConfig
from .config_file import read_config
from .sections import (
    BiLMSettings,
    CorpusSettings,
    ExportSettings,
    InitializeSettings,
    SoftmaxSettings,
    TrainingSettings,
    VocabularySettings,
)
from .settings_base import Section


class PretrainSettings(Section):
    """All settings of a run."""

    paths: Dict[str, Any] = Field({}, exclude=True)
    """Values that other sections refer to, under any names."""
    corpus: CorpusSettings = Field({}, validate_default=True)
    vocabulary: VocabularySettings = VocabularySettings()
    initialize: InitializeSettings = InitializeSettings()
    bilm: Optional[InstanceOf[BiLMConfig]] = Field(None, validate_default=True)
    """Sizes of the network (see `BiLMSettings`). None if trained weights bring them."""
    softmax: SoftmaxSettings = SoftmaxSettings()
    training: TrainingSettings = Field({}, validate_default=True)
    export: ExportSettings = ExportSettings()

    @classmethod
    def from_file(
        cls, path: Union[str, Path], overrides: Sequence[str] = ()
    ) -> "PretrainSettings":
        """Read a config file.

        path (Union[str, Path]): The file.
        overrides (Sequence[str]): Command-line arguments, `--section.key value ...`.
        RETURNS (PretrainSettings): The settings.
        RAISES: ConfigError with a message for each problem of the config.
        """
        return cls.from_dict(read_config(path, overrides), source=path)

    @field_validator("bilm", mode="before")
    @classmethod
    def _read_bilm(cls, bilm: Any, info: ValidationInfo) -> Optional[BiLMConfig]:
        initialize = info.data.get("initialize")
        if isinstance(bilm, BiLMConfig):
            config, given = bilm, True
        else:
            sizes = BiLMSettings.model_validate({} if bilm is None else bilm)
            config = sizes.to_config()
            given = bool(sizes.model_fields_set - {"preset"} or sizes.preset)
        if initialize is None or not initialize.weights:
            return config
        if given:
            message = "conflicts with initialize.weights, which bring their own sizes"
            raise PydanticCustomError("setting", f"{message}; remove one of them")
        return None

    @field_serializer("bilm")
    def _write_bilm(self, bilm: Optional[BiLMConfig]) -> Optional[Dict[str, Any]]:
        if bilm is None:
            return None
        names = [name for name in BiLMSettings.model_fields if name != "preset"]
        sizes = {name: getattr(bilm, name) for name in names}
        return {**sizes, "filters": [list(pair) for pair in bilm.filters]}

    def conflicts(self) -> Iterator[Tuple[str, str]]:
        if self.training.patience and self.corpus.dev is None:
            yield "training.patience", "needs held-out text; set corpus.dev"


_CHANGEABLE = {
    "paths",
    "corpus.train",
    "corpus.dev",
    "corpus.text_field",
    "corpus.cache",
    "corpus.n_process",
    "corpus.shard_tokens",
    "vocabulary.path",
    "initialize.weights",
    "initialize.teacher",
    "training.ema_decay",
    "training.optimizer.grad_skip",
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
"""Settings that may change when a run is resumed, since they do not alter the course of
training, or keep it from diverging. Text, vocabulary and weights do, but are compared
by content, not by path."""

_COURSE = {"training.schedule", "training.max_steps", "training.max_epochs"}


def changes(
    old: Mapping[str, Any], new: Mapping[str, Any], *, same_course: bool = False
) -> List[str]:
    """List the differences between two runs' settings that alter training.

    old (Mapping[str, Any]): Settings as `PretrainSettings.to_dict` returns them.
    new (Mapping[str, Any]): Settings to compare with `old`, in the same form.
    same_course (bool): Whether all steps so far have the same learning rates in both
        runs, so that the schedule and the end of training may differ.
    RETURNS (List[str]): Lines like "training.dropout: 0.1 -> 0.2".
    """
    changeable = _CHANGEABLE | _COURSE if same_course else _CHANGEABLE
    return list(_differences(old, new, "", changeable))


_UNSET = object()


def _differences(old: Any, new: Any, path: str, changeable: Set[str]) -> Iterator[str]:
    if path in changeable:
        return
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in {**old, **new}:
            below = f"{path}.{key}".strip(".")
            values = old.get(key, _UNSET), new.get(key, _UNSET)
            yield from _differences(*values, below, changeable)
    elif old != new:
        yield f"{path}: {_to_json(old)} -> {_to_json(new)}"


def _to_json(value: Any) -> str:
    return "unset" if value is _UNSET else json.dumps(value)
