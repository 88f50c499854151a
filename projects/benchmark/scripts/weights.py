"""Create random weights at the published sizes, in the published format and in ours."""

from pathlib import Path
from typing import Annotated, Dict, List

import torch
import typer
from treebank import Sentence, read_sentences
from wasabi import msg

from spacy_elmo import BiLM, BiLMConfig, save_bilm

# Factors on the initial weights. They bring some memory cells and a few outputs to
# their clips, and the gates into use without saturating them: a mistake in any of these
# would show in the vectors, while rounding would not.
INPUT, RECURRENT, OUTPUT = 2.0, 1.5, 5.0

N_SENTENCES = 64


def main(
    text: Annotated[Path, typer.Argument(help="CoNLL-U file", exists=True)],
    folder: Annotated[Path, typer.Argument(help="Folder of the weights")],
    sizes: Annotated[List[str], typer.Argument(help="small, medium, original")],
    seed: int = 0,
) -> None:
    """Write FOLDER/SIZE, the published pair of files, and FOLDER/SIZE-safetensors.

    Speed does not depend on what weights have learned. They are scaled to the words of
    TEXT, so that values in the network are about as large as in a trained one.
    """
    sentences = read_sentences(text, N_SENTENCES)
    for size in sizes:
        torch.manual_seed(seed)
        bilm = BiLM(BiLMConfig.preset(size))
        fit(bilm, sentences)
        found = clipped(bilm, sentences)
        if not all(0 < share < 0.1 for share in found.values()):
            msg.fail(f"{size}: shares of clipped values: {found}", exits=1)
        save_bilm(bilm, folder / size, format="hdf5")
        save_bilm(bilm, folder / f"{size}-safetensors")
        msg.good(
            f"{folder / size}: {bilm.n_parameters:,} random weights; clipped: "
            + ", ".join(f"{share:.2%} of the {name}" for name, share in found.items())
        )


@torch.no_grad()
def fit(bilm: BiLM, sentences: List[Sentence]) -> None:
    """Normalize the word vectors to mean 0 and deviation 1, and scale the LSTMs."""
    words = sorted({word for sentence in sentences for word in sentence})
    vectors = bilm.encode_words(words)
    projection = bilm.character_encoder.projection
    if projection is None:
        raise ValueError("Expected a size whose filters are projected.")
    factor = 1 / vectors.std(dim=0).mean()
    projection.bias.sub_(vectors.mean(dim=0)).mul_(factor)
    projection.weight.mul_(factor)
    for layer in (*bilm.forward_layers, *bilm.backward_layers):
        layer.weight_ih.mul_(INPUT)
        layer.weight_hh.mul_(RECURRENT)
        if layer.weight_hr is not None:
            layer.weight_hr.mul_(OUTPUT)


@torch.no_grad()
def clipped(bilm: BiLM, sentences: List[Sentence]) -> Dict[str, float]:
    """Compute the share of clipped values among the memory cells after each sentence,
    and among the outputs of the first LSTM layers."""
    layers, states = bilm.encode_batch(sentences)
    config = bilm.config
    cells = torch.cat([state.cell for state in states])
    return {
        "cells": float((cells.abs() >= (config.cell_clip or 0)).float().mean()),
        "outputs": float((layers[1].abs() >= (config.proj_clip or 0)).float().mean()),
    }


if __name__ == "__main__":
    typer.run(main)
