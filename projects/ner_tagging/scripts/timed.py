"""Run a Python command and write down how long it took."""

import subprocess
import sys
import time
from pathlib import Path

import srsly


def main(output: Path, *command: str) -> int:
    """Run `python COMMAND`; where it succeeds, write the seconds to a JSON file."""
    start = time.perf_counter()
    status = subprocess.run([sys.executable, *command], check=False).returncode
    seconds = round(time.perf_counter() - start, 1)
    if status == 0:
        output.parent.mkdir(parents=True, exist_ok=True)
        record = {"command": ["python", *command], "seconds": seconds}
        srsly.write_json(output, record)
    return status


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit("Usage: python timed.py OUTPUT.json COMMAND...")
    sys.exit(main(Path(sys.argv[1]), *sys.argv[2:]))
