"""`spacy_elmo.render`: docs to HTML, like displaCy."""

from inspect import signature
from typing import Any, Callable, Dict, Mapping, NamedTuple, Optional

from spacy.util import is_in_jupyter

from .html import to_html
from .neighborhood import show_neighbors
from .senses import show_senses
from .similarity import MatrixView, show_layers
from .surprisal import show_surprisal


class Style(NamedTuple):
    """A style of `render`.

    title (str): Title of a page.
    show (Callable): Makes a view of docs.
    """

    title: str
    show: Callable[..., Any]


STYLES: Dict[str, Style] = {
    "surprisal": Style("Surprisal", show_surprisal),
    "layers": Style("Similarity by layer", show_layers),
    "neighbors": Style("Nearest neighbors", show_neighbors),
    "senses": Style("Senses", show_senses),
}


def render(
    docs: Any,
    style: str = "surprisal",
    page: bool = False,
    jupyter: Optional[bool] = None,
    options: Optional[Mapping[str, Any]] = None,
) -> Optional[str]:
    """Show docs as HTML that needs nothing from outside.

    docs (Union[Doc, Span, Iterable]): Docs of a pipeline with an elmo component. The
        style "layers" also compares two tokens.
    style (str): "surprisal", "layers", "neighbors" or "senses".
    page (bool): Whether to return a whole page instead of a fragment.
    jupyter (Optional[bool]): Whether to display the result in a notebook. None to find
        out.
    options (Optional[Mapping]): Options of the style; see docs/visual.md.
    RETURNS (Optional[str]): The HTML; None if it was displayed.
    RAISES: ValueError if the style or an option is unknown or invalid, or if the docs
        have no layers.
    """
    if style not in STYLES:
        raise ValueError(f"style: expected {', '.join(STYLES)}, found {style!r}.")
    title, show = STYLES[style]
    options = dict(options or {})
    allowed = [name for name in signature(show).parameters if name != "docs"]
    for name in options:
        if name not in allowed:
            raise ValueError(
                f"options: expected {', '.join(allowed) or 'none'} with the style "
                f"{style!r}, found {name!r}."
            )
    view = show(docs, **options)
    body = to_html(template_of(view, style), view=view)
    template = "page.html" if page else "fragment.html"
    html = to_html(template, title=title, body=body)
    if jupyter or (jupyter is None and is_in_jupyter()):
        from IPython.display import HTML, display

        # The class keeps MathJax away, as in displaCy.
        display(HTML(f'<div class="tex2jax_ignore">{html}</div>'))
        return None
    return html


def template_of(view: Any, style: str) -> str:
    """Name of the template that shows a view."""
    return "matrix.html" if isinstance(view, MatrixView) else f"{style}.html"
