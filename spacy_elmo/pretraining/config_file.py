"""Reads the config of `elmo pretrain`: spaCy's format, without spaCy, since a machine
that only trains has none."""

import configparser
import difflib
import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, Iterable, List, NamedTuple, Sequence, Set, Tuple, Union


class ConfigError(ValueError):
    """A config that is missing, damaged, or asks for what cannot be.

    problems: all that were found, one line each; a line names the file or the option,
        the section, the key, what was expected, what was found and what to do.
    """

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__(list(problems))

    @property
    def problems(self) -> List[str]:
        return list(self.args[0])

    def __str__(self) -> str:
        return "\n".join(self.problems)


@dataclass(frozen=True)
class ConfigFile:
    """A config's values, and where each was set.

    values: sections by name, those below a section among its keys; references are
        replaced.
    source: what to call the config in errors.
    labels: full name of a section or key -> what to call it in errors.
    unused: overrides of keys that the file does not have and to which nothing refers.
    """

    values: Dict[str, Any]
    source: str = "config"
    labels: Dict[str, str] = field(default_factory=dict)
    unused: Tuple[str, ...] = ()

    def where(self, name: str) -> str:
        """What to call a section or key ("training.dropout") in errors."""
        section, _, key = name.rpartition(".")
        default = f"[{section}] {key}" if section else f"[{key}]"
        return self.labels.get(name, f"{self.source}, {default}")


def read_config(path: Union[str, Path], overrides: Sequence[str] = ()) -> ConfigFile:
    """Parse a config.

    Values are JSON; True, False, None and bare words are read as spaCy reads them. A
    remark stands on a line of its own, as spaCy takes one behind a value for a part of
    it. `${section.key}` is that value if it is all there is, and its text inside a
    text; `$$` is a dollar sign.

    overrides: what stands on the command line, `--section.key value` or
        `--section.key=value`, JSON or bare words. References see them.

    Raises ConfigError.
    """
    problems: List[str] = []
    source = str(path)
    labels: Dict[str, str] = {}
    values = _read_file(path, labels, problems)
    added = []
    for name, value in _read_overrides(overrides, problems):
        blocked = _override(values, name, value, labels)
        if blocked:
            problems.append(
                f"--{name}: expected [{blocked}] to be a section, found a value. Use "
                f"--{blocked}."
            )
        elif name not in labels:
            added.append(name)
        labels[name] = f"--{name}"
    if problems:
        raise ConfigError(problems)
    references = _References(values, ConfigFile({}, source, labels))
    resolved = references.replace()
    if references.problems:
        raise ConfigError(references.problems)
    unused = tuple(name for name in added if name not in references.used)
    return ConfigFile(resolved, source, labels, unused)


def suggest(name: str, known: Iterable[str]) -> str:
    """Which known name may be meant by an unknown one, as the end of an error."""
    known = list(known)
    near = difflib.get_close_matches(name, known, n=1)
    if near:
        return f"Did you mean {near[0]}?"
    return f"Known: {', '.join(known) or 'none'}."


class _Parser(configparser.RawConfigParser):
    def __init__(self) -> None:
        # No section's values are the other sections' defaults: a name that none has.
        super().__init__(default_section="\n")

    def optionxform(self, optionstr: str) -> str:
        return optionstr


class _Reference(NamedTuple):
    """A value that is another's."""

    name: str


_WHOLE = re.compile(r"\$\{([^{}]*)\}")
_PART = re.compile(r"\$\$|\$\{([^{}]*)\}|\$\{")
_NAME = re.compile(r"[^.\s]+(\.[^.\s]+)+")
_UNRESOLVED = object()
"""In place of a value whose reference was refused."""
_WORDS = {"True": True, "False": False, "None": None}
"""Python's words, which spaCy knows too."""


def _read_file(
    path: Union[str, Path], labels: Dict[str, str], problems: List[str]
) -> Dict[str, Any]:
    """The file's values, without references replaced."""
    parser = _Parser()
    try:
        parser.read_string(Path(path).read_text(encoding="utf-8-sig"))
    except OSError as error:
        what = error.strerror or error
        problems.append(f"{path}: expected a config file, found none ({what}).")
    except UnicodeDecodeError as error:
        problems.append(f"{path}: expected UTF-8, found {error}. Convert the file.")
    except configparser.Error as error:
        problems += [f"{path}{problem}" for problem in _syntax_problems(error)]
        return {}  # the parser has stopped somewhere
    values: Dict[str, Any] = {}
    for section in parser.sections():
        node = values
        for part in section.split("."):
            node = node.setdefault(part, {})
        labels[section] = f"{path}, [{section}]"
    for section in parser.sections():
        node = values
        for part in section.split("."):
            node = node[part]
        for key, text in parser.items(section):
            label = f"{path}, [{section}] {key}"
            if key in node:
                problems.append(
                    f"{label}: expected a value or a section of that name, found both. "
                    f"Remove the key or [{section}.{key}]."
                )
                continue
            try:
                node[key] = _read_value(text)
            except ValueError as error:
                problems.append(f"{label}: {error}")
                continue
            if "${" in text and "\n" not in text:
                label = f"{label} = {text}"
            labels[f"{section}.{key}"] = label
    return values


