"""Compare int8 with bfloat16 and float32 on one thread: words per second by instruction
set, the time of short calls, and cosines."""

from functools import partial
from pathlib import Path
from typing import Annotated, Any, Dict, List, Mapping, Optional, Sequence

import numpy as np
import torch
import typer
from measuring import (
    MODELS,
    Summary,
    our_versions,
    parse_models,
    seconds,
    summarize,
    summarize_all,
    write_results,
)
from treebank import Sentence, count_words, read_sentences
from wasabi import msg

from spacy_elmo import BiLM, BiLMConfig, load_bilm
from spacy_elmo.bilm.backends import CPUBackend
from spacy_elmo.bilm.backends import cpu as kernels
from spacy_elmo.formats.bundled import bundled_folder

PRECISIONS = ("float32", "bfloat16", "int8")
SHIPPED = "shipped"
NUMBERS = (1, 2, 3, 5, 8, 12, 16)
"""Sentences of a call."""
LENGTH = 15
"""Words of their sentences."""
WIDTHS = ((1024, 128), (1000, 125), (1030, 130))
"""Sizes of LSTMs: one in whole panels, and its neighbors."""


def main(
    text: Annotated[Path, typer.Argument(help="CoNLL-U file", exists=True)],
    target: Annotated[Path, typer.Argument(help="JSON to write")],
    folders: Annotated[
        List[str], typer.Argument(help=f"{MODELS}. {SHIPPED}: the weights that ship")
    ],
    instructions: Annotated[
        Optional[List[str]],
        typer.Option(help="Instruction sets; by default all of this processor"),
    ] = None,
    n_rounds: int = 5,
) -> None:
    """Measure one thread's own time, in which other processes do not count. The
    precisions take turns."""
    if CPUBackend.why_no_int8() is not None:
        msg.fail(
            f"Nothing to compare: no int8 here, {CPUBackend.why_no_int8()}.", exits=1
        )
    torch.set_num_threads(1)
    names = instructions or [each.name for each in kernels.supported()]
    sizes: Dict[str, Any] = {}
    for model in parse_models(folders):
        bilm = load_bilm(bundled_folder() if model.name == SHIPPED else model.folder)
        sentences = read_sentences(text, model.n_sentences)
        sizes[model.name] = {
            "words": count_words(sentences),
            "sentences": len(sentences),
            "cosines": cosines(bilm, sentences),
            "instructions": {},
        }
        for name in names:
            with kernels.limited_to(name):
                found = measure(bilm, sentences, n_rounds)
            sizes[model.name]["instructions"][name] = found
            ratios = {
                other: round(summary["median"], 2)
                for other, summary in found["int8_relative_to"].items()
            }
            msg.info(f"{model.name}, {name}: int8 relative to {ratios}")
    write_results(
        target,
        our_versions(),
        threads=1,
        n_rounds=n_rounds,
        call_words=LENGTH,
        sizes=sizes,
        widths=measure_widths(n_rounds),
    )


def cosines(bilm: BiLM, sentences: List[Sentence]) -> Dict[str, Dict[str, float]]:
    """Cosines between words' top-layer vectors and those in float32, by precision."""
    tops = {
        precision: torch.from_numpy(
            np.concatenate(
                [layers[-1] for layers in bilm.encode(sentences, precision=precision)]
            )
        ).double()
        for precision in PRECISIONS
    }
    exact = tops.pop("float32")
    found = {name: torch.cosine_similarity(exact, top) for name, top in tops.items()}
    return {
        name: {"mean": float(values.mean()), "min": float(values.min())}
        for name, values in found.items()
    }


def measure(bilm: BiLM, sentences: List[Sentence], n_rounds: int) -> Dict[str, Any]:
    """Time a whole text with an empty word cache, and calls of a few sentences whose
    words are cached."""
    words = [word for sentence in sentences for word in sentence]
    pieces = [words[n : n + LENGTH] for n in range(0, len(words) - LENGTH, LENGTH)]
    calls = {str(number): pieces[:number] for number in NUMBERS}
    texts: List[Dict[str, float]] = []
    times: Dict[str, List[Dict[str, float]]] = {name: [] for name in PRECISIONS}
    for _ in range(n_rounds):
        text: Dict[str, float] = {}
        for precision in PRECISIONS:
            bilm.clear_cache()
            bilm.encode([["a"]] * 9, precision=precision)  # packs the weights
            elapsed = seconds(partial(bilm.encode, sentences, precision=precision))
            text[precision] = len(words) / elapsed
            times[precision].append(time_calls(bilm, calls, precision))
        texts.append(text)
    calls_of = {name: summarize_all(rounds) for name, rounds in times.items()}
    return {
        "words_per_second": summarize_all(texts),
        "int8_relative_to": {
            other: summarize([one["int8"] / one[other] for one in texts])
            for other in PRECISIONS[:-1]
        },
        "call_ms": calls_of,
        "largest_step": {name: largest_step(call) for name, call in calls_of.items()},
    }


def time_calls(
    bilm: BiLM, calls: Mapping[str, Sequence[Sentence]], precision: str
) -> Dict[str, float]:
    """Milliseconds of each call."""
    found = {}
    for name, sentences in calls.items():
        run = partial(bilm.encode, sentences, precision=precision)
        run()  # caches the words
        found[name] = 1000 * min(seconds(run) for _ in range(2))
    return found


def largest_step(calls: Mapping[str, Summary]) -> float:
    """The largest ratio of a call's time to what its neighbors predict, a straight
    line between theirs."""
    numbers = sorted(calls, key=int)
    ratios = []
    for before, number, after in zip(numbers, numbers[1:], numbers[2:]):
        share = (int(number) - int(before)) / (int(after) - int(before))
        low, middle, high = (calls[n]["median"] for n in (before, number, after))
        ratios.append(middle / (low + share * (high - low)))
    return max(ratios)


@torch.no_grad()
def measure_widths(n_rounds: int) -> Dict[str, Dict[str, float]]:
    """Time per multiplication of LSTMs whose widths fill no panel, relative to the
    first of WIDTHS, by size and precision."""
    models = [BiLM(BiLMConfig(dim=d, projection_dim=p)) for d, p in WIDTHS]
    lengths = [LENGTH] * 16
    found: Dict[str, Dict[str, float]] = {f"{d}/{p}": {} for d, p in WIDTHS[1:]}
    for precision in PRECISIONS:
        rounds = []
        for _ in range(n_rounds):
            times = []
            for model, (dim, width) in zip(models, WIDTHS):
                rows = torch.randn(sum(lengths), width)
                dtype = getattr(torch, precision)
                run = partial(model.contextualize, rows, lengths, dtype=dtype)
                run()  # packs the weights
                times.append(min(seconds(run) for _ in range(3)) / (dim * width))
            rounds.append([one / times[0] for one in times[1:]])
        for name, ratios in zip(found, zip(*rounds)):
            found[name][precision] = summarize(ratios)["median"]
    return found


if __name__ == "__main__":
    typer.run(main)
