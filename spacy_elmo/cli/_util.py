"""What the commands share."""

from contextlib import contextmanager
from typing import Iterator, List

import typer


@contextmanager
def errors_as_messages() -> Iterator[None]:
    """A bad input ends the command with its message and status 1, not a traceback."""
    try:
        yield
    except (OSError, ValueError) as error:
        # Not by wasabi, which would join the lines of a message that has several.
        typer.echo(f"\u2718 {error}", err=True)
        raise typer.Exit(1) from error


def split_pair(argument: str) -> List[str]:
    """ "options.json,weights.hdf5" -> its two paths; any other path -> itself.

    Raises ValueError where there is more than one comma.
    """
    parts = argument.split(",")
    if len(parts) > 2 or not all(parts):
        raise ValueError(
            f"{argument}: expected a path, or two with a comma between "
            f"(options.json,weights.hdf5), found {len(parts)}."
        )
    return parts
