"""Worker processes: they read one task per line, as JSON, and answer with one line.

Uses the standard library only, since the peers' environments import it as well.
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
    """Run in a worker: answer tasks until standard input ends. An error ends the
    worker, with a traceback on standard error."""
    # Libraries print to standard output, which is reserved for answers.
    answers = os.fdopen(os.dup(1), "w", encoding="utf8")
    os.dup2(2, 1)
    for line in sys.stdin:
        request = json.loads(line)
        answer = tasks[request.pop("task")](**request)
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


class WorkerError(RuntimeError):
    """Raised if a worker ends before it answers."""


class Worker:
    """A worker process, as the driver sees it. It blocks between tasks.

    python (str): Interpreter of the worker's environment.
    script (str): Name of the script in scripts/.
    arguments (str): Further arguments of the script.
    threads (int): Number of threads.
    """

    def __init__(self, python: str, script: str, *arguments: str, threads: int) -> None:
        self.name = script
        environment = {**os.environ, **dict.fromkeys(THREADS, str(threads))}
        if python != sys.executable:
            # These are meant for the driver's interpreter.
            for name in ("PYTHONPATH", "PYTHONHOME"):
                environment.pop(name, None)
        # A file, because a full pipe that nobody reads would block the worker.
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
        """Send a task and wait for the answer.

        RAISES: WorkerError, with the end of the worker's log, if there is no answer.
        """
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
            raise WorkerError(f"{self.name} ended at {line}\n{self._end_of_log()}")
        return json.loads(answer)

    def close(self) -> None:
        # The last task of a worker that has ended may still be in the buffer.
        with contextlib.suppress(BrokenPipeError):
            cast(IO[str], self._process.stdin).close()
        self._process.wait()
        cast(IO[str], self._process.stdout).close()
        self._log.close()

    def _end_of_log(self) -> str:
        self._process.wait()
        self._log.seek(0)
        return "".join(self._log.readlines()[-30:])


class Team:
    """Workers by name; a `with` block ends them all."""

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
    """Get the value that follows `name` on a worker's command line."""
    arguments = sys.argv if arguments is None else arguments
    return arguments[arguments.index(name) + 1]


def versions(*packages: str) -> Dict[str, str]:
    """Get the versions of packages in this environment."""
    return {package: version(package) for package in packages}
