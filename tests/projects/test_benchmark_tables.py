"""The project benchmark's tables and plots, and that the README says what the results
say."""

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

DRAWN = ("inference.png", "scaling.png")


def write_results(folder: Path) -> Path:
    folder.mkdir()
    for name, content in made_results().items():
        srsly.write_json(folder / f"{name}.json", content)
    srsly.write_json(folder / "another.json", {})
    return folder


def test_the_section_says_what_the_results_say() -> None:
    from section import section

    text = section(made_results())
    assert "| **spacy-elmo**, float32, batches of 32 | 150,000 |" in text
    assert "| AllenNLP 1.0 | 80,000 |" in text
    assert "| *float32, batches of 32 : AllenNLP* | 1.9 × |" in text
    told = " ".join(text.split())
    assert "batches of 32 sentences of UD English EWT" in told
    assert "25,147 words of 2,001 sentences (small)" in told
    assert "2 threads of a machine with 2 cores (P, avx2) and 8 GiB" in told
    assert "Medians of 3 rounds" in told
    assert "run at 62% (small)" in told
    assert "differ by 3e-06 at most" in told
    assert "1,000 words/s (small), 4.0 × AllenNLP's" in told
    assert "0.9999 (small; of the worst word 0.990)" in told
    assert "forward and back: 1.8 × and 1.5 × (1024/128); 32 sequences of 20" in told
    assert "97% (small)" in told
    assert "1.2 s (small)" in told
    assert "adds 30 ms" in told
    assert "2 threads beside one: 2.0 × (small)" in told
    assert "1,000 words at 10 words/s in 5 MiB, 3 of them the layers (small)" in told
    assert "the later ones 4.0 s, 2.00 × those of cnn" in told
    assert "on new text: 250 words/s, and 250 of cnn's (9.0 × its time)" in told
    assert "75.00% in float32, 70.00% in bfloat16" in told
    assert "bfloat16, batches" not in text
    lines = [line for line in text.splitlines() if not line.startswith("|")]
    assert max(map(len, lines)) <= 88


def test_a_subject_that_was_not_measured_is_left_out() -> None:
    from report import known_subjects, report
    from section import section

    results = made_results()
    assert section({"scaling": results["scaling"]}) == ""
    alone = section({"inference": results["inference"]})
    assert "bfloat16" not in alone
    assert alone.count("\n* ") == 1
    for subject in results:
        assert report(known_subjects({subject: results[subject]})).count("## ") == 1
    assert report(results).count("\n## ") == len(results)
    assert report(results).count("python scripts/measure.py") == len(results)


def test_numbers_have_three_digits() -> None:
    from rendering import rounded, significant

    assert rounded(12_345.6) == "12,300"
    assert rounded(0.4) == "0"
    assert significant(1.23456) == "1.23"
    assert significant(12_345.6) == "12,300"


def test_the_readme_is_written_and_checked(tmp_path: Path) -> None:
    results = write_results(tmp_path / "results")
    readme = tmp_path / "README.md"
    readme.write_text(MARKS, encoding="utf8")
    assert call("table", results, readme, "--check").exit_code == 1
    assert readme.read_text(encoding="utf8") == MARKS
    shown = good(call("table", results, readme))
    assert "## Speed" in shown
    text = readme.read_text(encoding="utf8")
    assert text.startswith("Before\n<!-- speed -->\n## Speed\n")
    assert text.endswith("<!-- /speed -->\nAfter\n")
    good(call("table", results, readme, "--check"))
    # Written again, it is the same.
    good(call("table", results, readme))
    assert readme.read_text(encoding="utf8") == text
    # By hand, or by another result, it is not.
    readme.write_text(text.replace("150,000", "151,000"), encoding="utf8")
    refused = call("table", results, readme, "--check")
    assert refused.exit_code == 1
    assert "README.md" in refused.output
    readme.write_text(text, encoding="utf8")
    (results / "speed.md").write_text("", encoding="utf8")
    assert "speed.md" in call("table", results, readme, "--check").output


@pytest.mark.parametrize(
    "text", ["", "<!-- speed -->", MARKS * 2, "<!-- /speed --><!-- speed -->"]
)
def test_a_readme_without_a_place_for_the_section(tmp_path: Path, text: str) -> None:
    results = write_results(tmp_path / "results")
    readme = tmp_path / "README.md"
    readme.write_text(text, encoding="utf8")
    assert call("table", results, readme).exit_code == 1
    assert readme.read_text(encoding="utf8") == text


def test_without_results(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(MARKS, encoding="utf8")
    assert call("table", tmp_path, readme).exit_code == 1
    good(call("table", tmp_path, readme, "--check"))


def test_this_readme_says_what_these_results_say() -> None:
    good(call("table", PROJECT / "results", ROOT / "README.md", "--check"))


def test_results_are_drawn(tmp_path: Path) -> None:
    results = write_results(tmp_path / "results")
    good(call("plots", results))
    first = {name: (results / name).read_bytes() for name in DRAWN}
    assert all(content.startswith(b"\x89PNG") for content in first.values())
    (results / "scaling.json").unlink()
    assert "not drawn" in good(call("plots", results))
    # The same results make the same file.
    assert (results / "inference.png").read_bytes() == first["inference.png"]
