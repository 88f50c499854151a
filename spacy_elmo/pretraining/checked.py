"""Sections of settings that check their values where they are made, and how they are
read from a config with all that is wrong reported at once."""

import json
import math
from dataclasses import dataclass, field, fields
from typing import (
    Any,
    Callable,
    Collection,
    Dict,
    Iterator,
    List,
    Mapping,
    NamedTuple,
    Optional,
    Sequence,
    Type,
    TypeVar,
)

from .config_file import ConfigError, ConfigFile, suggest


class Kind(NamedTuple):
    """What a setting may be.

    expected: in words.
    read: from a value to what is kept of it; raises ValueError, whose message says what
        to do, if there is more to say.
    """

    expected: str
    read: Callable[[Any], Any]


class Problem(NamedTuple):
    """What is wrong with a key."""

    key: str
    text: str


class SectionError(ConfigError):
    """A section that was made from wrong values.

    found: what is wrong, by key.
    """

    def __init__(self, section: str, found: Sequence[Problem]) -> None:
        super().__init__([f"{section}.{key}: {text}" for key, text in found])
        self.found = list(found)


def setting(default: Any, kind: Kind, *, only: Optional[str] = None) -> Any:
    """A field of a section.

    only: what the section's `name` must be for this setting to mean something.
    """
    return field(default=default, metadata={"kind": kind, "only": only})


@dataclass(frozen=True)
class Checked:
    """A section: its settings are fields made by `setting`.

    Raises SectionError for values that are not of their kinds or contradict each other.
    """

    def __post_init__(self) -> None:
        found = []
        for name, kind in kinds(type(self)).items():
            try:
                object.__setattr__(self, name, read_value(kind, getattr(self, name)))
            except ValueError as error:
                found.append(Problem(name, str(error)))
        found = found or [*self._foreign(), *self._contradictions()]
        if found:
            raise SectionError(type(self).__name__, found)

    def to_dict(self) -> Dict[str, Any]:
        """All settings that mean something, as JSON has them."""
        foreign = self.foreign(getattr(self, "name", None))
        return {
            f.name: _plain(getattr(self, f.name))
            for f in fields(self)
            if f.name not in foreign
        }

    @classmethod
    def foreign(cls, name: Optional[str]) -> Dict[str, str]:
        """The settings that mean nothing with this `name`, and with which they do."""
        only = {f.name: f.metadata.get("only") for f in fields(cls)}
        return {key: owner for key, owner in only.items() if owner not in (None, name)}

    def _foreign(self) -> Iterator[Problem]:
        defaults = {f.name: f.default for f in fields(self)}
        for key, owner in self.foreign(getattr(self, "name", None)).items():
            value = getattr(self, key)
            if value != defaults[key]:
                yield Problem(key, belongs(key, owner, value))

    def _contradictions(self) -> Iterator[Problem]:
        """Settings that are good alone, not together."""
        yield from ()


_Section = TypeVar("_Section", bound=Checked)


def kinds(section: Type[Checked]) -> Dict[str, Kind]:
    """The settings of a section, without the sections below it."""
    return {f.name: f.metadata["kind"] for f in fields(section) if "kind" in f.metadata}


def read_value(kind: Kind, value: Any) -> Any:
    """Raises ValueError that says what was expected, what was found, what to do."""
    try:
        return kind.read(value)
    except ValueError as error:
        raise ValueError(
            f"expected {kind.expected}, found {show(value)}. {error}".strip()
        ) from None


def read_values(
    known: Mapping[str, Kind],
    given: Any,
    name: str,
    config: ConfigFile,
    problems: List[str],
    below: Collection[str] = (),
) -> Optional[Dict[str, Any]]:
    """The values of a section in a config. RETURNS: None where there were problems.

    below: names of sections below it, which are passed over.
    """
    n_problems = len(problems)
    if not isinstance(given, Mapping):
        problems.append(
            f"{config.where(name)}: expected a section [{name}], found {show(given)}."
        )
        return None
    values = {}
    for key, value in given.items():
        if key in below:
            continue
        where = config.where(f"{name}.{key}")
        if key not in known:
            problems.append(
                f"{where}: expected a setting of [{name}], found {key!r}. "
                f"{suggest(key, [*known, *below])}"
            )
            continue
        try:
            values[key] = read_value(known[key], value)
        except ValueError as error:
            problems.append(f"{where}: {error}")
    return values if len(problems) == n_problems else None


