"""One of several processes, for the tests of process groups. Started with the
environment of torchrun, it writes its results as JSON.

python gloo_worker.py FOLDER
"""

from __future__ import annotations

import json
import os
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from helpers.language_models import make_model, make_text, random_sentences
from spacy_elmo.pretraining.distributed import Group
from spacy_elmo.pretraining.evaluation import evaluate

SENTENCES = random_sentences(400)
"""At least two lanes of text."""


def numbers(rank: int) -> list[torch.Tensor]:
    """A rank's terms of a sum."""
    torch.manual_seed(rank)
    return [torch.randn(3, 4), torch.randn(()), torch.randn(2, 5).t(), torch.randn(0)]


def lanes(rank: int) -> list[torch.Tensor]:
    """A rank's two lanes, in several memory layouts."""
    torch.manual_seed(10 + rank)
    return [
        torch.randn(2, 2, 3),
        torch.randn(2, 3, 2).transpose(1, 2),
        torch.randn(2, 5, 3)[:, 1:3],
        torch.randn(2, 2, dtype=torch.float64),
    ]


def gloo_threads() -> int:
    """Number of gloo threads of this process; 0 without /proc."""
    number = 0
    for name in Path("/proc/self/task").glob("*/comm"):
        with suppress(OSError):  # the thread has ended
            number += "gloo" in name.read_text(encoding="utf8")
    return number


def main(folder: Path) -> None:
    group = Group.join()
    found: dict[str, Any] = {
        "group": [group.rank, group.size, group.device.type, group.is_first],
        "own": [group.own_lanes(8).start, group.own_lanes(8).stop],
    }

    sums = numbers(group.rank)
    group.add_up(sums)
    found["sums"] = [tensor.tolist() for tensor in sums]
    found["lanes"] = [group.gather_lanes(part).tolist() for part in lanes(group.rank)]

    file = folder / "made by the first"

    def load() -> str:
        if group.is_first:
            time.sleep(0.3)
            file.write_text("complete", encoding="utf8")
        return f"{file.read_text(encoding='utf8')} {group.rank}"

    found["loaded"] = group.first_then_others(load)

    def fail(where: int) -> str:
        if group.rank == where:
            raise KeyError(f"broken in {where}")
        return "loaded"

    for where in range(2):
        try:
            found[f"failure in {where}"] = group.first_then_others(lambda: fail(where))  # noqa: B023
        except Exception as error:
            found[f"failure in {where}"] = f"{type(error).__name__}: {error}"

    text = make_text(folder / f"text{group.rank}", SENTENCES)
    model = make_model(len(text.vocabulary))
    found["perplexities"] = evaluate(
        model, text.shards, text.table, text.vocabulary, group=group
    )
    # The first optimizer imports many modules of PyTorch.
    torch.optim.AdamW(model.parameters())
    found["threads"] = [gloo_threads()]
    group.leave()
    # /proc may list a thread for a moment after its end.
    end = time.monotonic() + 10
    while gloo_threads() and time.monotonic() < end:
        time.sleep(0.01)
    found["threads"].append(gloo_threads())
    name = f"{os.environ['RANK']}.json"
    (folder / name).write_text(json.dumps(found), encoding="utf8")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]))
