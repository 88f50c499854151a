"""Check the installed wheel: save, load and run a biLM, and check the licenses. With
--pure, expect no compiled kernels."""

import sys
from importlib.metadata import metadata
from pathlib import Path
from tempfile import TemporaryDirectory

import spacy

import spacy_elmo
from spacy_elmo.bilm.backends import cpu as kernels


def main(has_kernels: bool) -> None:
    config = spacy_elmo.BiLMConfig(
        char_dim=4, filters=((1, 4), (2, 4)), n_highway=1, dim=16, projection_dim=4
    )
    with TemporaryDirectory() as folder:
        spacy_elmo.save_bilm(spacy_elmo.BiLM(config), folder)
        bilm = spacy_elmo.load_bilm(folder)
    nlp = spacy.blank("en")
    nlp.add_pipe("elmo").set_bilm(bilm)
    text = "She sat on the river bank. He robbed the bank."
    doc = nlp(text)
    assert doc._.elmo.layers.shape == (3, len(doc), 8), doc._.elmo.layers.shape
    assert doc.vector.shape == (8,), doc.vector.shape
    shown = spacy_elmo.render(doc, "senses", jupyter=False, options={"word": "bank"})
    assert shown is not None
    assert "He robbed the" in shown
    shipped = spacy.blank("en")
    shipped.add_pipe("elmo", config={"score": True})
    doc = shipped(text)
    assert doc.vector.any()
    assert 1 < doc._.perplexity < 1000, doc._.perplexity
    small = spacy.blank("en")
    small.add_pipe("elmo").set_bilm(spacy_elmo.load_bundled("sm"))
    assert small(text).vector.any()
    assert (kernels.why_absent() is None) == has_kernels, kernels.why_absent()
    assert (Path(spacy_elmo.__file__).parent / "py.typed").is_file()
    about = metadata("spacy-elmo")
    assert about["License-Expression"] == "MIT AND CC-BY-SA-3.0", about
    licenses = about.get_all("License-File")
    assert licenses == ["LICENSE", "spacy_elmo/weights/LICENSE"], licenses
    print(f"spacy-elmo {spacy_elmo.__version__}: {Path(spacy_elmo.__file__).parent}")


if __name__ == "__main__":
    main(has_kernels="--pure" not in sys.argv)
