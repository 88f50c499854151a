"""Templates to HTML."""

from functools import lru_cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

FOLDER = Path(__file__).parent
STATIC = FOLDER / "static"


@lru_cache(maxsize=1)
def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader([FOLDER / "templates", STATIC]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def to_html(template: str, **values: Any) -> str:
    """Fill a template. All values are escaped.

    template (str): Name of a file in the folder `templates`.
    **values: Variables of the template.
    RETURNS (str): HTML.
    """
    return _environment().get_template(template).render(values)
