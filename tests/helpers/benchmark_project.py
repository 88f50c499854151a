"""Scripts of the project benchmark, and results in the form that they write."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any, Iterator

import pytest
import typer
from click.testing import Result
from typer.testing import CliRunner

from helpers.project_copies import import_from

ROOT = Path(__file__).parents[2]
PROJECT = ROOT / "projects" / "benchmark"
SCRIPTS = PROJECT / "scripts"
MARKS = "Before\n<!-- speed -->\n<!-- /speed -->\nAfter\n"


def importable(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fixture that makes the scripts importable."""
    yield from import_from(SCRIPTS, monkeypatch)


def call(name: str, *arguments: object) -> Result:
    """Call a script in this process."""
    app = typer.Typer()
    app.command()(runpy.run_path(str(SCRIPTS / f"{name}.py"))["main"])
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def good(result: Result) -> str:
    assert result.exit_code == 0, (result.output, result.exception)
    return " ".join(result.output.split())


def summary(value: float) -> dict[str, Any]:
    return {"median": value, "min": value / 2, "max": 2 * value, "rounds": [value]}


def made_results() -> dict[str, Any]:
    """Create results of a machine on which a pass reaches 10,000 words per second for
    each letter of its name."""
    ours = ["batches float32", "cold float32", "warm float32"]
    peers = ["allennlp", "allennlp from words", "allennlp cached", "simple_elmo"]
    speeds = {name: 1e4 * len(name) for name in (*ours, *peers)}
    common = {
        "command": "python scripts/measure.py",
        "machine": {
            "processor": "P",
            "features": ["avx2"],
            "cores": 2,
            "memory_gb": 8,
            "python": "3.11.1",
        },
        "versions": {
            "allennlp": {"allennlp": "1.0"},
            "simple_elmo": {"simple_elmo": "0.9.2"},
        },
        "threads": 2,
        "n_rounds": 3,
    }
    work = {"words": 25_147, "sentences": 2001}
    at = {
        "words_per_second": summary(10),
        "peak_mb": summary(5),
        "result_mb": summary(3),
        "parameters": summary(1000),
    }
    twice = {**at, "words_per_second": summary(20)}
    times = {
        "first epoch": summary(30),
        "later epochs": summary(4),
        "new text": summary(2),
    }
    of_times = {name: summary(number) for name, number in zip(times, (7, 2, 9))}
    return {
        "agreement": {
            **common,
            "sizes": {
                "small": {
                    "vectors": {"a, b": [1e-6, 2e-6, 3e-6]},
                    "gradient": {"relative": 1e-7},
                }
            },
        },
        "inference": {
            **common,
            "batch_size": 32,
            "sizes": {
                "small": {
                    **work,
                    "words_per_second": {n: summary(s) for n, s in speeds.items()},
                    "ratios": {
                        peer: {
                            mine: summary(speeds[mine] / speeds[peer]) for mine in ours
                        }
                        for peer in peers
                    },
                    "float32_peak_gflops_beside": {name: summary(1) for name in ours},
                    "lstms": {"float32 share of packed peak": summary(0.625)},
                    "peak_gflops": {"float32": summary(200)},
                }
            },
        },
        "precision": {
            **common,
            "sizes": {
                "small": {**work, "cosines": [{"mean": 0.9999, "min": 0.99}] * 3}
            },
        },
        "int8": {
            **common,
            "threads": 1,
            "call_words": 15,
            "sizes": {
                "small": {
                    **work,
                    "cosines": {"int8": {"mean": 0.999, "min": 0.98}},
                    "instructions": {
                        "avx2": {
                            "int8_relative_to": {
                                "float32": summary(3),
                                "bfloat16": summary(2),
                            },
                            "call_ms": {
                                "float32": {"1": summary(4), "2": summary(8)},
                                "int8": {"1": summary(2), "2": summary(3)},
                            },
                            "largest_step": {"float32": 1.25, "int8": 1.1},
                        }
                    },
                }
            },
            "widths": {"1000/125": {"float32": 1.05, "int8": 1.15}},
        },
        "training": {
            **common,
            "sizes": {
                "small": {
                    **work,
                    "words_per_second": {"float32": summary(1000)},
                    "ratios": {"allennlp": {"float32": summary(4)}},
                    "peak_gflops": {"float32": summary(200)},
                }
            },
        },
        "kernels": {
            **common,
            "n_sequences": 32,
            "n_steps": 20,
            "lanes": 16,
            "sizes": {
                "1024/128": {
                    "seconds": {"encode float32 kernels": summary(0.5)},
                    "gains": {
                        "encode float32": summary(1.75),
                        "train float32": summary(1.5),
                    },
                }
            },
        },
        "embedding": {
            **common,
            "clocks": {"encoding thread": {"share": {"Parquet, top": summary(0.95)}}},
        },
        "through_spacy": {
            **common,
            "sizes": {
                "small": {
                    **work,
                    "through_spacy": {
                        "pipe share of encode": summary(0.97),
                        "short doc ratio": summary(1.1),
                    },
                    "start_up": {
                        "safetensors": {
                            "add_and_load": summary(1.25),
                            "import_spacy_elmo": summary(0.03),
                        }
                    },
                }
            },
        },
        "scaling": {
            **common,
            "sizes": {
                "small": {
                    "batch_tokens": {"10": at, "100": twice},
                    "threads": {"1": at, "2": twice},
                    "sentence_length": {"10": at, "100": at},
                    "doc_length": {"10": at, "1000": at},
                }
            },
        },
        "frozen_heads": {
            **common,
            "n_epochs": 3,
            "words": 1234,
            "weights": "small",
            "baseline": "cnn",
            "seconds": {"cnn": times, "elmo": times},
            "new_words": 500,
            "ratios": {"elmo": of_times},
            "scores": {"elmo": {"float32": 0.75, "bfloat16": 0.7}},
        },
    }
