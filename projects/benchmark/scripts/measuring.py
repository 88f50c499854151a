"""What all measurements share: models and text of a command line, the systems that are
compared, summaries of rounds, and results as files."""

import os
import platform
import shlex
import statistics
import sys
import time
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Sequence

import srsly
from environments import MARK, python_of
from protocol import Team, Worker, versions
from wasabi import msg

PROJECT = Path(__file__).resolve().parent.parent
ENVIRONMENTS = PROJECT / "environments"

OURS = "spacy_elmo"
ALLENNLP = "allennlp"
SIMPLE_ELMO = "simple_elmo"
SYSTEMS = (OURS, ALLENNLP, SIMPLE_ELMO)

MODELS = "Folders of weights; FOLDER:N for N sentences, evenly spaced (0: all)"
"""Help of the argument that `parse_models` reads."""

FEATURES = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")
"""Processor features that the speed of matrix products depends on."""

Summary = Dict[str, Any]
Round = Mapping[str, float]


class Model(NamedTuple):
    """Weights, and how many sentences of the text to encode with them (0: all)."""

    folder: Path
    n_sentences: int

    @property
    def name(self) -> str:
        return self.folder.name


def parse_models(texts: Sequence[str]) -> List[Model]:
    """Parse FOLDER and FOLDER:N.

    RAISES: ValueError if two folders have the same name, which results go by.
    """
    models = []
    for text in texts:
        folder, _, number = text.rpartition(":")
        if folder and number.isdecimal():
            models.append(Model(Path(folder), int(number)))
        else:
            models.append(Model(Path(text), 0))
    names = [model.name for model in models]
    if len(set(names)) != len(names):
        raise ValueError(f"Expected folders with different names, found {names}.")
    return models


def start(team: Team, system: str) -> Worker:
    """Start a system's worker. Exits if its environment is missing."""
    if system == OURS:
        return team.start(system, sys.executable, "our_worker.py")
    folder = ENVIRONMENTS / system
    if not (folder / MARK).is_file():
        msg.fail(
            f"No environment at environments/{system}",
            "Create it with `python -m spacy project run environments`.",
            exits=1,
        )
    return team.start(system, python_of(folder), f"{system}_worker.py")


def start_all(
    team: Team,
    systems: Sequence[str],
    model: Model,
    text: Path,
    options: Optional[Mapping[str, Mapping[str, Any]]] = None,
) -> Dict[str, Any]:
    """Start the systems and let each load the weights and the text.

    options (Mapping[str, Mapping[str, Any]]): Further arguments of `load`, by system.
    RETURNS (Dict[str, Any]): Each system's answer, with its versions.
    RAISES: ValueError if the systems count different numbers of words.
    """
    found = {
        system: start(team, system).ask(
            "load",
            weights=str(model.folder),
            text=str(text),
            n_sentences=model.n_sentences,
            **(options or {}).get(system, {}),
        )
        for system in systems
    }
    if len({answer["words"] for answer in found.values()}) != 1:
        raise ValueError(f"Expected as many words in all systems, found {found}.")
    return found


def versions_of(found: Mapping[str, Any]) -> Dict[str, Any]:
    return {system: answer["versions"] for system, answer in found.items()}


def our_versions() -> Dict[str, Dict[str, str]]:
    return {OURS: versions("spacy_elmo", "spacy", "torch", "numpy")}


def summarize(values: Sequence[float]) -> Summary:
    """Median and spread of one value per round, and the values themselves."""
    return {
        "median": statistics.median(values),
        "min": min(values),
        "max": max(values),
        "rounds": list(values),
    }


def seconds(run: Callable[[], Any]) -> float:
    """Time that this thread spends on a task; other processes do not count."""
    start = time.thread_time()
    run()
    return time.thread_time() - start


def summarize_all(rounds: Sequence[Round]) -> Dict[str, Summary]:
    """Summarize each figure of the rounds.

    RAISES: ValueError unless all rounds have the same figures.
    """
    names = list(rounds[0])
    for number, one in enumerate(rounds):
        if list(one) != names:
            raise ValueError(f"Round {number}: expected {names}, found {list(one)}.")
    return {name: summarize([one[name] for one in rounds]) for name in names}


def ratios(
    rounds: Sequence[Round], ours: Sequence[str], peers: Sequence[str]
) -> Dict[str, Dict[str, Summary]]:
    """Ratios of our figures to the peers', by peer and then by ours.

    Computed within each round: a slower machine in that minute affects both.
    """
    return {
        peer: {
            mine: summarize([one[mine] / one[peer] for one in rounds]) for mine in ours
        }
        for peer in peers
    }


def write_results(
    target: Path, packages: Mapping[str, Mapping[str, str]], threads: int, **found: Any
) -> None:
    """Write results with the command, the machine and the versions.

    packages (Mapping[str, Mapping[str, str]]): Versions of packages, by system.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    script, *arguments = sys.argv
    record = {
        "command": shlex.join(["python", f"scripts/{Path(script).name}", *arguments]),
        "machine": machine(),
        "versions": packages,
        "threads": threads,
        **found,
    }
    srsly.write_json(target, record)
    msg.good(str(target))


def machine() -> Dict[str, Any]:
    described = cpuinfo()
    return {
        "processor": described.get("model name")
        or platform.processor()
        or platform.machine(),
        "features": processor_features(described),
        "cores": os.cpu_count(),
        "memory_gb": memory_gb(),
        "system": platform.system(),
        "python": platform.python_version(),
    }


def cpuinfo() -> Dict[str, str]:
    """Read Linux's description of the first core; empty on other systems."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf8")
    except OSError:
        return {}
    pairs = (line.partition(":") for line in text.partition("\n\n")[0].splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}


def processor_features(described: Mapping[str, str]) -> List[str]:
    flags = described.get("flags", "").split()
    return [name for name in FEATURES if name in flags]


def memory_gb() -> int:
    """Main memory in GiB; 0 if the system does not report it."""
    try:
        n_bytes = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return 0
    return round(n_bytes / 2**30)
