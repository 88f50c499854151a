"""Time how long `elmo explore` takes to answer with the surprisal of a sentence."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated, List

import httpx
import typer
from measuring import our_versions, summarize, write_results
from treebank import read_sentences
from wasabi import msg

COMMAND = ["-m", "spacy", "elmo", "explore", "--port", "0"]
MIN_WORDS, MAX_WORDS = 15, 30
"""Length of the sentences, for an average of 20 words or so."""


def main(
    text: Annotated[Path, typer.Argument(help="CoNLL-U file", exists=True)],
    target: Annotated[Path, typer.Argument(help="JSON to write")],
    n_sentences: Annotated[int, typer.Option(help="Sentences per round")] = 100,
    n_rounds: int = 3,
    threads: int = 2,
) -> None:
    """Ask for one sentence after another, with the English weights."""
    known = [s for s in read_sentences(text, 0) if MIN_WORDS <= len(s) <= MAX_WORDS]
    sentences = known[:n_sentences]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    with subprocess.Popen(
        [sys.executable, *COMMAND], stdout=subprocess.PIPE, text=True, env=environment
    ) as server:
        try:
            address = read_address(server)
            rounds = [measure(address, sentences) for _ in range(n_rounds)]
        finally:
            server.terminate()
    slowest = [max(seconds) for seconds in rounds]
    seconds = [sum(seconds) / len(seconds) for seconds in rounds]
    msg.info(f"{1000 * min(seconds):.0f} ms on average, {1000 * max(slowest):.0f} most")
    write_results(
        target,
        our_versions(),
        threads,
        n_rounds=n_rounds,
        sentences=len(sentences),
        words=sum(map(len, sentences)),
        mean_seconds=summarize(seconds),
        max_seconds=summarize(slowest),
    )


def read_address(server: "subprocess.Popen[str]") -> str:
    """Wait until the server is ready, and return its address."""
    assert server.stdout is not None
    for line in server.stdout:
        found = re.search(r"http://[\w.:]+", line)
        if found is not None:
            return found[0]
    raise RuntimeError("Expected the address of the server, found none in its output.")


def measure(address: str, sentences: List[List[str]]) -> List[float]:
    """Get the seconds of each answer."""
    seconds = []
    with httpx.Client(base_url=address, timeout=60) as client:
        for sentence in sentences:
            start = time.perf_counter()
            answer = client.get("/surprisal", params={"text": " ".join(sentence)})
            seconds.append(time.perf_counter() - start)
            answer.raise_for_status()
            if "given the words before" not in answer.text:
                raise RuntimeError(f"Expected surprisal, found {answer.text}")
    return seconds


if __name__ == "__main__":
    typer.run(main)
