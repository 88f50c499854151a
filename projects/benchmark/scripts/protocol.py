"""Workers: processes that wait for one task a line, as JSON, and answer with one line.

Only the standard library: peers' environments read this module too.
"""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import IO, Any, Callable, Dict, List, Optional, cast

Task = Callable[..., Any]

SCRIPTS = Path(__file__).resolve().parent
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def serve(tasks: Dict[str, Task]) -> None:
    """In a worker: answer until standard input ends. An error ends the worker, and
    its traceback is on standard error."""
    # Libraries print to standard output: only answers may go to the driver.
    answers = os.fdopen(os.dup(1), "w", encoding="utf8")
    os.dup2(2, 1)
    for line in sys.stdin:
        request = json.loads(line)
        answer = tasks[request.pop("task")](**request)
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


class WorkerError(RuntimeError):
    """A worker ended before it answered."""


class Worker:
    """In the driver: a worker process. Between tasks it waits on its input and uses no
    core.

    python: interpreter of its environment. script: name in scripts/.
    """

    def __init__(self, python: str, script: str, *arguments: str, threads: int) -> None:
        self.name = script
        environment = {**os.environ, **dict.fromkeys(THREADS, str(threads))}
        if python != sys.executable:
            # What the driver's interpreter was told is not meant for another one.
            for name in ("PYTHONPATH", "PYTHONHOME"):
                environment.pop(name, None)
        # A file and not a pipe: nobody reads it, and a full pipe would stop the worker.
        self._log = tempfile.TemporaryFile(  # noqa: SIM115
            "w+", encoding="utf8", errors="replace"
        )
        self._process = subprocess.Popen(
            [python, str(SCRIPTS / script), *arguments, "--threads", str(threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env=environment,
            text=True,
            encoding="utf8",
        )

    def ask(self, task: str, **arguments: Any) -> Any:
        """Raises WorkerError, with the worker's last words, where none comes."""
        line = json.dumps({"task": task, **arguments})
        answer = ""
        try:
            stdin = cast(IO[str], self._process.stdin)
            stdin.write(line + "\n")
            stdin.flush()
            answer = cast(IO[str], self._process.stdout).readline()
        except BrokenPipeError:
            pass
        if not answer:
            raise WorkerError(f"{self.name} ended at {line}\n{self._last_words()}")
        return json.loads(answer)

    def close(self) -> None:
        # What a worker that has ended was last asked may still wait to be written.
        with contextlib.suppress(BrokenPipeError):
            cast(IO[str], self._process.stdin).close()
        self._process.wait()
        cast(IO[str], self._process.stdout).close()
        self._log.close()

    def _last_words(self) -> str:
        self._process.wait()
        self._log.seek(0)
        return "".join(self._log.readlines()[-30:])


class Team:
    """Workers by name, all ended at the end of a `with`."""

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self.workers: Dict[str, Worker] = {}

    def start(self, name: str, python: str, script: str, *arguments: str) -> Worker:
        worker = Worker(python, script, *arguments, threads=self.threads)
        self.workers[name] = worker
        return worker

    def __enter__(self) -> "Team":
        return self

    def __exit__(self, *error: Any) -> None:
        for worker in self.workers.values():
            worker.close()


def option(name: str, arguments: Optional[List[str]] = None) -> str:
    """Of a worker's command line, the value after `name`."""
    arguments = sys.argv if arguments is None else arguments
    return arguments[arguments.index(name) + 1]


def versions(*packages: str) -> Dict[str, str]:
    """Of packages of this environment."""
    return {package: version(package) for package in packages}
