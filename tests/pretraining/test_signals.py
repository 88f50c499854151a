"""Stop signals: the first is remembered, the second has its usual effect."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Iterator

import pytest

from spacy_elmo.pretraining.signals import Interrupted, StopSignals

BOTH = pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])


class Acted(Exception):
    """Stands for the end of the process."""


def act(number: int, frame: FrameType | None) -> None:
    raise Acted(number)


@pytest.fixture(autouse=True)
def _handlers() -> Iterator[None]:
    """Installs handlers that do not end the process."""
    before = {n: signal.signal(n, act) for n in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def assert_restored() -> None:
    assert signal.getsignal(signal.SIGTERM) is act
    assert signal.getsignal(signal.SIGINT) is act


@BOTH
def test_the_first_signal_is_remembered(number: int) -> None:
    with StopSignals() as requests:
        assert requests.received is None
        signal.raise_signal(number)
        assert requests.received == number
    assert requests.received == number
    assert_restored()


@BOTH
@pytest.mark.parametrize("other", [signal.SIGTERM, signal.SIGINT])
def test_the_second_signal_acts_at_once(number: int, other: int) -> None:
    with StopSignals() as requests:
        signal.raise_signal(number)
        with pytest.raises(Acted) as caught:
            signal.raise_signal(other)
        assert caught.value.args == (other,)
        assert requests.received == number
    assert_restored()


def test_handlers_are_restored_after_an_error() -> None:
    def work() -> None:
        with StopSignals():
            assert signal.getsignal(signal.SIGINT) is not act
            raise KeyError

    with pytest.raises(KeyError):
        work()
    assert_restored()


def test_ignored_signals_are_ignored_again() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with StopSignals() as requests:
        signal.raise_signal(signal.SIGTERM)
        assert requests.received == signal.SIGTERM
        signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN


def test_outside_the_main_thread_nothing_changes() -> None:
    found: list[object] = []

    def work() -> None:
        with StopSignals() as requests:
            found.append(signal.getsignal(signal.SIGTERM))
            found.append(requests.received)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [act, None]
    assert_restored()


def test_the_exit_status() -> None:
    error = Interrupted(signal.SIGTERM, "Ended at step 3.")
    assert str(error) == "Ended at step 3."
    assert error.signal_number == 15
    assert error.exit_status == 143
    assert Interrupted(signal.SIGINT, "").exit_status == 130
