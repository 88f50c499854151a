"""The project benchmark: statistics, workers and their protocol, and a short run of the
whole project."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import srsly
import torch
from helpers.benchmark_project import MARKS, PROJECT, SCRIPTS, importable
from helpers.project_copies import good, run

from spacy_elmo import BiLM, BiLMConfig, save_bilm

scripts = pytest.fixture(autouse=True)(importable)

TREES = """\
# sent_id = 1
1-2\tdon't\t_\t_\t_\t_\t_\t_\t_\t_
1\tdo\tdo\tAUX\tVBP\t_\t0\troot\t_\t_
2\tn't\tnot\tPART\tRB\t_\t1\tadvmod\t_\t_
2.1\tgo\tgo\tVERB\tVB\t_\t_\t_\t_\t_

# sent_id = 2
1\tRome\tRome\tPROPN\tNNP\t_\t0\troot\t_\t_
"""


# weights.py


def test_random_weights_use_the_clips() -> None:
    from weights import clipped, fit

    torch.manual_seed(0)
    config = BiLMConfig(
        filters=((1, 8), (2, 8)), n_highway=1, dim=64, projection_dim=32
    )
    bilm = BiLM(config)
    sentences = [f"{n} dogs see the {n % 3} cats .".split() for n in range(8)]
    fit(bilm, sentences)
    words = sorted({word for sentence in sentences for word in sentence})
    vectors = bilm.encode_words(words).detach()
    assert float(vectors.mean(dim=0).abs().max()) < 1e-3
    assert float(vectors.std(dim=0).mean()) == pytest.approx(1, abs=1e-3)
    shares = clipped(bilm, sentences)
    assert list(shares) == ["cells", "outputs"]
    assert all(0 <= share < 0.5 for share in shares.values())


# treebank.py


def test_syntactic_words_are_read(tmp_path: Path) -> None:
    from treebank import read_sentences

    path = tmp_path / "text.conllu"
    path.write_text(TREES, encoding="utf8")
    assert read_sentences(path) == [["do", "n't"], ["Rome"]]
    assert read_sentences(path, 1) == [["do", "n't"]]


def test_text_of_the_benchmark(shared: Path, tmp_path: Path) -> None:
    import lzma

    from treebank import count_words, in_batches, read_sentences

    source = shared / "data" / "eval" / "pos-ewt" / "en_ewt-ud-dev.conllu.xz"
    path = tmp_path / "dev.conllu"
    path.write_bytes(lzma.decompress(source.read_bytes()))
    sentences = read_sentences(path)
    assert len(sentences) == 2001
    assert count_words(sentences) == 25_147
    batches = in_batches(sentences)
    assert [len(batch) for batch in batches] == [32] * 62 + [17]
    lengths = [len(sentence) for batch in batches for sentence in batch]
    assert lengths == sorted(lengths, reverse=True)


# measuring.py


def test_medians_and_spreads() -> None:
    from measuring import summarize, summarize_all

    expected = {"median": 2.0, "min": 1.0, "max": 9.0, "rounds": [9.0, 1.0, 2.0]}
    assert summarize([9.0, 1.0, 2.0]) == expected
    found = summarize_all([{"a": 1.0, "b": 2.0}, {"a": 3.0, "b": 4.0}])
    assert {name: one["median"] for name, one in found.items()} == {"a": 2.0, "b": 3.0}
    with pytest.raises(ValueError, match="Round 1: expected"):
        summarize_all([{"a": 1.0}, {"b": 1.0}])


def test_ratios_are_computed_within_rounds() -> None:
    """A slower machine in one round does not change the ratio."""
    from measuring import ratios

    rounds = [{"ours": 200.0, "peer": 100.0}, {"ours": 20.0, "peer": 10.0}]
    found = ratios(rounds, ["ours"], ["peer"])
    assert found["peer"]["ours"]["rounds"] == [2.0, 2.0]


def test_models_are_parsed() -> None:
    from measuring import Model, parse_models

    found = parse_models(["weights/small:0", "weights/original:400", "weights/tiny"])
    names = [(Path("weights") / name) for name in ("small", "original", "tiny")]
    assert found == [Model(n, k) for n, k in zip(names, (0, 400, 0))]
    assert [model.name for model in found] == ["small", "original", "tiny"]
    assert parse_models(["C:/small"]) == [Model(Path("C:/small"), 0)]
    with pytest.raises(ValueError, match="different names"):
        parse_models(["a/small", "b/small:5"])


def test_results_include_their_origin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import measuring

    monkeypatch.setattr(sys, "argv", ["/any/where/measure.py", "a b", "--threads", "2"])
    measuring.write_results(
        tmp_path / "new" / "r.json", measuring.our_versions(), 2, sizes={"small": 1}
    )
    found = srsly.read_json(tmp_path / "new" / "r.json")
    assert found["command"] == "python scripts/measure.py 'a b' --threads 2"
    assert found["machine"]["processor"]
    assert found["machine"]["cores"] >= 1
    assert set(found["versions"]["spacy_elmo"]) == {
        "spacy_elmo",
        "spacy",
        "torch",
        "numpy",
    }
    assert (found["threads"], found["sizes"]) == (2, {"small": 1})


# scaling.py


# compare.py


def test_differences_by_layer() -> None:
    from compare import differences

    left = [np.zeros((3, 2, 4)), np.zeros((3, 1, 4))]
    right = [array.copy() for array in left]
    right[0][1, 1, 3] = 0.5
    right[1][2, 0, 0] = -0.25
    assert differences(left, right) == [0.0, 0.5, 0.25]
    right[1][0, 0, 0] = np.nan
    assert differences(left, right) == [np.inf, 0.5, 0.25]
    with pytest.raises(ValueError, match="Sentence 1: expected one shape"):
        differences(left, [right[0], right[1][:, :0]])


# protocol.py


def test_worker_answers_and_failure_is_reported(tmp_path: Path) -> None:
    """Output of libraries does not reach the driver."""
    from protocol import Worker, WorkerError

    script = tmp_path / "worker.py"
    script.write_text(
        "from protocol import option, serve\n"
        "def double(number): print('noise'); return 2 * number\n"
        "def threads(): return option('--threads')\n"
        "def fail(): raise ValueError('no such thing')\n"
        "serve({f.__name__: f for f in (double, threads, fail)})\n",
        encoding="utf8",
    )
    shutil.copy(SCRIPTS / "protocol.py", tmp_path)
    worker = Worker(sys.executable, str(script), threads=1)
    assert worker.ask("double", number=21) == 42
    assert worker.ask("threads") == "1"
    with pytest.raises(WorkerError, match="no such thing"):
        worker.ask("fail")
    with pytest.raises(WorkerError, match="no such thing"):
        worker.ask("double", number=1)
    worker.close()


@pytest.mark.parametrize("name", ["allennlp_worker", "simple_elmo_worker"])
def test_peers_do_not_import_spacy_elmo(name: str) -> None:
    names = {"protocol", "treebank", name}
    for text in ((SCRIPTS / f"{n}.py").read_text(encoding="utf8") for n in names):
        assert "import spacy_elmo" not in text
        assert "from spacy_elmo" not in text


def test_stubs_replace_unused_packages_only() -> None:
    """AllenNLP is missing here: the worker fails to import after installing them."""
    code = (
        "import contextlib, sys; sys.path.insert(0, sys.argv[1])\n"
        "with contextlib.suppress(ImportError): import allennlp_worker\n"
        "from fairscale.nn import Something\n"
        "class Mine(Something): pass\n"
        "from cached_path import cached_path\n"
        "assert cached_path('a') == 'a'\n"
        "import json; assert json.dumps(1) == '1'\n"
        "try: import surely_no_package\n"
        "except ImportError: print('as expected')\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, str(SCRIPTS)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.stdout.strip() == "as expected", result.stderr


# our_worker.py


@pytest.fixture
def work(tmp_path: Path) -> dict[str, str]:
    """Arguments of `load`: weights and a text."""
    config = BiLMConfig(filters=((1, 4), (2, 8)), dim=16, projection_dim=8)
    save_bilm(BiLM(config), tmp_path / "weights", format="hdf5")
    text = tmp_path / "text.conllu"
    text.write_text(TREES, encoding="utf8")
    return {"weights": str(tmp_path / "weights"), "text": str(text)}


def test_our_worker(
    work: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["", "--threads", "1"])
    import our_worker

    for name in ("PEAK_ROWS", "PEAK_IN", "PEAK_OUT", "PEAK_RUNS"):
        monkeypatch.setattr(our_worker, name, 8)
    assert our_worker.peak("float32") > 0
    assert our_worker.peak("bfloat16") > 0
    packed = our_worker.peak("float32", is_packed=True)
    assert packed is None or packed > 0
    found = our_worker.load(**work)
    assert (found["words"], found["sentences"]) == (3, 2)
    our_worker.warm_up()
    for name in ("encode_batches", "encode_cold", "encode_warm"):
        assert getattr(our_worker, name)("float32")["seconds"] > 0
    assert our_worker.lstms("float32")["gflop"] == pytest.approx(
        2 * (4 + 3) * 4 * 9 * 16 * 8 / 1e9
    )
    our_worker.warm_up_training()
    assert our_worker.train()["seconds"] > 0
    our_worker.vectors([["a"], ["b", "c"]], str(tmp_path / "vectors.npz"))
    with np.load(tmp_path / "vectors.npz") as file:
        assert [file[name].shape for name in file.files] == [(3, 1, 16), (3, 2, 16)]
    our_worker.gradient([["a"]], str(tmp_path / "gradient.npy"))
    assert np.load(tmp_path / "gradient.npy").shape == (262, 16)
    layers = our_worker.cosines()
    assert len(layers) == 3
    assert all(0.99 < layer["min"] <= layer["mean"] < 1.001 for layer in layers)


def test_our_worker_measures_scaling(
    work: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["", "--threads", "1"])
    import our_worker

    assert our_worker.load(**work)["words"] == 3
    assert our_worker.cut(2, 5) == [["do", "n't"], ["Rome", "do"]]
    assert our_worker.cut(6, 5) == [["do", "n't", "Rome"] * 2]
    for task in ("batch_tokens", "sentence_length", "doc_length"):
        found = getattr(our_worker, task)(4, 5)
        assert found["words_per_second"] > 0
        assert found["peak_mb"] >= 0


def test_our_worker_measures_spacy(
    work: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["", "--threads", "1"])
    import our_worker

    our_worker.load(**work)
    assert our_worker.add_component() == 9
    assert our_worker.encode()["seconds"] > 0
    assert our_worker.pipe()["seconds"] > 0
    assert set(our_worker.short_doc(2)) == {"nlp", "bilm"}


# The whole project


@pytest.mark.slow
def test_the_whole_project_runs(tmp_path: Path) -> None:
    """With two small sizes, one round and some sentences. Runs in the project's own
    folder, because its environments take minutes to create."""
    readme = tmp_path / "README.md"
    readme.write_text(MARKS, encoding="utf8")
    variables = {
        "results": tmp_path / "results",
        "performance": readme,
        "readme": tmp_path / "short.md",
        "size_2": "medium",
        "size_3": "original",
        "sentences_1": 40,
        "sentences_2": 40,
        "sentences_3": 40,
        "n_rounds": 1,
        "threads": 1,
        "scaling_words": 50,
        "scaling_rounds": 1,
        "longest": 100,
        "training_batches": 1,
        "heads_docs": 3,
    }
    (tmp_path / "short.md").write_text(MARKS, encoding="utf8")
    (tmp_path / "results").mkdir()
    options = [part for k, v in variables.items() for part in (f"--vars.{k}", v)]
    for arguments in (["assets"], ["run", "all", ".", *options]):
        good(run(PROJECT, "-m", "spacy", "project", *arguments))
    text = readme.read_text(encoding="utf8")
    assert "| AllenNLP 2.10.1 |" in text
    assert "| simple_elmo 0.9.2 |" in text
    names = {path.name for path in (tmp_path / "results").iterdir()}
    assert {"inference.png", "scaling.png"} < names
    assert len(list((tmp_path / "results").glob("*.json"))) == 8
