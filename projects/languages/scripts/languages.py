"""The languages: their text, licenses and annotated corpora."""

from typing import Dict, NamedTuple, Optional, Tuple

import typer
from wasabi import msg

ALL = "all"
"""Size of the whole text, where others are millions of words."""

TAGGING = {"pos_acc": "UPOS", "morph_acc": "MORPH"}
UPOS = {"pos_acc": "UPOS"}
ENTITIES = {"ents_f": "F1"}

NON_COMMERCIAL = "for measuring only"


class Task(NamedTuple):
    """An annotated corpus and the heads that are trained on it.

    title (str): Name of the corpus.
    format (str): "conllu", or the column next to the words: "entities" or "upos".
    files (Tuple[str, Optional[str], str]): Training, development and test files, in the
        folder of the task. Without a development file, a tenth of the training
        sentences is held out.
    license (str): License of the corpus.
    metrics (Dict[str, str]): Titles of the metrics, by name in spaCy's scores.
    published (str): Published scores on the same test set.
    """

    title: str
    format: str
    files: Tuple[str, Optional[str], str]
    license: str
    metrics: Dict[str, str]
    published: str = ""

    @property
    def config(self) -> str:
        """Name of the config in configs/."""
        return "ner" if self.format == "entities" else "tagger"

    @property
    def head(self) -> str:
        return "ner" if self.format == "entities" else "morphologizer"


class Language(NamedTuple):
    """A language.

    title (str): Its name.
    code (str): spaCy's code of its tokenizer: "xx" for a language spaCy does not know.
    text (str): Source of the raw text.
    license (str): License of the text, and of the weights.
    tasks (Dict[str, Task]): Tasks by name. The first one has learning curves.
    packaged (Optional[str]): Task whose pipeline may be published. None if only the
        biLM may be.
    example (str): A sentence to try the package with.
    """

    title: str
    code: str
    text: str
    license: str
    tasks: Dict[str, Task]
    packaged: Optional[str]
    example: str


def _treebank(
    title: str, prefix: str, license: str, published: str = "", has_dev: bool = True
) -> Task:
    return Task(
        title,
        "conllu",
        (
            f"{prefix}-ud-train.conllu",
            f"{prefix}-ud-dev.conllu" if has_dev else None,
            f"{prefix}-ud-test.conllu",
        ),
        license,
        TAGGING,
        published,
    )


LANGUAGES = {
    "rw": Language(
        title="Kinyarwanda",
        code="xx",
        text="single sentences collected for Common Voice",
        license="CC0 1.0",
        tasks={
            "masakhaner": Task(
                "MasakhaNER 2.0",
                "entities",
                ("train.txt", "dev.txt", "test.txt"),
                f"CC BY-NC 4.0, {NON_COMMERCIAL}",
                ENTITIES,
                "XLM-R base, fine-tuned: 82.5",
            ),
            "masakhapos": Task(
                "MasakhaPOS",
                "upos",
                ("train.txt", "dev.txt", "test.txt"),
                f"CC BY-NC 4.0, {NON_COMMERCIAL}",
                UPOS,
            ),
        },
        packaged=None,
        example="Abanyarwanda bose bavuga Ikinyarwanda .",
    ),
    "se": Language(
        title="North Sami",
        code="xx",
        text="official documents from the free part of the GiellaLT corpora",
        license="no named license; GiellaLT marks the text as free to redistribute",
        tasks={
            "giella": _treebank(
                "UD North Sami-Giella",
                "sme_giella",
                "CC BY-SA 4.0",
                "UDPipe 2.12: UPOS 91.78",
                has_dev=False,
            )
        },
        packaged="giella",
        example="Golbma čáppa , doaimmalaš nieidda .",
    ),
    "la": Language(
        title="Latin",
        code="xx",
        text="The Latin Library, without the test texts of the treebanks",
        license="public domain",
        tasks={
            "udante": _treebank(
                "UD Latin-UDante",
                "la_udante",
                f"CC BY-NC-SA 3.0, {NON_COMMERCIAL}",
                "UDPipe 2.12: UPOS 91.18",
            ),
            "perseus": _treebank(
                "UD Latin-Perseus",
                "la_perseus",
                f"CC BY-NC-SA 2.5, {NON_COMMERCIAL}",
                "UDPipe 2.12: UPOS 92.95; Latin BERT: UPOS 94.3",
                has_dev=False,
            ),
            "circse": _treebank("UD Latin-CIRCSE", "la_circse", "CC BY-SA 4.0"),
        },
        packaged="circse",
        example="Gallia est omnis diuisa in partes tres",
    ),
    "en": Language(
        title="English fiction",
        code="en",
        text="79 novels from Project Gutenberg, by way of LitBank",
        license="public domain in the United States",
        tasks={
            "litbank": Task(
                "LitBank",
                "entities",
                ("litbank.train.conll", "litbank.dev.conll", "litbank.test.conll"),
                "CC BY 4.0",
                ENTITIES,
            )
        },
        packaged="litbank",
        example="The widow went to London with her brother .",
    ),
}


def find_language(name: str) -> Language:
    """Look up a language. Exits if it is unknown."""
    if name not in LANGUAGES:
        msg.fail(
            f"vars.lang: expected one of {', '.join(LANGUAGES)}, found {name!r}",
            "For your own language, see docs/your-own-language.md.",
        )
        raise typer.Exit(1)
    return LANGUAGES[name]
