"""Commands of `python -m spacy elmo`, run in this process."""

from __future__ import annotations

import re

from click.testing import Result
from typer.testing import CliRunner

from spacy_elmo.cli import elmo_cli


def invoke(*arguments: object, charset: str = "utf-8") -> Result:
    """Run a command. `charset` is the encoding of its output."""
    return CliRunner(charset=charset).invoke(elmo_cli, [str(x) for x in arguments])


def complete(*arguments: object, charset: str = "utf-8") -> list[str]:
    """Run a command that must succeed.

    RETURNS (list[str]): The lines of its output, without repeated spaces.
    """
    result = invoke(*arguments, charset=charset)
    assert result.exit_code == 0, (result.output, result.exception)
    return [re.sub(r"\s+", " ", line).strip() for line in result.output.splitlines()]


def assert_refused(result: Result, *parts: object) -> None:
    """Check for status 1 and a single message that contains `parts`, no traceback."""
    assert result.exit_code == 1, result.output
    assert isinstance(result.exception, SystemExit), result.exception
    assert "Traceback" not in result.output
    assert result.stderr.count("\u2718") == 1
    for part in parts:
        assert str(part) in result.stderr, result.stderr
