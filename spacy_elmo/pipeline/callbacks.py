"""Callbacks for pipeline configs."""

from typing import Callable

from spacy.language import Language


def interpolate_optimizer_v1() -> Callable[[Language], Language]:
    """Make a callback for `[initialize] before_init` that resolves references in
    [training.optimizer], such as `${training.max_steps}`.

    `Language.create_optimizer` reads that section alone: without the callback,
    `nlp.initialize`, `spacy debug data` and `nlp.resume_training` fail on a reference.
    """

    def interpolate_optimizer(nlp: Language) -> Language:
        optimizer = nlp.config.interpolate()["training"]["optimizer"]
        nlp.config["training"]["optimizer"] = optimizer
        return nlp

    return interpolate_optimizer
