"""Results as files: what was measured, by which command, on which machine."""

import os
import platform
import shlex
import sys
from pathlib import Path
from typing import Any, Dict, List, Mapping

import srsly
from protocol import versions
from wasabi import msg

FEATURES = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")
"""Of processors: what the speed of matrix products depends on."""


def write_results(
    target: Path, packages: Mapping[str, Mapping[str, str]], threads: int, **found: Any
) -> None:
    """packages: their versions, by system."""
    target.parent.mkdir(parents=True, exist_ok=True)
    record = {
        "command": command(),
        "machine": machine(),
        "versions": packages,
        "threads": threads,
        **found,
    }
    srsly.write_json(target, record)
    msg.good(str(target))


def our_versions() -> Dict[str, Dict[str, str]]:
    return {"spacy_elmo": versions("spacy_elmo", "spacy", "torch", "numpy")}


def command() -> str:
    """The one that runs, from the project's folder."""
    script, *arguments = sys.argv
    return shlex.join(["python", f"scripts/{Path(script).name}", *arguments])


def machine() -> Dict[str, Any]:
    """What a reader must know to compare the figures with others."""
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
    """What Linux tells of the first core; nothing elsewhere."""
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
    """In GiB; 0 where the system does not tell."""
    try:
        n_bytes = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return 0
    return round(n_bytes / 2**30)
