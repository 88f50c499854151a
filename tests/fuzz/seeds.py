"""Write the seed corpus of each reader: python tests/fuzz/seeds.py FOLDER"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # for helpers

from readers import READERS, seeds

REGRESSIONS = Path(__file__).parent / "regressions"
"""Inputs that failed once, by reader."""


def write_seeds(folder: Path) -> None:
    """Write FOLDER/READER/NUMBER, and what failed once."""
    for name in READERS:
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number, data in enumerate(seeds(name)):
            (folder / name / str(number)).write_bytes(data)
        for path in sorted((REGRESSIONS / name).glob("*")):
            (folder / name / path.name).write_bytes(path.read_bytes())


if __name__ == "__main__":
    write_seeds(Path(sys.argv[1]))
