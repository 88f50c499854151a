"""Reading a config of `elmo pretrain`: spaCy's format, parsed by confection, with
overrides from the command line."""

import configparser
import difflib
import io
import json
import re
from functools import reduce
from pathlib import Path
from typing import Any, Dict, Iterable, List, Optional, Sequence, Union

from confection import Config

_OPTION = re.compile(r"--[^.\s]+(\.[^.\s]+)+")
_VARIABLE = re.compile(r"\$\{([^{}]+)\}")
_PATHS = "paths."
"""Section whose keys are free: values that other sections refer to."""


class ConfigError(ValueError):
    """A config that cannot be parsed or has invalid settings.

    args (Tuple[str, ...]): One message per problem.
    """

    def __str__(self) -> str:
        return "\n".join(self.args)


def read_config(path: Union[str, Path], overrides: Sequence[str] = ()) -> Config:
    """Parse a config file and replace its variables.

    Sections that only the overrides name are created, and an override of a whole
    section replaces it.

    path (Union[str, Path]): The file.
    overrides (Sequence[str]): Command-line arguments, `--section.key value` or
        `--section.key=value`. Values are JSON or bare words, and may be variables.
    RETURNS (Config): The interpolated config.
    RAISES: ConfigError if the file cannot be parsed or an override is invalid.
    """
    problems: List[str] = []
    options = _parse_overrides(overrides, problems)
    sections = _read_sections(path, problems)
    variables = " ".join(
        value for section in [*sections.values(), options] for value in section.values()
    )
    for name, value in options.items():
        section, _, key = name.rpartition(".")
        used = key in sections.get(section, {}) or f"${{{name}}}" in variables
        if name.startswith(_PATHS) and not used:
            known = sections.get(section, {})
            problems.append(f"--{name} is not used by the config{suggest(key, known)}.")
        for other in list(sections):
            if f"{other}.".startswith(f"{name}."):
                del sections[other]
        sections.setdefault(section, {})[key] = value
    if problems:
        raise ConfigError(*problems)
    try:
        config = Config().from_str(_to_str(sections))
        json.dumps(config)  # fails if a section contains itself
    except (configparser.Error, ValueError, KeyError, RecursionError) as error:
        raise ConfigError(f"{path}: {_one_line(error)}") from error
    _check_variables(sections, config)
    return config


def suggest(name: str, known: Iterable[str]) -> str:
    """Suggest a known name for an unknown one, as the end of a sentence."""
    known = list(known)
    close = difflib.get_close_matches(name, known, n=1)
    if close:
        return f"; did you mean {close[0]}?"
    return f"; expected one of {', '.join(known)}" if known else ""


def _read_sections(
    path: Union[str, Path], problems: List[str]
) -> Dict[str, Dict[str, str]]:
    """Read the unparsed value of each key, by section."""
    # No section can have this name, so that [DEFAULT] is a section like any other.
    parser = configparser.RawConfigParser(default_section="\n")
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    try:
        parser.read_string(Path(path).read_text(encoding="utf-8-sig"), str(path))
    except OSError as error:
        problems.append(f"{path}: cannot read the config ({error.strerror}).")
    except UnicodeDecodeError as error:
        problems.append(f"{path}: expected UTF-8, found {error}. Convert the file.")
    except configparser.Error as error:
        problems.append(
            f"{path}: expected [section], key = value and # comments. "
            f"{_one_line(error)}"
        )
        return {}
    sections = {name: dict(parser.items(name)) for name in parser.sections()}
    for name, section in sections.items():
        for key, value in section.items():
            mistake = _find_mistake(value)
            if mistake:
                problems.append(f"{path}: {name}.{key} = {value!r} {mistake}.")
    return sections


def _find_mistake(value: str) -> Optional[str]:
    """Explain the likely mistake in a value that confection would read as a string."""
    try:
        json.loads(value)
        return None
    except ValueError:
        pass
    if not value:
        return 'has no value; write null for none, or "" for an empty string'
    if re.search(r"\s[#;]", value):
        return "has a comment after the value; put it on a line of its own"
    if "\n" in value:
        return "goes on in an indented line; remove the indentation"
    if value[0] in "\"'[{" and "${" not in value:
        return "is not JSON; use double quotes and close all brackets"
    return None


def _parse_overrides(arguments: Sequence[str], problems: List[str]) -> Dict[str, str]:
    """Split command-line arguments into names and unparsed values."""
    options: Dict[str, str] = {}
    strays: List[str] = []
    remaining = list(arguments)
    while remaining:
        argument = remaining.pop(0)
        name, equals, value = argument.partition("=")
        if not name.startswith("-"):
            strays.append(argument)
            continue
        if not equals and remaining and not remaining[0].startswith("--"):
            value = remaining.pop(0)
        if not _OPTION.fullmatch(name):
            problems.append(f"{argument} is not an option; write --section.key VALUE.")
        elif not value:
            problems.append(
                f"{name} has no value; write {name} VALUE, or {name}=VALUE if the "
                "value begins with --."
            )
        else:
            options[name[2:]] = value
    if strays:
        others = f" and {len(strays) - 1} more" if len(strays) > 1 else ""
        problems.append(
            f"{strays[0]}{others}: not an option; write --section.key VALUE, and put a "
            "glob in quotes."
        )
    return options


def _check_variables(sections: Dict[str, Dict[str, str]], config: Config) -> None:
    """Refuse null within a string, which confection would insert as "null"."""
    problems = []
    for section, values in sections.items():
        for key, value in values.items():
            for name in _VARIABLE.findall(value):
                if value != f"${{{name}}}" and _get(config, name) is None:
                    problems.append(
                        f"{section}.{key} = {value} contains {name} = null; set "
                        f"--{name} VALUE."
                    )
    if problems:
        raise ConfigError(*problems)


def _get(config: Any, name: str) -> Any:
    return reduce(lambda section, key: section[key], name.split("."), config)


def _to_str(sections: Dict[str, Dict[str, str]]) -> str:
    """Write sections for confection, which expects parents first and $ escaped."""
    complete: Dict[str, Dict[str, str]] = {}
    for name in sections:
        parts = name.split(".")
        for end in range(1, len(parts)):
            complete.setdefault(".".join(parts[:end]), {})
    complete.update(sections)
    parser = configparser.RawConfigParser(default_section="\n")
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    for name in sorted(complete, key=lambda name: name.count(".")):
        parser[name] = {
            key: re.sub(r"\$\$|\$(?!\{)", "$$", value)
            for key, value in complete[name].items()
        }
    text = io.StringIO()
    parser.write(text)
    return text.getvalue()


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