def _syntax_problems(error: configparser.Error) -> List[str]:
    """Each from the line's number on."""
    if isinstance(error, configparser.DuplicateSectionError):
        what = f"[{error.section}]"
    elif isinstance(error, configparser.DuplicateOptionError):
        what = f"[{error.section}] {error.option}"
    elif isinstance(error, configparser.MissingSectionHeaderError):
        return [
            f", line {error.lineno}: expected a [section] before the first value, "
            f"found {error.line.strip()!r}."
        ]
    else:
        return [
            f", line {number}: expected [section], key = value or a # remark, found "
            f"{line}."
            for number, line in getattr(error, "errors", [])
        ] or [f": expected [section] and key = value, found {error.message}."]
    return [
        f", line {error.lineno}: expected {what} once, found it again. Join the two."
    ]


def _read_value(text: str) -> Any:
    """Raises ValueError that says what was expected."""
    reference = _WHOLE.fullmatch(text)
    if reference:
        return _Reference(reference.group(1))
    try:
        return json.loads(text)
    except ValueError:
        pass
    if text in _WORDS:
        return _WORDS[text]
    # spaCy takes all of these for texts. They are mistakes.
    if not text:
        advice = 'Write null for none, "" for an empty text.'
    elif re.search(r"\s[#;]", text):
        advice = "Put a remark on a line of its own, and a text in double quotes."
    elif "\n" in text:
        advice = "A line that is indented belongs to the value above it."
    elif text[0] in "\"'[{":
        advice = "Put texts in double quotes, and close what is opened."
    else:
        return text
    raise ValueError(f"expected JSON, found {text or 'nothing'}. {advice}")


def _read_overrides(
    overrides: Sequence[str], problems: List[str]
) -> List[Tuple[str, Any]]:
    """(section.key, value) of each."""
    found: List[Tuple[str, Any]] = []
    rest = list(overrides)
    while rest:
        option = rest.pop(0)
        name, equals, text = option[2:].partition("=")
        if not option.startswith("--") or not _NAME.fullmatch(name):
            problems.append(
                f"{option}: expected an option --section.key with a value, found "
                f"{option!r}."
            )
            if option.startswith("--") and not equals and rest[:1]:
                # Its value is no second mistake.
                rest = rest[1:] if not rest[0].startswith("--") else rest
            continue
        if not equals and rest and not rest[0].startswith("--"):
            text = rest.pop(0)
        if not text:
            problems.append(
                f"--{name}: expected a value, found none. Write --{name} VALUE, or "
                f"--{name}=VALUE where it begins with --."
            )
            continue
        try:
            value = _read_value(text)
        except ValueError:
            value = text  # a glob, say, that begins with a bracket
        found.append((name, value))
    return found


def _override(
    values: Dict[str, Any], name: str, value: Any, labels: Dict[str, str]
) -> str:
    """Set a value. RETURNS: the name of what is in its way, a value where a section
    should be, or an empty string."""
    *sections, key = name.split(".")
    node = values
    for i, section in enumerate(sections, start=1):
        path = ".".join(sections[:i])
        if section not in node:
            labels[path] = f"--{name}"
        node = node.setdefault(section, {})
        if not isinstance(node, dict):
            return path
    node[key] = value
    return ""


class _References:
    """Replaces references by what they refer to."""

    def __init__(self, values: Dict[str, Any], config: ConfigFile) -> None:
        self.values, self.config = values, config
        self.problems: List[str] = []
        self.used: Set[str] = set()
        self._circles: Set[Tuple[str, ...]] = set()

    def replace(self) -> Dict[str, Any]:
        return {name: self._in(value, (name,)) for name, value in self.values.items()}

    def _in(self, value: Any, chain: Tuple[str, ...]) -> Any:
        """chain: names that lead to the value, its own last."""
        if isinstance(value, _Reference):
            return self._follow(value.name, chain)
        if isinstance(value, dict):
            return {
                k: self._in(v, (*chain, f"{chain[-1]}.{k}")) for k, v in value.items()
            }
        if isinstance(value, list):
            return [self._in(part, chain) for part in value]
        if isinstance(value, str):
            return _PART.sub(lambda match: self._text(match, chain), value)
        return value

    def _text(self, match: "re.Match[str]", chain: Tuple[str, ...]) -> str:
        if match.group() == "$$":
            return "$"
        if match.group(1) is None:
            self._refuse(chain, "expected ${section.key}, found ${ without its end.")
            return ""
        value = self._follow(match.group(1), chain)
        if isinstance(value, str):
            return value
        found = json.dumps(value, default=str)
        if value is None or isinstance(value, (list, dict)):
            self._refuse(
                chain,
                f"expected text or a number under {match.group()}, found {found}, "
                f"which cannot be part of a text. Set --{match.group(1)} VALUE, or "
                f"write {match.group()} without anything around it.",
            )
        return found

    def _follow(self, name: str, chain: Tuple[str, ...]) -> Any:
        if name in chain:
            circle = chain[chain.index(name) :]
            if tuple(sorted(circle)) not in self._circles:
                self._circles.add(tuple(sorted(circle)))
                self._refuse(
                    chain,
                    "expected references that end at a value, found the circle "
                    f"{' -> '.join([*circle, name])}. Give one of them a value.",
                )
            return _UNRESOLVED
        self.used.add(name)
        node: Any = self.values
        for part in name.split("."):
            if not isinstance(node, dict) or part not in node:
                known = [known for known in self.config.labels if "." in known]
                self._refuse(
                    chain,
                    f"expected ${{section.key}} of a value that is set, found "
                    f"${{{name}}}. {suggest(name, known)}",
                )
                return _UNRESOLVED
            node = node[part]
        return self._in(node, (*chain, name))

    def _refuse(self, chain: Tuple[str, ...], problem: str) -> None:
        line = f"{self.config.where(chain[-1])}: {problem}"
        if line not in self.problems:
            self.problems.append(line)
