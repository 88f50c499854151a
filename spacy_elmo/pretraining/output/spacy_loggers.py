"""Passes training records to any logger of spaCy's registry: Weights & Biases, MLflow,
ClearML, the console, or a user's own."""

import copy
import math
import re
import sys
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional, Tuple

from .log import DevRecord, TrainRecord

SPACY_LOGGERS = "pip install spacy-loggers"

_ANY_STEP = re.compile(
    r"spacy\.((Chain|Lookup|PyTorch|Cupy)Logger\.v1|WandbLogger\.v5|"
    r"(MLflow|ClearML)Logger\.v2)"
)
"""Loggers of spacy-loggers that accept a score of None. Any other logger may rely on
`spacy train` passing no info between evaluations."""

_ANY_FOLDER = re.compile(
    r"spacy\.((Chain|Lookup|PyTorch|Cupy|Console|Wandb|ClearML)Logger\.v\d+)"
)
"""Loggers that upload "output_path" or ignore it. Others, such as MLflow's, may load it
as a spaCy pipeline, which it is not."""


class RecordLogger:
    """Converts each record to the info that `spacy train` passes to a logger.

    An evaluation gives an info with:

    * "step", "words" (seen in training), "seconds"; "epoch", rounded down.
    * "score": The negative mean loss on the held-out text in nats per word, i.e. minus
      the logarithm of the perplexity, as higher must be better; -inf if that is not
      finite.
    * "other_scores": "perplexity", "forward_perplexity", "backward_perplexity",
      "oov_rate".
    * "losses": "forward" and "backward", in nats per word, averaged over the training
      records since the last info; {} if there are none.
    * "learn_rate", "grad_norm", "words_per_second": From the last training record, if
      there is one, for the loggers' `log_custom_stats`.
    * "checkpoints": (score, step) of each evaluation of this process.
    * "output_path": OUTPUT/model-last, for loggers that do not load it as a pipeline.

    A training record gives None, like a step without evaluation in spaCy, or, for
    loggers that accept it, an info whose "score" and "other_scores" are None.

    log_step (Callable[[Optional[Dict[str, Any]]], None]): The logger's own function.
    finalize (Callable[[], None]): The logger's own function, which finishes uploads, as
        `close`. Must be called after an error, too.
    any_step (bool): Whether training records give an info.
    folder (Optional[Path]): The "output_path".
    """

    def __init__(
        self,
        log_step: Callable[[Optional[Dict[str, Any]]], None],
        finalize: Callable[[], None],
        *,
        any_step: bool,
        folder: Optional[Path],
    ) -> None:
        self._log_step = log_step
        self.close = finalize
        self._any_step = any_step
        self._folder = folder
        self._waiting: List[TrainRecord] = []
        self._last: Optional[TrainRecord] = None
        self._checkpoints: List[Tuple[float, int]] = []

    def train(self, record: TrainRecord) -> None:
        self._waiting.append(record)
        self._last = record
        if self._any_step:
            self._log_step(self._info(record.step, record.epoch, record.seconds))
        else:
            self._log_step(None)

    def dev(self, record: DevRecord) -> None:
        score = _score(record.perplexity)
        self._checkpoints.append((score, record.step))
        info = self._info(record.step, record.epoch, record.seconds)
        info["score"] = score
        info["other_scores"] = {
            "perplexity": record.perplexity,
            "forward_perplexity": record.forward_perplexity,
            "backward_perplexity": record.backward_perplexity,
            "oov_rate": record.oov_rate,
        }
        if self._folder is not None:
            info["output_path"] = str(self._folder)
        self._log_step(info)

    def _info(self, step: int, epoch: float, seconds: float) -> Dict[str, Any]:
        losses = {}
        if self._waiting:
            n = len(self._waiting)
            losses = {
                "forward": sum(record.forward_loss for record in self._waiting) / n,
                "backward": sum(record.backward_loss for record in self._waiting) / n,
            }
            self._waiting.clear()
        # Loggers modify the info, so they get copies.
        info: Dict[str, Any] = {
            "epoch": int(epoch),
            "step": step,
            "score": None,
            "other_scores": None,
            "losses": losses,
            "checkpoints": list(self._checkpoints),
            "seconds": int(seconds),
            "words": 0 if self._last is None else self._last.words,
        }
        if self._last is not None:
            for name in ("learn_rate", "grad_norm", "words_per_second"):
                info[name] = getattr(self._last, name)
        return info


def make_logger(
    config: Mapping[str, Any], settings: Mapping[str, Any], output: Path
) -> RecordLogger:
    """Create a logger of spaCy's registry.

    config (Mapping[str, Any]): Its block, validated by `TrainingSettings`, e.g.
        {"@loggers": "spacy.WandbLogger.v5", "project_name": "elmo"}.
    settings (Mapping[str, Any]): Settings of the run, which the logger stores as its
        config.
    output (Path): Folder of the run.
    RAISES: ImportError if spaCy or the package that the logger needs is not installed;
        ValueError if the name is not registered or the arguments do not fit.
    """
    try:
        from spacy.util import registry
    except ImportError as error:
        raise ImportError(
            f"[training] logger: expected the package spacy, whose registry has the "
            f"loggers, found none. Install it: {SPACY_LOGGERS} spacy; or remove the "
            "setting: log.jsonl and the progress bar work without it."
        ) from error

    names = list(_names(config))
    for name in names:
        _check(name)
    setup = registry.resolve({"logger": copy.deepcopy(dict(config))})["logger"]
    nlp = _nlp_with(settings)
    log_step, finalize = setup(nlp, sys.stdout, sys.stderr)
    takes_folder = all(_ANY_FOLDER.fullmatch(name) for name in names)
    return RecordLogger(
        log_step,
        finalize,
        any_step=all(_ANY_STEP.fullmatch(name) for name in names),
        folder=Path(output) / "model-last" if takes_folder else None,
    )


def _names(config: Any) -> Iterator[str]:
    """The names of the loggers in a block; a chain has several."""
    if isinstance(config, Mapping):
        for key, value in config.items():
            if key == "@loggers":
                yield str(value)
            else:
                yield from _names(value)


def _check(name: str) -> None:
    from catalogue import RegistryError  # type: ignore[import-untyped]
    from spacy.util import registry

    try:
        registry.get("loggers", name)
    except RegistryError as error:
        available = ", ".join(sorted(registry.loggers.get_all()))
        raise ValueError(
            f"[training] logger: expected one of spaCy's registered loggers, found "
            f"{name!r}. Available: {available}. Those for W&B, MLflow and ClearML need "
            f"another package: {SPACY_LOGGERS}."
        ) from error


def _nlp_with(settings: Mapping[str, Any]) -> Any:
    """An empty pipeline whose config, which loggers store, is the settings."""
    import spacy
    from thinc.api import Config

    class Settings(Config):
        def interpolate(self) -> Any:
            # Return the settings as they are: parsed again, "$" in a path would be a
            # variable. The sections that nlp.config adds would describe a pipeline,
            # and there is none.
            return Config(copy.deepcopy(dict(settings)))

    nlp = spacy.blank("xx")
    # The console logger reads these.
    console: Dict[str, Any] = {
        "max_steps": None,
        "eval_frequency": None,
        "score_weights": {},
    }
    training = {**console, **settings.get("training", {})}
    nlp.config = Settings(copy.deepcopy({**settings, "training": training}))
    return nlp


def _score(perplexity: float) -> float:
    # NaN cannot be compared, so that max() over the scores would be arbitrary.
    return -math.log(perplexity) if 0.0 < perplexity < math.inf else -math.inf
