"""Loggers of spaCy receive records as from `spacy train`."""

from __future__ import annotations

import copy
import io
import json
import math
import sys
from pathlib import Path
from typing import Any, Callable, Optional

import pytest
from helpers.records import dev_record, train_record
from spacy.util import registry

from spacy_elmo.pretraining.output.log import DevRecord, TrainRecord
from spacy_elmo.pretraining.output.spacy_loggers import RecordLogger, make_logger

SETTINGS: dict[str, Any] = {
    "paths": {"train": "corpus/a$ ${b}/*.txt", "dev": None},
    "corpus": {"min_count": 3, "files": ["a", "b"], "reader": {"split": True}},
    "training": {"max_steps": 100, "seed": 1, "learn_rate": 1e-3},
}


class Received:
    """Everything that a logger received."""

    def __init__(self) -> None:
        self.infos: list[Optional[dict[str, Any]]] = []
        self.nlp: Any = None
        self.streams: tuple[Any, ...] = ()
        self.name: Optional[str] = None
        self.n_closed = 0


@pytest.fixture
def received() -> Received:
    """Registers "test.RecordingLogger.v1", which modifies infos as some loggers do."""
    result = Received()

    def make(name: str = "none") -> Callable[..., Any]:
        def setup(nlp: Any, stdout: Any, stderr: Any) -> Any:
            result.nlp, result.streams, result.name = nlp, (stdout, stderr), name

            def log_step(info: Optional[dict[str, Any]]) -> None:
                result.infos.append(copy.deepcopy(info))
                if info is not None:
                    info["gpu.memory"] = 1
                    info["checkpoints"].append("mine")
                    info["losses"].clear()

            def finalize() -> None:
                result.n_closed += 1

            return log_step, finalize

        return setup

    registry.loggers.register("test.RecordingLogger.v1", func=make)
    return result


def train(step: int, forward: float = 5.0, backward: float = 4.0) -> TrainRecord:
    return train_record(
        step,
        forward_loss=forward,
        backward_loss=backward,
        learn_rate=step * 1e-4,
        words_per_second=1000.0,
        words=step * 100,
        seconds=step * 0.6,
    )


def dev(step: int, perplexity: float) -> DevRecord:
    return dev_record(
        step,
        forward_perplexity=perplexity - 1,
        backward_perplexity=perplexity + 1,
        perplexity=perplexity,
        oov_rate=0.02,
        seconds=step * 0.6,
    )


def log_some(logger: RecordLogger) -> None:
    logger.train(train(10, 5.0, 4.0))
    logger.train(train(20, 3.0, 3.5))
    logger.dev(dev(20, 70.0))
    logger.train(train(30, 2.0, 2.5))
    logger.dev(dev(30, 60.0))
    logger.close()


def test_a_custom_logger_receives_the_infos_of_spacy_train(received: Received) -> None:
    config = {"@loggers": "test.RecordingLogger.v1", "name": "run"}
    logger = make_logger(config, SETTINGS, Path("output"))
    assert received.streams == (sys.stdout, sys.stderr)
    assert received.name == "run"
    log_some(logger)
    assert received.n_closed == 1
    none, other_none, first, third_none, second = received.infos
    assert none is other_none is third_none is None
    # No output path, as such a logger may load it as a pipeline.
    assert first == {
        "epoch": 2,
        "step": 20,
        "score": -math.log(70.0),
        "other_scores": {
            "perplexity": 70.0,
            "forward_perplexity": 69.0,
            "backward_perplexity": 71.0,
            "oov_rate": 0.02,
        },
        "losses": {"forward": 4.0, "backward": 3.75},
        "checkpoints": [(-math.log(70.0), 20)],
        "seconds": 12,
        "words": 2000,
        "learn_rate": 20 * 1e-4,
        "grad_norm": 2.5,
        "words_per_second": 1000.0,
    }
    assert second is not None
    assert second["losses"] == {"forward": 2.0, "backward": 2.5}
    assert second["checkpoints"] == [(-math.log(70.0), 20), (-math.log(60.0), 30)]
    # This is how loggers of spaCy recognize the best.
    assert second["score"] == max(second["checkpoints"])[0]


def test_loggers_store_the_settings(received: Received) -> None:
    settings = copy.deepcopy(SETTINGS)
    make_logger({"@loggers": "test.RecordingLogger.v1"}, settings, Path("output"))
    assert received.nlp.config.interpolate() == SETTINGS
    # Loggers remove settings that the user does not want to upload.
    del received.nlp.config.interpolate()["paths"]["train"]
    assert received.nlp.config.interpolate() == settings == SETTINGS
    json.dumps(received.nlp.config.interpolate())


