"""Send requests to the service from many clients, and measure latency, throughput,
errors and the memory of the service."""

import asyncio
import os
import random
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated, Any, Dict, List, Optional

import httpx
import srsly
import torch
import typer
from wasabi import msg

WARM_UP = 60.0
"""Seconds at the start that count for no figure: caches fill, and memory grows to what
full load takes."""


class Load:
    """The clients' side of a load test.

    url (str): Address of the service.
    texts (List[str]): Texts to choose from.
    rate (Optional[float]): Requests per second of all clients together, after the
        warm-up. None for as many as the service answers.
    """

    def __init__(self, url: str, texts: List[str], rate: Optional[float]) -> None:
        self.url = url
        self.texts = texts
        self.rate = rate
        self.latencies: List[float] = []
        self.errors: List[str] = []
        self.measured_from = 0.0
        self._next = 0.0

    async def run(self, n_clients: int, seconds: float, warm_up: float) -> None:
        """Send requests until the time is over."""
        start = time.perf_counter()
        self.measured_from, end = start + warm_up, start + warm_up + seconds
        self._next = self.measured_from
        limits = httpx.Limits(max_connections=n_clients)
        async with httpx.AsyncClient(limits=limits, timeout=60.0) as client:
            await asyncio.gather(
                *(self._client(client, seed, end) for seed in range(n_clients))
            )

    async def _client(self, client: httpx.AsyncClient, seed: int, end: float) -> None:
        choice = random.Random(seed)
        while (due := self._due()) < end:
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            # Measured from the time at which the request was due, so that a service
            # that falls behind cannot hide it.
            start = due if self.rate else time.perf_counter()
            error = await self._send(client, choice.choice(self.texts))
            if error:
                self.errors.append(error)
            elif start >= self.measured_from:
                self.latencies.append(time.perf_counter() - start)

    def _due(self) -> float:
        now = time.perf_counter()
        if not self.rate or now < self.measured_from:
            return now
        self._next += 1 / self.rate
        return self._next

    async def _send(self, client: httpx.AsyncClient, text: str) -> Optional[str]:
        try:
            response = await client.post(self.url, json={"texts": [text]})
        except httpx.HTTPError as error:
            return repr(error)
        if response.status_code != 200:
            return f"status {response.status_code}"
        if not any(response.json()[0]["vector"]):
            return "a vector of zeros"
        return None


def read_texts(path: Path, n_words: int) -> List[str]:
    """Cut a file into texts of `n_words` words."""
    words = path.read_text(encoding="utf8").split()
    starts = range(0, len(words) - n_words + 1, n_words)
    return [" ".join(words[start : start + n_words]) for start in starts]


def resident_mb(pid: int) -> float:
    """Resident memory of a process in MiB, from Linux's /proc."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


async def watch_memory(pid: int, interval: float, samples: List[float]) -> None:
    """Sample the memory of the service until cancelled."""
    while True:
        await asyncio.sleep(interval)
        samples.append(resident_mb(pid))


async def measure(load: Load, pid: int, args: Dict[str, Any]) -> Dict[str, Any]:
    """Run the load and sum it up. Memory is compared between the first and the last
    tenth of the time that is measured."""
    samples: List[float] = []
    interval = args["seconds"] / 100
    run = asyncio.create_task(
        load.run(args["clients"], args["seconds"], args["warm_up"])
    )
    await asyncio.sleep(args["warm_up"])
    watch = asyncio.create_task(watch_memory(pid, interval, samples))
    await run
    watch.cancel()
    if not load.latencies:
        msg.fail(
            "No request was answered", ", ".join(sorted(set(load.errors))), exits=1
        )
    latencies = sorted(load.latencies)
    tenth = max(1, len(samples) // 10)
    first, last = statistics.mean(samples[:tenth]), statistics.mean(samples[-tenth:])
    return {
        **args,
        "requests": len(latencies),
        "errors": len(load.errors),
        "requests_per_second": round(len(latencies) / args["seconds"], 1),
        "words_per_second": round(len(latencies) * args["words"] / args["seconds"]),
        "latency_ms": {
            name: round(1000 * latencies[int(len(latencies) * share)])
            for name, share in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99))
        },
        "memory_mb": {"first": round(first), "last": round(last)},
        "memory_growth_percent": round(100 * (last / first - 1), 2),
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "cores": os.cpu_count(),
    }


def start_service(port: int) -> "subprocess.Popen[bytes]":
    """Start the service, and wait until it answers."""
    script = Path(__file__).with_name("service.py")
    environment = {**os.environ, "PORT": str(port)}
    service = subprocess.Popen([sys.executable, str(script)], env=environment)
    for _ in range(600):
        if service.poll() is not None:
            msg.fail("The service has ended; its error is above", exits=1)
        try:
            httpx.get(f"http://127.0.0.1:{port}/health").raise_for_status()
        except httpx.HTTPError:
            time.sleep(0.1)
        else:
            return service
    service.kill()
    msg.fail("Expected the service to start within a minute, found no answer", exits=1)
    raise AssertionError


def main(
    text: Annotated[
        Path, typer.Argument(help="Text file", exists=True, dir_okay=False)
    ],
    output: Annotated[Path, typer.Argument(help="JSON file to write")],
    clients: Annotated[int, typer.Option(help="Number of clients", min=1)] = 20,
    seconds: Annotated[float, typer.Option(help="Time to measure", min=1)] = 600,
    warm_up: Annotated[float, typer.Option(help="Time before it", min=0)] = WARM_UP,
    words: Annotated[int, typer.Option(help="Words per request", min=1)] = 100,
    rate: Annotated[
        Optional[float],
        typer.Option(help="Requests per second, or as many as are answered", min=0.01),
    ] = None,
    port: Annotated[int, typer.Option(help="Port of the service")] = 8765,
) -> None:
    """Start the service, send it texts of TEXT from many clients, and write the
    measurements to OUTPUT. Fails if a request fails."""
    texts = read_texts(text, words)
    if not texts:
        msg.fail(f"{text}: expected at least {words} words, found fewer", exits=1)
    args = {"clients": clients, "seconds": seconds, "warm_up": warm_up}
    args.update(words=words, rate=rate)
    service = start_service(port)
    try:
        load = Load(f"http://127.0.0.1:{port}/annotate", texts, rate)
        result = asyncio.run(measure(load, service.pid, args))
    finally:
        service.terminate()
        service.wait()
    output.parent.mkdir(parents=True, exist_ok=True)
    srsly.write_json(output, result)
    print(srsly.json_dumps(result, indent=2))
    if load.errors:
        msg.fail(f"{len(load.errors)} errors", sorted(set(load.errors))[0], exits=1)


if __name__ == "__main__":
    typer.run(main)
