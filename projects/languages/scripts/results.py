"""Read the results of the trainings."""

import statistics
from pathlib import Path
from typing import Any, Dict, Iterator, List, NamedTuple, Tuple

import srsly
from languages import ALL, LANGUAGES, Language, Task

Results = List[Dict[str, Any]]


class Spread(NamedTuple):
    """Mean and sample standard deviation, which is 0 for a single value."""

    mean: float
    deviation: float


def read_tasks(folder: Path) -> Iterator[Tuple[Language, str, Task, Results]]:
    """Yield the tasks that have results, each with its language and name."""
    for language in LANGUAGES.values():
        for name, task in language.tasks.items():
            path = folder / f"{name}.json"
            if path.is_file():
                yield language, name, task, list(srsly.read_json(path).values())


def select(
    results: Results, variant: str, text: str = ALL, sentences: int = 0
) -> Results:
    """Select the seeds of one setting."""
    wanted = {"variant": variant, "text": text, "sentences": sentences}
    return [result for result in results if wanted.items() <= result.items()]


def spread(results: Results, metric: str, part: str = "test") -> Spread:
    values = [result[part][metric] for result in results]
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return Spread(statistics.mean(values), deviation)
