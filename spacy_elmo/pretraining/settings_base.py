"""The base class of a config's sections: validation that reports every problem."""

import json
import re
from functools import reduce
from typing import (
    Any,
    ClassVar,
    Dict,
    Iterable,
    Iterator,
    Mapping,
    Optional,
    Sequence,
    Tuple,
    Type,
    TypeVar,
    Union,
    get_args,
)

from pydantic import (
    BaseModel,
    ConfigDict,
    SerializerFunctionWrapHandler,
    ValidationError,
    ValidatorFunctionWrapHandler,
    model_serializer,
    model_validator,
)
from pydantic_core import ErrorDetails, InitErrorDetails, PydanticCustomError

from .config_file import ConfigError, suggest

SectionT = TypeVar("SectionT", bound="Section")
Problem = Tuple[Sequence[Union[int, str]], Any, str]
"""Location of a setting, its value, and the error as a predicate of both."""

_PREDICATES = {
    "bool_type": "should be true or false",
    "dict_type": "should be a section",
    "extra_forbidden": "is not a setting",
    "model_type": "should be a section",
    "string_too_short": "should not be empty",
    "string_type": "should be a string, in double quotes",
    "tuple_type": "should be a list",
}


class Section(BaseModel):
    """A section of a config, documented by its docstring and those under its fields.

    Validation is strict: JSON has types, so nothing needs to be converted. Messages are
    predicates of "section.setting = value", e.g. "should be less than 1".
    """

    model_config = ConfigDict(
        frozen=True,
        strict=True,
        extra="forbid",
        allow_inf_nan=False,
    )
    only_with: ClassVar[Mapping[str, str]] = {}
    """Settings that are only valid with a certain `name` of the section."""

    @classmethod
    def from_dict(
        cls: Type[SectionT],
        values: Mapping[str, Any],
        *,
        source: Optional[object] = None,
    ) -> SectionT:
        """Validate settings.

        values (Mapping[str, Any]): Settings and subsections, as JSON has them.
        source (Optional[object]): Name or path of the config, for error messages.
        RETURNS (Section): The validated section, with defaults filled in.
        RAISES: ConfigError with a message for each invalid setting.
        """
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            prefix = "" if source is None else f"{source}: "
            raise ConfigError(
                *(f"{prefix}{_sentence(e)}" for e in error.errors())
            ) from None

    def to_dict(self) -> Dict[str, Any]:
        """Return all settings that apply, as JSON has them, including defaults."""
        return self.model_dump(mode="json")

    def conflicts(self) -> Iterator[Tuple[str, str]]:
        """Find settings that are valid by themselves but not in combination.

        YIELDS (Tuple[str, str]): The setting's name, dotted if it is in a subsection,
            and the error as a predicate, e.g. "needs held-out text".
        """
        yield from ()

    @classmethod
    def _inapplicable(cls, name: Any) -> Dict[str, str]:
        return {key: owner for key, owner in cls.only_with.items() if owner != name}

    @model_validator(mode="wrap")
    @classmethod
    def _validate(cls, values: Any, handler: ValidatorFunctionWrapHandler) -> "Section":
        try:
            section = handler(values)
        except ValidationError as error:
            raise invalid(cls._explain(e) for e in error.errors()) from None
        inapplicable = cls._inapplicable(getattr(section, "name", None))
        conflicts = [
            (key, f'is only valid with name = "{owner}"; remove it')
            for key, owner in inapplicable.items()
            if key in section.model_fields_set
        ]
        conflicts += section.conflicts()
        if conflicts:
            raise invalid(
                (key.split("."), reduce(getattr, key.split("."), section), message)
                for key, message in conflicts
            )
        return section

    @classmethod
    def _explain(cls, error: ErrorDetails) -> Problem:
        """Rephrase pydantic's message as a predicate of "section.setting = value"."""
        location, value, kind = error["loc"], error["input"], error["type"]
        if kind == "setting":
            return location, value, error["msg"]
        message = _PREDICATES.get(kind) or re.sub("^(Input|Value) ", "", error["msg"])
        if kind == "int_type" and isinstance(value, float):
            message = "should be a whole number, without a point or an exponent"
        name = str(location[0]) if location else ""
        if name not in cls.model_fields:
            message += suggest(name, cls.model_fields)
        elif type(None) in get_args(cls.model_fields[name].annotation):
            message += ", or null"
        return location, value, message

    @model_serializer(mode="wrap")
    def _serialize(self, handler: SerializerFunctionWrapHandler) -> Dict[str, Any]:
        inapplicable = self._inapplicable(getattr(self, "name", None))
        return {k: v for k, v in handler(self).items() if k not in inapplicable}


def invalid(problems: Iterable[Problem]) -> ValidationError:
    """Create pydantic's error for any number of invalid settings."""
    return ValidationError.from_exception_data(
        "settings",
        [
            InitErrorDetails(
                type=PydanticCustomError("setting", "{message}", {"message": message}),
                loc=tuple(location),
                input=value,
            )
            for location, value, message in problems
        ],
    )


def _sentence(error: ErrorDetails) -> str:
    name = ".".join(map(str, error["loc"]))
    value = json.dumps(error["input"], default=repr, ensure_ascii=False)
    value = value if len(value) <= 100 else f"{value[:100]}..."
    sentence = f"{name} = {value} {error['msg']}"
    return sentence if sentence.endswith(("?", ".")) else f"{sentence}."