@pytest.mark.parametrize("perplexity", [math.nan, math.inf])
def test_a_perplexity_that_is_not_finite_is_never_the_best(
    received: Received, perplexity: float
) -> None:
    logger = make_logger({"@loggers": "test.RecordingLogger.v1"}, {}, Path("output"))
    logger.dev(dev(10, perplexity))
    logger.dev(dev(20, 60.0))
    logger.dev(dev(30, perplexity))
    last = received.infos[-1]
    assert last is not None
    assert max(last["checkpoints"]) == (-math.log(60.0), 20)
    assert last["score"] == -math.inf
    assert last["losses"] == {}
    assert last["words"] == 0


@pytest.mark.parametrize(
    "config",
    [
        {"@loggers": "spacy.ConsoleLogger.v2", "progress_bar": True},
        {"@loggers": "spacy.ConsoleLogger.v3"},
        {"@loggers": "spacy.ConsoleLogger.v3", "progress_bar": "train"},
        {"@loggers": "spacy.ConsoleLogger.v3", "progress_bar": "eval"},
    ],
)
@pytest.mark.parametrize("settings", [SETTINGS, {}])
def test_the_console_logger(
    config: dict[str, Any],
    settings: dict[str, Any],
    capsys: pytest.CaptureFixture[str],
) -> None:
    log_some(make_logger(config, settings, Path("output")))
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert rows[0] == ["E", "#", "SCORE"]
    assert rows[2:] == [["2", "20", "-4.25"], ["3", "30", "-4.09"]]


LOOKUP = {
    "@loggers": "spacy.LookupLogger.v1",
    "patterns": ["^step", "score", "loss", "path"],
}


def test_loggers_of_spacy_loggers_receive_every_record(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("spacy_loggers")
    stdout = io.StringIO()
    monkeypatch.setattr(sys, "stdout", stdout)
    log_some(make_logger(LOOKUP, SETTINGS, Path("output")))
    lines = stdout.getvalue().splitlines()
    assert lines[:10] == [
        "step -> 10",
        "score -> None",
        "other_scores -> None",
        "losses.forward -> 5.0",
        "losses.backward -> 4.0",
        "step -> 20",
        "score -> None",
        "other_scores -> None",
        "losses.forward -> 3.0",
        "losses.backward -> 3.5",
    ]
    # Losses are not repeated.
    assert lines[10:12] == ["step -> 20", f"score -> {-math.log(70.0)}"]
    assert lines[15] == "other_scores.oov_rate -> 0.02"
    assert lines[16] == f"output_path -> {Path('output') / 'model-last'}"
    assert len([line for line in lines if line.startswith("losses.forward")]) == 3


def test_a_chain_receives_what_all_its_loggers_accept(
    capsys: pytest.CaptureFixture[str], received: Received
) -> None:
    pytest.importorskip("spacy_loggers")
    chain = {
        "@loggers": "spacy.ChainLogger.v1",
        "logger1": LOOKUP,
        "logger2": {"@loggers": "spacy.ConsoleLogger.v3"},
    }
    log_some(make_logger(chain, SETTINGS, Path("output")))
    out = capsys.readouterr().out
    assert "None" not in out
    assert out.count("output_path") == 2
    assert "-4.25" in out
    chain["logger3"] = {"@loggers": "test.RecordingLogger.v1"}
    log_some(make_logger(chain, SETTINGS, Path("output")))
    assert "output_path" not in capsys.readouterr().out
    assert [info is None for info in received.infos] == [True, True, False, True, False]


@pytest.mark.parametrize(
    "config",
    [
        {"@loggers": "nowhere.Logger.v1"},
        {
            "@loggers": "spacy.ConsoleLogger.v3",
            "inner": {"@loggers": "nowhere.Logger.v1"},
        },
    ],
)
def test_unknown_names(config: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"expected .*, found") as caught:
        make_logger(config, SETTINGS, Path("output"))
    for part in ("'nowhere.Logger.v1'", "spacy.ConsoleLogger.v3", "spacy-loggers"):
        assert part in str(caught.value)


def test_arguments_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match="color"):
        make_logger(
            {"@loggers": "spacy.ConsoleLogger.v3", "color": "red"},
            SETTINGS,
            Path("output"),
        )


def test_missing_spacy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("spacy", "spacy.util"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=r"expected the package spacy.*found none"):
        make_logger({"@loggers": "spacy.ConsoleLogger.v3"}, SETTINGS, Path("output"))
