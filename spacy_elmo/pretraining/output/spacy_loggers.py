"""Pretraining records handed to any of spaCy's registered loggers: Weights & Biases,
MLflow, ClearML, the console, or one's own."""

import copy
import math
import re
import sys
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional, Tuple

from .reporter import DevRecord, TrainRecord

SPACY_LOGGERS = "pip install spacy-loggers"

_ANY_STEP = re.compile(
    r"spacy\.((Chain|Lookup|PyTorch|Cupy)Logger\.v1|WandbLogger\.v5|"
    r"(MLflow|ClearML)Logger\.v2)"
)
"""Loggers of spacy-loggers that can do with a score of None. All others, those of users
as well, are written for what `spacy train` does: between evaluations it has no info."""

_ANY_FOLDER = re.compile(
    r"spacy\.((Chain|Lookup|PyTorch|Cupy|Console|Wandb|ClearML)Logger\.v\d+)"
)
"""Loggers that upload "output_path" or leave it alone. Others, as MLflow's, may load
it, and it is no spaCy pipeline."""


class RecordLogger:
    """Makes of each record what `spacy train` hands to a logger.

    An evaluation's "info":

    * "step", "words" (seen in training), "seconds"; "epoch": whole ones done.
    * "score": higher is better, so the negative mean loss on the held-out text, in nats
      a word: minus the logarithm of the perplexity; -inf where that is not finite.
    * "other_scores": "perplexity", "forward_perplexity", "backward_perplexity",
      "oov_rate".
    * "losses": "forward" and "backward", nats a word, the mean of the training
      records since the last info; {} where there is none.
    * "learn_rate", "grad_norm", "words_per_second": of the last training record, if
      any, for the loggers' `log_custom_stats`.
    * "checkpoints": (score, step) of each evaluation of this process.
    * "output_path": OUTPUT/model-last, for loggers known not to load it as a pipeline.

    A training record gives None, as each step without an evaluation does in spaCy, or,
    for loggers known to take it, an info whose "score" and "other_scores" are None.
    """

    def __init__(
        self,
        log_step: Callable[[Optional[Dict[str, Any]]], None],
        finalize: Callable[[], None],
        *,
        any_step: bool,
        folder: Optional[Path],
    ) -> None:
        """any_step: training records come with an info. folder: the "output_path"."""
        self._log_step = log_step
        self._finalize: Optional[Callable[[], None]] = finalize
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

    def close(self) -> None:
        """To be called at the end, after an error too: loggers upload what is left."""
        finalize, self._finalize = self._finalize, None
        if finalize is not None:
            finalize()

    def _info(self, step: int, epoch: float, seconds: float) -> Dict[str, Any]:
        losses = {}
        if self._waiting:
            n = len(self._waiting)
            losses = {
                "forward": sum(record.forward_loss for record in self._waiting) / n,
                "backward": sum(record.backward_loss for record in self._waiting) / n,
            }
            self._waiting.clear()
        # Loggers write into an info: each has its own.
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
    """Start a logger of spaCy's registry.

    config: its block, {"@loggers": "spacy.WandbLogger.v5", "project_name": "elmo"}.
    settings: of the run, sections and their values, JSON-able, without variables: what
        a logger stores as the run's config.
    output: folder of the run.

    Raises ImportError without spaCy or the package that the logger needs, ValueError
    for a name that is not registered or other arguments than the logger's.
    """
    try:
        from spacy.util import registry
    except ImportError as error:
        raise ImportError(
            f"[training] logger: expected the package spacy, whose registry has the "
            f"loggers, found none. Install it: {SPACY_LOGGERS} spacy; or remove the "
            "logger: log.jsonl and the progress bar need none."
        ) from error

    names = list(_names(config))
    if not isinstance(config.get("@loggers"), str):
        raise ValueError(
            '[training] logger: expected a block with "@loggers", such as "@loggers" = '
            f'"spacy.WandbLogger.v5", found {config!r}.'
        )
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
    """The loggers in a block: a chain has several."""
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
            f"{name!r}. Registered are: {available}. For those of W&B, MLflow and "
            f"ClearML: {SPACY_LOGGERS}."
        ) from error


def _nlp_with(settings: Mapping[str, Any]) -> Any:
    """An empty pipeline whose config is the settings, for loggers store that."""
    import spacy
    from thinc.api import Config

    class Settings(Config):
        def interpolate(self) -> Any:
            # Not the settings read again, where "$" in a path would be a variable; and
            # without what nlp.config adds about a pipeline that there is not.
            return Config(copy.deepcopy(dict(settings)))

    nlp = spacy.blank("xx")
    # The console logger looks these up.
    console: Dict[str, Any] = {
        "max_steps": None,
        "eval_frequency": None,
        "score_weights": {},
    }
    training = {**console, **settings.get("training", {})}
    nlp.config = Settings(copy.deepcopy({**settings, "training": training}))
    return nlp


def _score(perplexity: float) -> float:
    # NaN would be neither worse nor better than anything, and max() then is any.
    return -math.log(perplexity) if 0.0 < perplexity < math.inf else -math.inf