def read_section(
    section: Type[_Section],
    given: Any,
    name: str,
    config: ConfigFile,
    problems: List[str],
    **below: Checked,
) -> Optional[_Section]:
    """A section of a config. RETURNS: None where there were problems.

    name: the section's.
    below: the sections below it, read already.
    """
    values = read_values(kinds(section), given, name, config, problems, below)
    if values is None:
        return None
    default = {f.name: f.default for f in fields(section)}.get("name")
    foreign = section.foreign(values.get("name", default))
    for key in sorted(foreign.keys() & values.keys()):
        where = config.where(f"{name}.{key}")
        problems.append(f"{where}: {belongs(key, foreign[key], values.pop(key))}")
    try:
        return section(**values, **below)
    except SectionError as error:
        for key, text in error.found:
            problems.append(f"{config.where(f'{name}.{key}')}: {text}")
        return None


def belongs(key: str, owner: str, value: Any) -> str:
    return (
        f'expected no such setting but with name = "{owner}", found {show(value)}: '
        f"{key} belongs to {owner}. Remove it."
    )


def show(value: Any) -> str:
    """A value as a config has it, shortened."""
    if value == ():
        return "nothing"
    text = json.dumps(value, default=repr, ensure_ascii=False)
    return text if len(text) <= 100 else f"{text[:100]}..."


def whole(least: int) -> Kind:
    def read(value: Any) -> int:
        if isinstance(value, float) and value.is_integer():
            raise ValueError(f"Write {value:.0f}, without a point or an exponent.")
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise ValueError
        return value

    return Kind(f"a whole number of at least {least}", read)


def number(expected: str, fits: Callable[[float], bool]) -> Kind:
    def read(value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise ValueError
        try:
            number = float(value)
        except OverflowError:
            raise ValueError from None
        if not math.isfinite(number) or not fits(number):
            raise ValueError
        return number

    return Kind(expected, read)


ABOVE_0 = number("a number above 0", lambda value: value > 0)
FROM_0 = number("a number of at least 0", lambda value: value >= 0)
FROM_1 = number("a number of at least 1", lambda value: value >= 1)
FROM_0_TO_1 = number("a number from 0 to 1", lambda value: 0 <= value <= 1)
BELOW_1 = number("a number of at least 0 and below 1", lambda value: 0 <= value < 1)


def one_of(*names: str) -> Kind:
    def read(value: Any) -> str:
        if value not in names:
            near = isinstance(value, str)
            raise ValueError(suggest(value, names) if near else "")
        return str(value)

    return Kind(f"one of {', '.join(names)}", read)


def optional(kind: Kind) -> Kind:
    """Or null."""

    def read(value: Any) -> Any:
        return None if value is None else kind.read(value)

    return Kind(f"{kind.expected}, or null", read)


def _read_switch(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError
    return value


def _read_text(value: Any) -> str:
    if isinstance(value, (int, float)):
        raise ValueError("Put it in double quotes if that is what you mean.")
    if not isinstance(value, str) or not value:
        raise ValueError
    return value


def _read_paths(value: Any) -> Any:
    if value is None or value == ():
        raise ValueError("Name one in the file or on the command line.")
    if isinstance(value, (list, tuple)) and value:
        return tuple(_read_text(path) for path in value)
    return (_read_text(value),)


def _read_ranks(value: Any) -> Any:
    if not isinstance(value, (list, tuple)):
        raise ValueError
    return tuple(whole(1).read(rank) for rank in value)


def _read_logger(value: Any) -> Dict[str, Any]:
    if not isinstance(value, Mapping) or not isinstance(value.get("@loggers"), str):
        raise ValueError("Name one there.")
    return dict(value)


SWITCH = Kind("true or false", _read_switch)
TEXT = Kind("a text", _read_text)
PATHS = Kind("a path or a list of paths", _read_paths)
RANKS = Kind("a list of whole numbers of at least 1", _read_ranks)
LOGGER = Kind('a section with a text under "@loggers"', _read_logger)


def _plain(value: Any) -> Any:
    if isinstance(value, Checked):
        return value.to_dict()
    return json.loads(json.dumps(value))
