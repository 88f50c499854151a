"""Records of imaginary trainings, for the tests of logs, loggers and curves."""

from __future__ import annotations

from typing import Any

from spacy_elmo.pretraining.output.log import DevRecord, TrainRecord


def train_record(step: int, **changes: Any) -> TrainRecord:
    record = TrainRecord(
        step=step,
        epoch=step / 8,
        loss=5.0 - step / 100,
        forward_loss=5.1 - step / 100,
        backward_loss=4.9 - step / 100,
        learn_rate=1e-3,
        grad_norm=2.5,
        words_per_second=12345.6,
        words=step * 1000,
        seconds=step * 0.5,
    )
    return record._replace(**changes)


def dev_record(step: int, **changes: Any) -> DevRecord:
    record = DevRecord(
        step=step,
        epoch=step / 8,
        forward_perplexity=81.0,
        backward_perplexity=49.0,
        perplexity=63.0,
        oov_rate=0.0215,
        n_words=20000,
        seconds=step * 0.5,
        best=True,
    )
    return record._replace(**changes)
