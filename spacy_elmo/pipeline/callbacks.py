"""Callbacks for pipeline configs."""

from typing import Callable

from spacy.language import Language


def interpolate_optimizer_v1() -> Callable[[Language], Language]:
    """Make a callback for `[training] before_to_disk` that resolves references in
    [training.optimizer], such as `${training.max_steps}`.

    `Language.create_optimizer` reads that section alone, so a pipeline that was saved
    with a reference in it could not be trained further from Python.
    """

    def interpolate_optimizer(nlp: Language) -> Language:
        optimizer = nlp.config.interpolate()["training"]["optimizer"]
        nlp.config["training"]["optimizer"] = optimizer
        return nlp

    return interpolate_optimizer
