"""Fuzz each reader for a while: python tests/fuzz/run.py --seconds 60 [READER ...]

Prints the number of inputs per reader, and writes those that failed to --failures. They
are mended together with a copy in tests/fuzz/regressions/READER, which the tests read.
"""

from __future__ import annotations

import argparse
import importlib.util
import platform
import re
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Tuple

HERE = Path(__file__).parent
LIMITS = ("-timeout=10", "-rss_limit_mb=2048", "-malloc_limit_mb=1024")
"""A hang, and memory far beyond that of valid files, count as failures."""


def fuzz(name: str, limit: str, corpus: Path, failures: Path) -> Tuple[bool, str]:
    """Fuzz a reader until libFuzzer's option `limit` ends it.

    RETURNS (Tuple[bool, str]): Whether no input failed, and what to print.
    """
    process = subprocess.run(
        [
            *(sys.executable, HERE / f"fuzz_{name}.py", *LIMITS),
            *(limit, f"-artifact_prefix={failures}/{name}-"),
            *("-print_final_stats=1", corpus / name),
        ],
        text=True,
        errors="replace",
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    if process.returncode:
        return False, f"{name}: failed\n{process.stdout[-4000:]}"
    stats = dict(re.findall(r"^stat::(\w+): +(\d+)", process.stdout, re.MULTILINE))
    inputs = int(stats["number_of_executed_units"])
    return True, f"{name}: {inputs:,} inputs, {stats['peak_rss_mb']} MB"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("readers", nargs="*")
    limits = parser.add_mutually_exclusive_group()
    limits.add_argument("--seconds", type=int, default=60, help="per reader")
    limits.add_argument("--inputs", type=int, help="per reader, in place of --seconds")
    parser.add_argument("--jobs", type=int, default=1, help="readers at a time")
    parser.add_argument("--corpus", type=Path, help="kept between runs, if given")
    parser.add_argument("--failures", type=Path, default=Path("failures"))
    arguments = parser.parse_args()
    if importlib.util.find_spec("atheris") is None:
        print(
            "Not fuzzed: the package atheris is not installed. It has wheels for Linux "
            "on x86-64 and Python 3.11 to 3.13; this is "
            f"{platform.system()} on {platform.machine()} and Python "
            f"{platform.python_version()}."
        )
        return 0
    limit = f"-max_total_time={arguments.seconds}"
    if arguments.inputs:
        limit = f"-runs={arguments.inputs}"
    failures = arguments.failures
    failures.mkdir(parents=True, exist_ok=True)
    names = sorted(path.stem[5:] for path in HERE.glob("fuzz_*.py"))
    status = 0
    with tempfile.TemporaryDirectory() as temporary:
        corpus = arguments.corpus or Path(temporary)
        subprocess.run([sys.executable, HERE / "seeds.py", corpus], check=True)
        run = partial(fuzz, limit=limit, corpus=corpus, failures=failures)
        with ThreadPoolExecutor(arguments.jobs) as pool:
            for succeeded, message in pool.map(run, arguments.readers or names):
                print(message, flush=True)
                status |= not succeeded
    if not any(failures.iterdir()):
        failures.rmdir()
    return status


if __name__ == "__main__":
    sys.exit(main())
