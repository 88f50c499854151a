"""A text in the form of BLiMP."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

PROJECT = Path(__file__).parents[2] / "projects" / "grammar"

TERMS = ("s-selection", "binding")


def write_blimp(path: Path, n_paradigms: int = 67) -> None:
    """Write the repository, packed as .tar.gz, with 1,000 pairs per paradigm."""
    with tarfile.open(path, "w:gz", compresslevel=1) as archive:
        for number in range(n_paradigms):
            record = {
                "sentence_good": f"the dog sees a cat number{number}",
                "sentence_bad": f"dog the cat a sees number{number}",
                "UID": f"paradigm{number:02}",
                "field": "syntax",
                "linguistics_term": TERMS[number % 2],
            }
            data = (json.dumps(record) + "\n").encode() * 1000
            folders = ("data", "raw") if number == 0 else ("data",)
            for name in (f"blimp-1/{folder}/{number}.jsonl" for folder in folders):
                member = tarfile.TarInfo(name)
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
