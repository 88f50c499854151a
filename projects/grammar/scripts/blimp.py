"""Read BLiMP from an archive, a folder or a file, and check that it is complete."""

import tarfile
import tempfile
import urllib.request
from collections import Counter
from pathlib import Path
from typing import Annotated, Iterator

import srsly
import typer
from wasabi import msg

from spacy_elmo.files import replace_file
from spacy_elmo.text.files import read_lines

N_PARADIGMS, N_PAIRS = 67, 1000


def main(
    source: Annotated[
        str,
        typer.Argument(
            help="Address or file of the repository packed as .tar.gz, a folder of "
            ".jsonl files, or one such file, compressed or not"
        ),
    ],
    output: Annotated[Path, typer.Argument(help="JSON lines to write")],
) -> None:
    """Write all pairs to one file of JSON lines, sorted by paradigm."""
    with tempfile.TemporaryDirectory() as temporary:
        if "://" in source:
            archive = Path(temporary) / "blimp.tar.gz"
            with urllib.request.urlopen(source, timeout=60) as response:
                archive.write_bytes(response.read())
            source = str(archive)
        lines = list(read(Path(source)))
    pairs = sorted(map(srsly.json_loads, lines), key=lambda pair: str(pair["UID"]))
    sizes = Counter(pair["UID"] for pair in pairs)
    if len(sizes) != N_PARADIGMS or set(sizes.values()) != {N_PAIRS}:
        msg.fail(
            f"{source}: expected {N_PARADIGMS} paradigms of {N_PAIRS} pairs, found "
            f"{len(sizes)} paradigms and {len(pairs)} pairs",
            exits=1,
        )
    with replace_file(output) as part:
        srsly.write_jsonl(part, pairs)
    msg.good(f"{len(pairs):,} pairs", str(output))


def read(path: Path) -> Iterator[str]:
    """Read the lines of all files with pairs."""
    if path.is_dir():
        for file in sorted(path.glob("*.jsonl")):
            yield from read(file)
    elif path.is_file() and tarfile.is_tarfile(path):
        with tarfile.open(path) as archive:
            for member in archive:
                name = Path(member.name)
                content = archive.extractfile(member)
                if content and name.suffix == ".jsonl" and name.parent.name == "data":
                    yield from content.read().decode("utf8").splitlines()
    else:
        yield from (line for _, line in read_lines(path) if line.strip())


if __name__ == "__main__":
    typer.run(main)
