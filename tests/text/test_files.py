"""Finding text files, reading their lines in chunks, and refusing damaged files."""

from __future__ import annotations

import io
import json
import random
import sys
import tarfile
from pathlib import Path

import pytest
from helpers.corpora import COMPRESSIONS, compress, corpus_refused, write

from spacy_elmo.text.files import (
    CorpusError,
    find_files,
    read_chunks,
)

COMPRESSED = COMPRESSIONS[1:]


def lines_of(*files: Path, chunk_chars: int = 1 << 20) -> list[str]:
    return [line for chunk in read_chunks(files, chunk_chars) for line in chunk.lines]


def names_in(folder: Path, *paths: str | Path) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in find_files(paths)]


# Finding files


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in (
        "b.txt",
        "a.jsonl",
        "deep/er/c.txt.zst",
        "deep/d.jsonl.gz",
        "z.en.txt",
    ):
        write(tmp_path / name, "{}\n")
    for name in ("notes.md", "txt", "a.zip", "deep/x.gz", "b.txt.bak", "info.json"):
        (tmp_path / name).write_text("no corpus")
    for name in (".txt", "._b.txt", ".ipynb_checkpoints/b.txt", "deep/.git/a.jsonl"):
        write(tmp_path / name, "hidden")
    (tmp_path / "folder.txt").mkdir()
    return tmp_path


def test_folders_are_searched_recursively(folder: Path) -> None:
    deep = ["deep/d.jsonl.gz", "deep/er/c.txt.zst"]
    expected = ["a.jsonl", "b.txt", *deep, "z.en.txt"]
    assert names_in(folder, folder) == expected
    assert names_in(folder, str(folder)) == expected


@pytest.mark.parametrize("suffix", [".txt", ".jsonl", ".ndjson", ".json"])
@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_extensions_of_text_in_folders(
    tmp_path: Path, suffix: str, compression: str
) -> None:
    path = write(tmp_path / f"a{suffix}{compression}", '{"text": "a"}\n')
    capitals = tmp_path / f"B{suffix}{compression}".upper()
    capitals.write_bytes(path.read_bytes())
    assert names_in(tmp_path, tmp_path) == [capitals.name, path.name]
    assert lines_of(path) == lines_of(capitals)


def test_globs(folder: Path) -> None:
    assert names_in(folder, f"{folder}/*.txt") == ["b.txt", "z.en.txt"]
    assert names_in(folder, folder / "*.md") == ["notes.md"]
    assert names_in(folder, f"{folder}/**/*.gz") == ["deep/d.jsonl.gz", "deep/x.gz"]


def test_a_file_given_by_name_can_have_any_extension(tmp_path: Path) -> None:
    path = write(tmp_path / "wiki[1]?.en", "a\n")
    assert find_files([path]) == [path]
    assert lines_of(path) == ["a", ""]


def test_files_are_listed_once_in_the_order_of_the_paths(folder: Path) -> None:
    paths = (
        folder / "z.en.txt",
        folder / "b.txt",
        f"{folder}/*.txt",
        folder / "z.en.txt",
    )
    assert names_in(folder, *paths) == ["z.en.txt", "b.txt"]
    assert names_in(folder, *paths, folder)[:3] == ["z.en.txt", "b.txt", "a.jsonl"]
    assert len(names_in(folder, *paths, folder)) == 5


