"""Compare the speed of trained pipelines with that of their biLMs alone."""

from pathlib import Path
from typing import Annotated, Any, Dict, List, Tuple

import spacy
import torch
import typer
from measuring import our_versions, seconds, summarize_all, write_results
from spacy.language import Language
from spacy.tokens import Doc
from treebank import Sentence, read_sentences
from wasabi import msg

from spacy_elmo.bilm import BiLM
from spacy_elmo.bilm.backends import cpu as kernels
from spacy_elmo.pipeline.elmo import Elmo


def main(
    text: Annotated[Path, typer.Argument(help="CoNLL-U file", exists=True)],
    target: Annotated[Path, typer.Argument(help="JSON to write")],
    pipelines: Annotated[
        List[str], typer.Argument(help="Trained pipelines: NAME=FOLDER")
    ],
    n_sentences: Annotated[int, typer.Option(help="Sentences of TEXT, 0: all")] = 0,
    n_rounds: int = 5,
) -> None:
    """Measure words per second in alternation, on new text: the word caches are emptied
    before. There is one thread, whose own time is counted."""
    torch.set_num_threads(1)
    sentences = read_sentences(text, n_sentences)
    loaded = {name: load(folder) for name, folder in map(parse, pipelines)}
    rounds: Dict[str, List[Dict[str, float]]] = {name: [] for name in loaded}
    for number in range(n_rounds + 1):
        for name, (nlp, bilm) in loaded.items():
            found = measure(nlp, bilm, sentences)
            if number:  # the first round packs the weights
                rounds[name].append(found)
    results: Dict[str, Any] = {}
    for name, (nlp, bilm) in loaded.items():
        results[name] = {
            "components": nlp.pipe_names,
            "parameters": bilm.n_parameters,
            **summarize_all(rounds[name]),
        }
        share = results[name]["pipe share of encode"]["median"]
        msg.info(f"{name}: {share:.0%} of the speed of its biLM")
    write_results(
        target,
        our_versions(),
        1,
        n_rounds=n_rounds,
        words=sum(map(len, sentences)),
        instructions=getattr(kernels.selected(), "name", None),
        pipelines=results,
    )


def parse(text: str) -> Tuple[str, Path]:
    """Split NAME=FOLDER. RAISES: BadParameter if there is no such folder."""
    name, _, folder = text.partition("=")
    if not name or not Path(folder, "config.cfg").is_file():
        raise typer.BadParameter(
            f"expected NAME=FOLDER, the folder of a trained pipeline, found {text}"
        )
    return name, Path(folder)


def load(folder: Path) -> Tuple[Language, BiLM]:
    """RAISES: ValueError if the pipeline has no elmo component."""
    nlp = spacy.load(folder)
    for _, component in nlp.components:
        if isinstance(component, Elmo):
            return nlp, component.bilm
    raise ValueError(f"{folder}: expected an elmo component, found {nlp.pipe_names}.")


def measure(nlp: Language, bilm: BiLM, sentences: List[Sentence]) -> Dict[str, float]:
    docs = [Doc(nlp.vocab, words) for words in sentences]
    n_words = sum(map(len, sentences))
    bilm.clear_cache()
    encode = n_words / seconds(lambda: bilm.encode(sentences))
    bilm.clear_cache()
    pipe = n_words / seconds(lambda: list(nlp.pipe(docs)))
    return {
        "encode words_per_second": encode,
        "pipe words_per_second": pipe,
        "pipe share of encode": pipe / encode,
    }


if __name__ == "__main__":
    typer.run(main)
