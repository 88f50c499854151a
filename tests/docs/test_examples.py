"""The code of the README and docs runs: Python blocks, commands and configs."""

from __future__ import annotations

import configparser
import os
import shlex
import socket
import subprocess
import sys
from doctest import ELLIPSIS
from pathlib import Path
from typing import Any

import httpx
import pytest
import spacy
import srsly
from helpers.documentation import (
    DOCUMENTS,
    PROJECT_READMES,
    ROOT,
    name,
    write_examples,
)
from helpers.explorers import served
from helpers.pipelines import spacy_command
from markdown_it import MarkdownIt
from sybil import Example, Sybil
from sybil.parsers.markdown import CodeBlockParser, PythonCodeBlockParser

from spacy_elmo import BiLM
from spacy_elmo.visual.explore import server

documents = pytest.mark.parametrize("path", DOCUMENTS, ids=name)
project_readmes = pytest.mark.parametrize("path", PROJECT_READMES, ids=name)


@pytest.fixture
def _folder(tiny_bilm: BiLM, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(write_examples(tmp_path / "examples", tiny_bilm))


@documents
@pytest.mark.usefixtures("_folder")
def test_examples_run(path: Path) -> None:
    """In order, in one namespace and one folder per document."""
    parsers = [
        PythonCodeBlockParser(doctest_optionflags=ELLIPSIS),
        CodeBlockParser("bash", run_commands),
        CodeBlockParser("ini", check_config),
    ]
    for example in Sybil(parsers).parse(path).examples():
        example.evaluate()


@pytest.mark.slow
@documents
@pytest.mark.usefixtures("_folder")
def test_commands_in_processes_of_their_own_run(path: Path) -> None:
    for command in commands(path):
        if command[0] == "torchrun":
            run_process("-m", "torch.distributed.run", *command[1:])
        elif command[:3] == ["python", "-m", "spacy_elmo.pretraining"]:
            run_process(*command[1:])


@project_readmes
def test_project_commands_exist(path: Path) -> None:
    for command in commands(path):
        if command[:4] == ["python", "-m", "spacy", "project"]:
            check_project_command(path.parent, command[4:])


@pytest.mark.parametrize("path", [*DOCUMENTS, *PROJECT_READMES], ids=name)
def test_code_blocks_name_their_language(path: Path) -> None:
    """A block in any other language would not be tested."""
    for token in MarkdownIt().parse(path.read_text(encoding="utf8")):
        if token.type == "fence":
            assert token.info in ("python", "bash", "ini"), token.content


def commands(path: Path) -> list[list[str]]:
    return [
        command
        for token in MarkdownIt().parse(path.read_text(encoding="utf8"))
        if token.type == "fence" and token.info == "bash"
        for command in split(token.content)
    ]


def split(block: str) -> list[list[str]]:
    lines = block.replace("\\\n", " ").splitlines()
    return [words for line in lines if (words := shlex.split(line, comments=True))]


def run_commands(example: Example) -> None:
    for command in split(example.parsed):
        run_command(command)


def run_command(command: list[str]) -> None:
    """Run a command in this process, or check it if it installs something, runs a
    project (which tests/projects do) or needs a separate process."""
    program, *arguments = command
    if program == "torchrun" or arguments[:2] == ["-m", "spacy_elmo.pretraining"]:
        return
    if arguments[:3] == ["-m", "spacy", "project"]:
        check_project_command(ROOT, arguments[3:])
    elif arguments[:4] == ["-m", "spacy", "elmo", "explore"]:
        check_explore(command)
    elif program == "python" and arguments[:2] == ["-m", "spacy"]:
        result = spacy_command(*arguments[2:])
        assert result.exit_code == 0, (command, result.output, result.exception)
    elif "install" in arguments or "install" in command:
        check_install(command[command.index("install") + 1 :])
    elif arguments[:1] == ["tests/fuzz/run.py"]:
        return  # takes as long as it says; .ci/run runs it
    else:
        assert arguments[:2] in (["-m", "venv"], ["-m", "pytest"]), command


def check_explore(command: list[str]) -> None:
    """Run the server up to its first page."""
    statuses: list[int] = []

    def serve(app: Any, listener: socket.socket) -> None:
        with served(app, listener) as address:
            statuses.append(httpx.get(address, trust_env=False).status_code)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(server, "serve", serve)
        result = spacy_command(*command[3:], "--port", "0")
    assert statuses == [200], (command, result.output, result.exception)


def run_process(*arguments: str) -> None:
    result = subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr


def check_install(arguments: list[str]) -> None:
    """Check that the requirements file and the extras exist."""
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf8")
    for option, value in zip(arguments, arguments[1:]):
        if option == "-r":
            assert (ROOT / value).is_file(), value
        elif option == "-e":
            _, bracket, extras = value.rstrip("]").partition("[")
            for extra in extras.split(",") if bracket else ():
                assert extra in setup["options.extras_require"], extra


def check_project_command(folder: Path, arguments: list[str]) -> None:
    """Check that a project has the named commands and variables.

    folder (Path): Folder that the command is run in.
    """
    names: list[str] = []
    variables: list[str] = []
    words = iter(arguments)
    for word in words:
        if word.startswith("--vars."):
            variables.append(word.partition(".")[2])
            assert not next(words).startswith("--"), arguments
        elif word != "--force":
            names.append(word)
    action, *names = names
    assert action in ("assets", "run"), arguments
    assert len(names) <= (1 if action == "assets" else 2), arguments
    described = folder / (names[action == "run"] if names[action == "run" :] else ".")
    project = srsly.read_yaml(described / "project.yml")
    if action == "run":
        steps = [command["name"] for command in project["commands"]]
        assert names[0] in [*steps, *project["workflows"]], names[0]
    assert set(variables) <= set(project["vars"]), variables


def check_config(example: Example) -> None:
    """Check that a block is part of a config, and that its functions are registered."""
    parser = configparser.ConfigParser(interpolation=None, delimiters=("=",))
    parser.read_string(example.parsed)
    registered = 0
    for section in parser.sections():
        for key, text in parser[section].items():
            value = srsly.json_loads(text)
            if key.startswith("@"):
                assert spacy.registry.has(key[1:], value), value
                registered += 1
    assert registered, "expected a registered function"
