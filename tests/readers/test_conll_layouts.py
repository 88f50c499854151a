"""CoNLL files as their authors publish them, in miniature."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pytest
import spacy
from spacy.training import Example
from spacy.util import registry

from spacy_elmo.readers.columns import ColumnsError

make_reader = registry.readers.get("spacy_elmo.ConllCorpus.v1")


class Corpus(NamedTuple):
    """A file in the layout of a published corpus.

    text (str): The file.
    settings (dict[str, object]): Settings that read it.
    words (list[str]): Words of each sentence, joined by spaces.
    entities (list[tuple[str, str]]): Text and label of each entity of the file.
    default (str): Pattern of the error without settings, or "" if there is none.
    tags (str): Part-of-speech tags of the first sentence, joined by spaces.
    """

    text: str
    settings: dict[str, object]
    words: list[str]
    entities: list[tuple[str, str]]
    default: str = ""
    tags: str = ""


SECOND_AND_THIRD: dict[str, object] = {"columns": ["_", "TEXT", "NER"]}
ONLY_NUMBERS = r'only numbers .*columns = \["_", "TEXT", "NER"\]'

CORPORA = {
    "WNUT-17": Corpus(
        "Ann\tB-person\nLee\tI-person\n\t\nsang\tO\n\n\n",
        {}, ["Ann Lee", "sang"], [("Ann Lee", "person")],
    ),
    "Broad Twitter Corpus": Corpus(
        "in\tO\n#\tO\nLeeds\tB-loc\n\n#\tO\nfb\tO\n",
        {}, ["in # Leeds", "# fb"], [("Leeds", "loc")],
    ),
    "a blank word": Corpus(
        "Ann\tB-per\n\tI-per\nLee\tI-per\n\xa0\tO\n \tB-loc\n\n\tO\n\nYes\tO\n",
        {"blank_words": "skip"}, ["Ann Lee", "Yes"], [("Ann Lee", "per")],
        default='line 2: .* column TEXT, found an empty one.*blank_words = "skip"',
    ),
    "MasakhaNER": Corpus(
        "Rwanda B-LOC\n, O\n\n# O\nmu O\n# I-DATE\n2017 I-DATE\n",
        {"scheme": "IOB"}, ["Rwanda ,", "# mu # 2017"],
        [("Rwanda", "LOC"), ("# 2017", "DATE")],
        default='I-DATE in line 6, .* B-LOC in line 1, .* scheme = "IOB"',
    ),
    "LitBank": Corpus(
        "# novel = 105_persuasion\nSir\tB-PER\nWalter\tI-PER\n\n# novel = emma\nI\tO\n",
        {}, ["Sir Walter", "I"], [("Sir Walter", "PER")],
    ),
    "CoNLL-2002, Spanish": Corpus(
        "Melbourne B-LOC\n( O\nAñada B-LOC\n",
        {"encoding": "latin-1"}, ["Melbourne ( Añada"],
        [("Melbourne", "LOC"), ("Añada", "LOC")],
        default='line 3: expected utf-8, .* 0xf1 .*encoding = "latin-1"',
    ),
    "CoNLL-2002, Dutch": Corpus(
        "-DOCSTART- -DOCSTART- O\nDe Art O\nArt Adj B-PER\nvan Prep I-PER\n",
        {}, ["De Art van"], [("Art van", "PER")], tags="Art Adj Prep",
    ),
    "CoNLL-2003, English": Corpus(
        "-DOCSTART- -X- O O\n\nAnn NNP I-NP I-PER\nBo NNP I-NP B-PER\n",
        {}, ["Ann Bo"], [("Ann", "PER"), ("Bo", "PER")], tags="NNP NNP",
    ),
    "CoNLL-2003, German": Corpus(
        "-DOCSTART- -X- -X- -X- O\n\nKöln Köln NE I-NC I-LOC\n. . $. O O\n",
        {"encoding": "latin-1"}, ["Köln ."], [("Köln", "LOC")],
        default="line 3: expected utf-8", tags="NE $.",
    ),
    "WikiNEuRal": Corpus(
        "0\tThe\tO\n1\tBillboard\tB-ORG\n2\t\"\tO\n3\tHot\tI-MISC\n4\t100\tI-MISC\n\n0\t7\tO\n",
        {**SECOND_AND_THIRD, "scheme": "IOB"}, ['The Billboard " Hot 100', "7"],
        [("Billboard", "ORG"), ("Hot 100", "MISC")], default=ONLY_NUMBERS,
    ),
    "Universal NER": Corpus(
        "# newdoc id = n1\n# sent_id = n1-1\n# text = Oslo , O\n"
        "1\tOslo\tB-LOC\t-\tann\n2\t,\tO\t-\t-\n3\tO\tB-PER\t-\tann\n\n"
        "# sent_id = n1-2\n# text = #\n1\t#\tO\t-\t-\n",
        SECOND_AND_THIRD, ["Oslo , O", "#"], [("Oslo", "LOC"), ("O", "PER")],
        default=ONLY_NUMBERS,
    ),
    "GermEval 2014": Corpus(
        "#\thttp://de.wikipedia.org/wiki/Troia [2009-10-17]\n"
        "1\tTroia\tB-OTH\tB-LOC\n2\t-\tI-OTH\tO\n3\tTraum\tI-OTH\tO\n",
        SECOND_AND_THIRD, ["Troia - Traum"], [("Troia - Traum", "OTH")],
        default=ONLY_NUMBERS,
    ),
    "GermEval 2014, nested": Corpus(
        "#\tn-tv.de vom 26.02.2005\t[2005-02-26]\n"
        "1\tFC\tB-ORG\tO\n2\tKöln\tI-ORG\tB-LOC\n",
        {"columns": {"TEXT": 2, "NER": 4}}, ["FC Köln"], [("Köln", "LOC")],
        default=ONLY_NUMBERS,
    ),
    "nested without an index": Corpus(
        "FC\tB-ORG\tO\nKöln\tI-ORG\tB-LOC\n",
        {"columns": ["TEXT", "NER"]}, ["FC Köln"], [("FC Köln", "ORG")],
        default=r'found entity tags .* in the second.* columns = \["TEXT", "NER"\]',
    ),
    "MultiCoNER": Corpus(
        "\n# id 1f5d-8a\tdomain=train\nwes _ _ B-Artist\nanderson _ _ I-Artist\n\n"
        "# id 7c-8a domain=train\nin _ _ O\n",
        {}, ["wes anderson", "in"], [("wes anderson", "Artist")],
    ),
    "BILUO, the last of seven columns": Corpus(
        "d 0 Oslo NNP x y U-LOC\nd 1 , , x y O\n",
        {"columns": {"TEXT": 3, "TAG": 4, "NER": -1}}, ["Oslo ,"], [("Oslo", "LOC")],
        default=r"line 1: expected 2 to 5 columns, .* found 7.* columns = ",
        tags="NNP ,",
    ),
    "other comments": Corpus(
        "% a O\n%% B-LOC\nOslo B-LOC\n# O\n",
        {"comment_prefix": "%"}, ["Oslo #"], [("Oslo", "LOC")],
        default="line 2: expected 3 columns|line 1: expected 2 to 5",
    ),
}  # fmt: skip

corpora = pytest.mark.parametrize("corpus", CORPORA.values(), ids=CORPORA)


def read(path: Path, corpus: Corpus, **settings: object) -> list[Example]:
    path.write_bytes(corpus.text.encode(str(corpus.settings.get("encoding", "utf8"))))
    return list(make_reader(path, **settings)(spacy.blank("xx")))


def check(examples: list[Example], corpus: Corpus) -> None:
    docs = [example.reference for example in examples]
    assert [" ".join(token.text for token in doc) for doc in docs] == corpus.words
    found = [(entity.text, entity.label_) for doc in docs for entity in doc.ents]
    assert found == corpus.entities
    assert " ".join(token.tag_ for token in docs[0]).strip() == corpus.tags
    assert docs[0].has_annotation("TAG") == bool(corpus.tags)
    for example, doc in zip(examples, docs):
        assert [token.text for token in example.predicted] == [t.text for t in doc]


@corpora
def test_with_its_settings(corpus: Corpus, tmp_path: Path) -> None:
    check(read(tmp_path / "text", corpus, **corpus.settings), corpus)


@corpora
def test_without_settings(corpus: Corpus, tmp_path: Path) -> None:
    """A file is read right, or refused with the setting to use."""
    if corpus.default:
        with pytest.raises(ColumnsError, match=corpus.default):
            read(tmp_path / "text", corpus)
    else:
        check(read(tmp_path / "text", corpus), corpus)


@pytest.mark.parametrize(
    ("text", "settings", "message"),
    [
        ("Ann O\n# B-PER O\n", {}, "line 2: expected 2 columns, .* found 3"),
        ("Ann\tO\n#\t\n", {}, "line 2: expected a value in the column NER"),
        ("# O\n# PER\n", {"comment_prefix": ""}, "line 2: expected O, .* found 'PER'"),
        ("# x\nAnn O\n", {"comment_prefix": ""}, "line 1: expected O, .* found 'x'"),
        ("B-PER Ann\n", {}, "line 1: .* found 'Ann'.* columns = "),
        ("1 Ann\n2 sang\n", {"columns": {"TEXT": 1, "NER": 2}}, "only numbers"),
        ("Ann O\n", {"columns": ["_", "TEXT", "NER"]}, "3 columns or more, .* found 2"),
        ("Ann O\n", {"columns": {"TEXT": 2, "NER": -1}}, "different column for each"),
    ],
)
def test_refused_files(
    text: str, settings: dict[str, object], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ColumnsError, match=message):
        read(tmp_path / "text", Corpus(text, {}, [], []), **settings)


def test_only_comments_of_a_kind_that_may_be_rows(tmp_path: Path) -> None:
    (example,) = read(tmp_path / "text", Corpus("# O\n# B-X\n", {}, [], []))
    assert [token.text for token in example.reference] == ["#", "#"]
