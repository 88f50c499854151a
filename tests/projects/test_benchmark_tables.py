"""Tables and plots of the benchmark, and the documents written from its results."""

from __future__ import annotations

from pathlib import Path

import pytest
import srsly
from helpers.benchmark_project import (
    MARKS,
    PROJECT,
    ROOT,
    call,
    good,
    importable,
    made_results,
)

scripts = pytest.fixture(autouse=True)(importable)

DRAWN = ("inference.png", "scaling.png", "int8.png")


def write_results(folder: Path) -> Path:
    folder.mkdir()
    for name, content in made_results().items():
        srsly.write_json(folder / f"{name}.json", content)
    srsly.write_json(folder / "another.json", {})
    return folder


def test_section_reports_the_results() -> None:
    from table import section

    text = section(made_results())
    assert "| **spacy-elmo**, float32, batches of 32 | 150,000 |" in text
    assert "| AllenNLP 1.0 | 80,000 |" in text
    assert "| float32, batches of 32 : AllenNLP | 1.9 × |" in text
    prose = " ".join(text.split())
    assert "batches of 32 sentences of UD English EWT" in prose
    assert "25,147 words in 2,001 sentences (small)" in prose
    assert "2 threads on a machine with 2 cores (P, avx2) and 8 GiB" in prose
    assert "medians of 3 rounds" in prose
    assert "LSTMs alone reach 62% (small)" in prose
    assert "largest difference of a value is 3e-06" in prose
    assert "1,000 words/s (small), 4.0 × AllenNLP" in prose
    assert "0.9999 (small; worst word 0.990)" in prose
    assert "float32 is 0.9990 (small; worst word 0.980)" in prose
    assert "| avx2, new text, int8 : bfloat16 | 2.00 × |" in text
    assert "one sentence of 15 words, ms, int8 : float32 | 2.0 : 4.0 |" in text
    assert "at most 1.25 × what the times" in prose
    assert "at most 1.15 × as long in LSTMs" in prose
    assert "gradients: 1.8 × and 1.5 × (1024/128); 32 sequences of 20" in prose
    assert "CPU time of its thread: 95% (Parquet, top)" in prose
    assert "97% (small)" in prose
    assert "1.2 s (small)" in prose
    assert "adds 30 ms" in prose
    assert "2 threads relative to one: 2.0 × (small)" in prose
    assert "1,000 words at 10 words/s in 5 MiB, of which 3 are the layers" in prose
    assert (
        "4.0 s for each later one, 2.00 × the time of one on spaCy's CNN (`cnn`)"
        in prose
    )
    assert "on new text: 250 words/s with ELMo, 250 without (9.0 × the time)" in prose
    assert "75.00% in float32, 70.00% in bfloat16" in prose
    assert "bfloat16, batches" not in text
    lines = [line for line in text.splitlines() if not line.startswith("|")]
    assert max(map(len, lines)) <= 88


def test_subjects_without_results_are_left_out() -> None:
    from table import section

    results = made_results()
    assert section({"scaling": results["scaling"]}) == ""
    alone = section({"inference": results["inference"]})
    assert "bfloat16" not in alone
    assert alone.count("\n* ") == 1


def test_numbers_are_rounded_to_three_digits() -> None:
    from labels import rounded

    assert rounded(12_345.6) == "12,300"
    assert rounded(0.4) == "0"


def test_documents_are_written_and_checked(tmp_path: Path) -> None:
    results = write_results(tmp_path / "results")
    performance, readme = tmp_path / "performance.md", tmp_path / "README.md"
    for path in (performance, readme):
        path.write_text(MARKS, encoding="utf8")
    arguments = ("table", results, performance, readme)
    assert call(*arguments, "--check").exit_code == 1
    assert readme.read_text(encoding="utf8") == MARKS
    good(call(*arguments))
    text = performance.read_text(encoding="utf8")
    assert text.startswith("Before\n<!-- speed -->\n## Speed\n")
    assert text.endswith("<!-- /speed -->\nAfter\n")
    assert "| AllenNLP 1.0 | 80,000 |\n\n<!-- /speed -->" not in text
    assert "| AllenNLP 1.0 | 80,000 |" in readme.read_text(encoding="utf8")
    good(call(*arguments, "--check"))
    good(call(*arguments))
    assert performance.read_text(encoding="utf8") == text
    performance.write_text(text.replace("150,000", "151,000"), encoding="utf8")
    stale = call(*arguments, "--check")
    assert stale.exit_code == 1
    assert "performance.md" in stale.output
    assert "README.md" not in stale.output


@pytest.mark.parametrize(
    "text", ["", "<!-- speed -->", MARKS * 2, "<!-- /speed --><!-- speed -->"]
)
def test_document_without_marks_is_refused(tmp_path: Path, text: str) -> None:
    results = write_results(tmp_path / "results")
    readme = tmp_path / "README.md"
    readme.write_text(text, encoding="utf8")
    assert call("table", results, readme, readme).exit_code == 1
    assert readme.read_text(encoding="utf8") == text


def test_table_needs_results(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(MARKS, encoding="utf8")
    result = call("table", tmp_path, readme, readme)
    assert result.exit_code == 1
    assert "No inference.json" in result.output


def test_documents_are_up_to_date_with_the_results() -> None:
    documents = (ROOT / "docs" / "performance.md", ROOT / "README.md")
    good(call("table", PROJECT / "results", *documents, "--check"))


def test_plots(tmp_path: Path) -> None:
    results = write_results(tmp_path / "results")
    good(call("plots", results))
    first = {name: (results / name).read_bytes() for name in DRAWN}
    assert all(content.startswith(b"\x89PNG") for content in first.values())
    (results / "scaling.json").unlink()
    assert "not drawn" in good(call("plots", results))
    # The same results give the same file.
    assert (results / "inference.png").read_bytes() == first["inference.png"]
