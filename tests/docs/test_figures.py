"""Figures in the README and docs match the committed results."""

from __future__ import annotations

from pathlib import Path
from statistics import mean, median

import srsly
from helpers.documentation import ROOT

NER_TAGGING = ROOT / "projects" / "ner_tagging" / "results"
README = (ROOT / "README.md").read_text(encoding="utf8")
LANGUAGES = ROOT / "projects" / "languages" / "results"
HEADS = (ROOT / "docs" / "heads.md").read_text(encoding="utf8")

ROWS = {
    "spaCy's CNN": "a",
    "spaCy's CNN after `spacy pretrain`": "b",
    "ELMo, frozen": "c",
    "ELMo, frozen, next to the head's own embedding": "d",
}


def score(task: str, variant: str, metric: str, folder: Path = NER_TAGGING) -> str:
    """Mean over the seeds, as the documents show it."""
    runs = map(srsly.read_json, folder.glob(f"{task}-{variant}-*.json"))
    return f"{mean(run['test'][metric] for run in runs):.1f}"


def tags(variant: str, folder: Path = NER_TAGGING) -> list[str]:
    return [
        score("tagging", variant, f"{name}_acc", folder)
        for name in ("tag", "pos", "morph")
    ]


def test_scores_of_the_readme() -> None:
    lines = README.replace("**", "").splitlines()
    for label, variant in ROWS.items():
        cells = [*tags(variant), score("ner", variant, "ents_f")]
        assert f"| {label} | {' | '.join(cells)} |" in lines
    small = NER_TAGGING / "small"
    cells = [*tags("c", small), score("ner", "c", "ents_f", small)]
    assert f"| ELMo, frozen, the small biLM | {' | '.join(cells)} |" in lines


def language_score(task: str, variant: str, metric: str) -> str:
    """Mean over the seeds of a variant that read everything; empty without results."""
    wanted = {"variant": variant, "text": "all", "sentences": 0}.items()
    runs = srsly.read_json(LANGUAGES / f"{task}.json").values()
    scores = [run["test"][metric] for run in runs if wanted <= run.items()]
    return f"{mean(scores):.1f}" if scores else ""


def test_scores_of_the_languages() -> None:
    lines = README.replace("**", "").splitlines()
    for label, task, metric in (
        ("North Sami, UPOS", "giella", "pos_acc"),
        ("North Sami, MORPH", "giella", "morph_acc"),
        ("Kinyarwanda, UPOS", "masakhapos", "pos_acc"),
        ("Kinyarwanda, entities", "masakhaner", "ents_f"),
        ("English fiction, entities", "litbank", "ents_f"),
    ):
        variants = ("cnn", "vectors", "elmo", "elmo-embed")
        cells = [language_score(task, variant, metric) for variant in variants]
        assert f"| {label} | {' | '.join(cells)} |" in lines
    page = (ROOT / "docs" / "your-own-language.md").read_text(encoding="utf8")
    elmo, cnn = (
        [language_score("giella", variant, f"{name}_acc") for name in ("pos", "morph")]
        for variant in ("elmo", "cnn")
    )
    text = " ".join(page.split())
    assert "give {} % UPOS and {} % MORPH".format(*elmo) in text
    assert "spaCy's CNN reaches {} and {} %".format(*cnn) in text


def test_scores_of_heads() -> None:
    text = " ".join(HEADS.split())
    frozen, cnn, pretrained = (score("ner", v, "ents_f") for v in "cab")
    assert f"WNUT-17 F1 is {frozen};" in text
    assert f"reaches {cnn} in the same training, and {pretrained} after" in text
    elmo, baseline = tags("d"), tags("a")
    assert f"{elmo[0]} TAG, {elmo[1]} UPOS and {elmo[2]} MORPH" in text
    alone = tags("c")
    assert f"nearly as good in English ({alone[0]}, {alone[1]} and {alone[2]})" in text
    assert f"spaCy's CNN: {baseline[0]}, {baseline[1]} and {baseline[2]}" in text
    hour = {v: (score("ner", v, "ents_f"), tags(v)[1]) for v in "bij"}
    assert "CNN reaches F1 {} and {} UPOS".format(*hour["b"]) in text
    assert "biLM reaches {} and {} alone".format(*hour["i"]) in text
    assert "and {} and {} next to".format(*hour["j"]) in text