def test_a_file_under_several_paths_is_listed_once(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    assert len(find_files(["b.txt", folder / "b.txt", "deep/../b.txt"])) == 1


@pytest.mark.parametrize("name", ["gone.txt", "*.none", "deep/*.txt"])
def test_paths_that_match_nothing(folder: Path, name: str) -> None:
    with corpus_refused(f"{folder / name}:", "a glob that matches files"):
        find_files([folder / "b.txt", folder / name])


def test_a_folder_without_text(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("a")
    with corpus_refused(f"{tmp_path}:", ".txt, .jsonl, .ndjson, .json"):
        find_files([tmp_path])


def test_no_path_at_all() -> None:
    with corpus_refused("at least one path"):
        find_files([])


# Reading lines


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_lines(tmp_path: Path, compression: str) -> None:
    path = write(
        tmp_path / f"a.txt{compression}", "Ünï cødé 日本\n\n  b c \t\n\n\nlast"
    )
    assert lines_of(path) == ["Ünï cødé 日本", "", "b c", "", "", "last", ""]


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_json_lines(tmp_path: Path, compression: str) -> None:
    texts = ["One.\nTwo.\r\n\n \nThree. ", "", "Vier é"]
    data = "\n".join(json.dumps({"id": 1, "text": text}) for text in texts)
    path = write(
        tmp_path / f"a.jsonl{compression}", data.replace("\n", "\n \n\n") + "\n"
    )
    assert lines_of(path) == ["One.", "Two.", "Three.", "", "", "Vier é", "", ""]


def test_windows_line_endings(tmp_path: Path) -> None:
    text = write(tmp_path / "a.txt", "a b\r\n\r\nc\r\n")
    objects = write(
        tmp_path / "a.jsonl", '{"text": "a"}\r\n\r\n{"text": "b\\r\\nc"}\r\n'
    )
    assert lines_of(text) == ["a b", "", "c", ""]
    assert lines_of(objects) == ["a", "", "b", "c", "", ""]


def test_only_a_newline_ends_a_line(tmp_path: Path) -> None:
    text = "a\u2028b\u2029c\x85d\x0be\x0cf\x1cg\rh"
    assert lines_of(write(tmp_path / "a.txt", f"{text}\n")) == [text, ""]
    path = write(tmp_path / "a.jsonl", json.dumps({"text": text}, ensure_ascii=False))
    assert lines_of(path) == [text, "", ""]


def test_byte_order_mark(tmp_path: Path) -> None:
    assert lines_of(write(tmp_path / "a.txt", "\ufeffa b\nc\n")) == ["a b", "c", ""]
    text = '\ufeff{"text": "a b"}\n'
    for name in ("a.jsonl", "wiki_00"):
        assert lines_of(write(tmp_path / name, text)) == ["a b", "", ""]


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_json_lines_are_recognized_by_their_content(
    tmp_path: Path, compression: str
) -> None:
    """If the extension says nothing, as for the output of WikiExtractor."""
    text = '\n{"id": 1, "text": "a b"}\n{"text": "c"}\n'
    for name in ("wiki_00", "c4.validation", "a.json", "a.ndjson"):
        path = write(tmp_path / f"{name}{compression}", text)
        assert lines_of(path) == ["a b", "", "c", "", ""]
    plain = write(tmp_path / f"a.txt{compression}", text)
    assert lines_of(plain)[1] == '{"id": 1, "text": "a b"}'
    for text in ("{ a }\n", '{"text"\n', '["a"]\n', "{" + '"a":[' * 100_000 + "\n"):
        path = write(tmp_path / f"words{compression}", text)
        assert lines_of(path)[0] == text.strip()


def test_another_text_field(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", '{"content": "a b", "text": 3}\n')
    (chunk,) = read_chunks([path], text_field="content")
    assert chunk.lines == ["a b", "", ""]
    with corpus_refused("line 1", '"title"', "corpus.text_field", "--text-field"):
        list(read_chunks([path], text_field="title"))


def test_empty_files(tmp_path: Path) -> None:
    files = [write(tmp_path / name, "") for name in ("a.txt", "b.jsonl", "c.txt.gz")]
    assert lines_of(*files) == ["", "", ""]


def test_documents_end_with_their_file(tmp_path: Path) -> None:
    files = [write(tmp_path / "a.txt", "a"), write(tmp_path / "b.txt", "b\n")]
    assert lines_of(*files) == ["a", "", "b", ""]
    assert [chunk.lines for chunk in read_chunks(files)] == [["a", ""], ["b", ""]]


@pytest.mark.parametrize("compression", COMPRESSED)
def test_concatenated_compressed_files(tmp_path: Path, compression: str) -> None:
    """The output of `cat a.gz b.gz`, and of parallel compressors."""
    path = tmp_path / f"a.txt{compression}"
    path.write_bytes(compress(b"a\nb", compression) + compress(b"c\nd\n", compression))
    assert lines_of(path) == ["a", "bc", "d", ""]


@pytest.mark.parametrize("chunk_chars", [1, 2, 3, 7, 20, 1000])
@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_chunks(tmp_path: Path, chunk_chars: int, compression: str) -> None:
    lines = ["a", "", "bb cc", "", "ddd", "e" * 30, "f"]
    files = [
        write(tmp_path / f"{i}.txt{compression}", "\n".join(lines)) for i in (1, 2)
    ]
    chunks = list(read_chunks(files, chunk_chars))
    assert [line for chunk in chunks for line in chunk.lines] == [*lines, ""] * 2
    for chunk in chunks:  # a chunk ends with the line that fills it
        assert sum(len(line) + 1 for line in chunk.lines[:-1]) < chunk_chars + 1
    assert len(chunks) >= 2 * sum(map(len, lines)) / (chunk_chars + 31)
    assert sum(chunk.n_bytes for chunk in chunks) == sum(
        path.stat().st_size for path in files
    )
    assert all(chunk.n_bytes >= 0 for chunk in chunks)


def test_bytes_are_counted_as_they_are_read(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", "word " * 10 + "\n" + "x" * 1_000_000)
    first, *_ = read_chunks([path], 10)
    assert 51 <= first.n_bytes < 500_000


# Refusing files


@pytest.fixture(scope="module")
def long_text() -> str:
    rng = random.Random(1)
    return "".join(f"{rng.random()} {rng.random()}\n" for _ in range(5000))


@pytest.mark.parametrize("share", [0.3, 0.9, 0.999])
@pytest.mark.parametrize("compression", COMPRESSED)
def test_truncated(
    tmp_path: Path, long_text: str, compression: str, share: float
) -> None:
    path = tmp_path / f"a.txt{compression}"
    data = compress(long_text.encode(), compression)
    path.write_bytes(data[: int(share * len(data))])
    with corpus_refused(f"{path}, after line ", "damaged or truncated"):
        lines_of(path)


@pytest.mark.parametrize("start", [0, 20, 10_000, 30_000, 50_000])
@pytest.mark.parametrize("compression", COMPRESSED)
def test_damaged(tmp_path: Path, long_text: str, compression: str, start: int) -> None:
    """Some formats only verify the checksum after the data, so that the error may be
    about invalid UTF-8."""
    path = tmp_path / f"a.txt{compression}"
    data = bytearray(compress(long_text.encode(), compression))
    data[start : start + 8] = b"\xff\x00\xff\x00\xaa\x55\xaa\x55"
    path.write_bytes(data)
    with corpus_refused(path, "line "):
        lines_of(path)


@pytest.mark.parametrize("compression", COMPRESSED)
def test_not_compressed(tmp_path: Path, compression: str) -> None:
    path = tmp_path / f"a.txt{compression}"
    path.write_bytes(b"plain words, and more of them\n" * 3)
    with corpus_refused(f"{path}, after line 0", "not compressed as its"):
        lines_of(path)


def test_line_number_of_the_damage(tmp_path: Path, long_text: str) -> None:
    path = tmp_path / "a.txt.gz"
    path.write_bytes(compress(long_text.encode(), ".gz")[:-100])
    read: list[str] = []
    chunks = read_chunks([path], 1)
    with pytest.raises(CorpusError) as caught:
        read.extend(line for chunk in chunks for line in chunk.lines)
    assert 3000 < len(read) < 5000
    assert f"after line {len(read)}:" in str(caught.value)


@pytest.mark.parametrize("compression", ["", ".gz", ".xz"])
@pytest.mark.parametrize("suffix", [".txt", ".jsonl"])
def test_not_utf8(tmp_path: Path, suffix: str, compression: str) -> None:
    good = b'{"text": "a"}\n\n'
    path = tmp_path / f"a{suffix}{compression}"
    path.write_bytes(
        compress(good + '{"text": "é"}\n'.encode("latin1") + good, compression)
    )
    with corpus_refused(f"{path}, line 3:", "UTF-8", "0xe9", "Convert the file"):
        lines_of(path)


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("plain text", "JSONDecodeError"),
        ('{"text": "cut', "JSONDecodeError"),
        ('{"title": "a"}', "KeyError: 'text'"),
        ('{"text": 3}', "type int"),
        ('{"text": null}', "type NoneType"),
        ('["text"]', "TypeError"),
        ('"text"', "TypeError"),
        ("null", "TypeError"),
        pytest.param('{"a":' * 100_000, "RecursionError", id="nested"),
    ],
)
def test_invalid_json_lines(tmp_path: Path, line: str, found: str) -> None:
    path = write(tmp_path / "a.jsonl", f'{{"text": "a"}}\n\n{line}\n{{"text": "b"}}\n')
    with corpus_refused(f"{path}, line 3:", '"text"', repr(line[:60]), found):
        lines_of(path)


def test_long_lines_are_abbreviated_in_messages(tmp_path: Path) -> None:
    for line in '{"title": "' + "x" * 10_000, '{"text": "\\ud800' + "x" * 10_000:
        path = write(tmp_path / "a.jsonl", line + '"}')
        with pytest.raises(CorpusError) as caught:
            lines_of(path)
        assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("name", ["a.conllu", "a.CONLLU.gz", "a.spacy"])
def test_tokenized_files_are_no_text(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, "# text = a\n")
    with corpus_refused(f"{path}: expected text, found tokenized", "elmo embed"):
        lines_of(path)


def test_a_lone_surrogate(tmp_path: Path) -> None:
    """JSON can contain it, but it cannot be written to a shard in UTF-8."""
    path = write(tmp_path / "a.jsonl", '{"text": "a"}\n{"text": "b \\ud83d c"}\n')
    with corpus_refused(f"{path}, line 2:"):
        lines_of(path)


def test_a_surrogate_pair(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", '{"text": "b \\ud83d\\ude00"}\n')
    assert lines_of(path)[0] == "b 😀"


@pytest.mark.parametrize("name", ["b.tar", "b.tgz", "b.txz", "b.TBZ2", "b.zip"])
@pytest.mark.parametrize("how", ["itself", "by a glob"])
def test_archives_by_extension(tmp_path: Path, name: str, how: str) -> None:
    write(tmp_path / "a.txt", "a\n")
    path = write(tmp_path / name, "b\n")
    named = path if how == "itself" else tmp_path / "*"
    with corpus_refused(f"{path}:", path.suffix.lower(), "Unpack it first"):
        find_files([named])
    assert find_files([tmp_path]) == [tmp_path / "a.txt"]


@pytest.mark.parametrize("name", ["a.tar.gz", "a.txt.tar.xz", "a.parquet", "a.zip.zst"])
def test_compressed_archives(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, "a\n")
    with corpus_refused(f"{path}:", "archive", "Unpack it first"):
        find_files([path])
    plain = write(tmp_path / "corpus.tar.gz.txt", "a\n")
    assert find_files([plain]) == [plain]


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("suffix", [".txt", ".jsonl", ".en"])
@pytest.mark.parametrize("kind", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT])
def test_a_tar_archive_with_another_extension(
    tmp_path: Path, compression: str, suffix: str, kind: int
) -> None:
    """Its header would otherwise be read as a word."""
    member = tarfile.TarInfo("caf\xe9" + 92 * "a" + ".txt")
    member.size = 4
    data = io.BytesIO()
    with tarfile.open(
        fileobj=data, mode="w", format=kind, encoding="latin1"
    ) as archive:
        archive.addfile(member, io.BytesIO(b"a b\n"))
    path = tmp_path / f"a{suffix}{compression}"
    path.write_bytes(compress(data.getvalue(), compression))
    with corpus_refused(f"{path}:", "tar archive", "Unpack it first"):
        lines_of(path)


def test_text_that_resembles_a_tar_archive(tmp_path: Path) -> None:
    line = "a" * 257 + "ustar"
    assert lines_of(write(tmp_path / "a.txt", line)) == [line, ""]


def test_without_zstandard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.txt.zst", "a\n")
    monkeypatch.setitem(sys.modules, "zstandard", None)
    assert lines_of(write(tmp_path / "a.txt.gz", "a\n")) == ["a", ""]
    with corpus_refused(path, "zstandard", "pip install 'spacy-elmo[pretrain]'"):
        lines_of(path)


@pytest.mark.parametrize("suffix", COMPRESSED)
def test_line_that_decompresses_to_an_absurd_size(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.txt{suffix}"
    path.write_bytes(compress(b"a" * 3_000_000, suffix))
    with corpus_refused(path, "line 1", "at most 1048576 bytes"):
        lines_of(path)
    path.write_bytes(compress(b"a\n" * 1_500_000, suffix))
    assert len(lines_of(path)) == 1_500_001
