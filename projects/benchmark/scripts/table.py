"""Write the results as tables, and the README's section on speed from them."""

import sys
from pathlib import Path
from typing import Annotated

import srsly
import typer
from report import known_subjects, report
from section import section
from wasabi import msg

BEGIN, END = "<!-- speed -->", "<!-- /speed -->"
REPORT = "speed.md"


def main(
    results: Annotated[Path, typer.Argument(help="Folder of results")],
    readme: Annotated[Path, typer.Argument(help="File with the section", exists=True)],
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; fail where it would")
    ] = False,
) -> None:
    """Between two marks README says what RESULTS say, and nothing where inference was
    not measured."""
    paths = sorted(results.glob("*.json"))
    found = known_subjects({path.stem: srsly.read_json(path) for path in paths})
    old = readme.read_text(encoding="utf8")
    text = section(found)
    try:
        new = put(text, old)
    except ValueError as error:
        msg.fail(f"{readme}: {error}")
        raise typer.Exit(1) from error
    target = results / REPORT
    full = report(found) if found else ""
    if check:
        before = target.read_text(encoding="utf8") if target.is_file() else ""
        stale = [
            str(path)
            for path, is_stale in ((readme, old != new), (target, before != full))
            if is_stale
        ]
        if stale:
            msg.fail(
                f"Not what the results say: {', '.join(stale)}",
                "Write it again: python scripts/table.py RESULTS README",
            )
            raise typer.Exit(1)
        msg.good("README and tables say what the results say")
        return
    if not found:
        msg.fail(f"No results in {results}", exits=1)
    target.write_text(full, encoding="utf8")
    readme.write_text(new, encoding="utf8")
    sys.stdout.write(text)
    msg.good(f"{target}, {readme}")


def put(text: str, document: str) -> str:
    """The document with the text between its marks.

    Raises ValueError where a mark is missing or there twice.
    """
    if document.count(BEGIN) != 1 or document.count(END) != 1:
        raise ValueError(f"expected {BEGIN} and {END} once each.")
    before, _, rest = document.partition(BEGIN)
    _, mark, after = rest.partition(END)
    if not mark:
        raise ValueError(f"expected {BEGIN} before {END}.")
    return f"{before}{BEGIN}\n{text}{END}{after}"


if __name__ == "__main__":
    typer.run(main)