def test_heads_of_other_languages() -> None:
    embed, alone = (
        language_score("masakhaner", variant, "ents_f")
        for variant in ("elmo-embed", "elmo")
    )
    assert f"embedding is better ({embed}, alone {alone})" in " ".join(HEADS.split())
    for task in ("giella", "masakhapos"):
        scores = [language_score(task, v, "pos_acc") for v in ("elmo", "elmo-embed")]
        assert scores[0] > scores[1]


def test_comparison_with_bilm_tf() -> None:
    results = srsly.read_json(
        ROOT / "projects" / "pretrain" / "results" / "bilm_tf.json"
    )["results"]
    for path in ("docs/pretraining.md", "projects/pretrain/README.md"):
        text = (ROOT / path).read_text(encoding="utf8")
        for name, variant in results.items():
            assert f"| {variant['words_per_second']:,.0f} |" in text, name
            perplexity = median(run["perplexity"] for run in variant["runs"])
            assert f"| {perplexity:.0f} " in text, name
            assert f"| {round(variant['time_ratio'], 2):g} |" in text, name


def test_soak_of_the_service() -> None:
    results = ROOT / "projects" / "serve" / "results" / "soak.json"
    soak = srsly.read_json(results)
    text = " ".join((ROOT / "docs" / "serving.md").read_text(encoding="utf8").split())
    assert f"{soak['requests']:,} requests had no error" in text
    assert not soak["errors"]
    growth, memory = soak["memory_growth_percent"], soak["memory_mb"]["last"]
    assert f"memory grew by {growth:.1f} % to {memory} MB" in text
    latency = soak["latency_ms"]
    assert f"within {latency['p50']} ms, 90 % within {latency['p90']} ms" in text
    assert f"1 % waited for more than {latency['p99'] / 1000:.0f} s" in text


def test_throughput_of_ray() -> None:
    results = ROOT / "projects" / "embed_corpus" / "results" / "throughput.json"
    measured = srsly.read_json(results)
    rate = measured["median"]["2 actors"]["words_per_cpu_second"]
    actors, embed = (
        measured["ratio"][f"2 actors : {way}"]["words_per_second"]
        for way in ("1 actor", "elmo embed")
    )
    text = " ".join((ROOT / "docs" / "embedding.md").read_text(encoding="utf8").split())
    assert f"embeds {rate:,.0f} words per second of CPU time" in text
    assert f"1 billion words take {1e9 / rate / 3600:.0f} core-hours" in text
    assert f"embedded {actors:.2f} × the words of one actor" in text
    assert f"{embed:.2f} × as many as `elmo embed`" in text


def test_accuracy_on_minimal_pairs() -> None:
    path = ROOT / "projects" / "grammar" / "results" / "blimp.json"
    accuracy = srsly.read_json(path)["overall"]["accuracy"]["forward"]
    scoring = (ROOT / "docs" / "scoring.md").read_text(encoding="utf8")
    for text in (README, scoring):
        assert f"{accuracy:.1%}".replace("%", " %") in text


def test_sizes_of_the_weights_that_ship() -> None:
    projects = ROOT / "projects"
    figures = {
        size: srsly.read_json(projects / "pretrain" / "results" / f"{name}.json")
        for size, name in (("md", "english"), ("sm", "english_small"))
    }
    speeds = srsly.read_json(projects / "benchmark" / "results" / "small_sizes.json")
    lstm = figures["sm"]["weights"]["options"]["lstm"]
    own = f"{lstm['dim']}/{lstm['projection_dim']}/{lstm['n_layers']}"
    ratio = speeds["sizes"][own]["new text"]["ratio"]["median"]
    rows = {
        "File, in float16": [
            f"{each['weights']['bytes'] / 1e6:.1f} MB" for each in figures.values()
        ],
        "Speed of `nlp.pipe` on new text": ["1 ×", f"{ratio:.1f} ×"],
        "Perplexity, Wikipedia": [
            f"{each['perplexities']['wiki-en.test.txt.xz']['mean']:.1f}"
            for each in figures.values()
        ],
        "UD English EWT: TAG, UPOS, MORPH": [
            ", ".join(tags("c")),
            ", ".join(tags("c", NER_TAGGING / "small")),
        ],
        "WNUT-17: F1": [
            score("ner", "c", "ents_f"),
            score("ner", "c", "ents_f", NER_TAGGING / "small"),
        ],
    }
    text = (ROOT / "docs" / "weights.md").read_text(encoding="utf8")
    for title, cells in rows.items():
        assert f"| {title} | {' | '.join(cells)} |" in text
