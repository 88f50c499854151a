"""The pages of `elmo explore`, as a FastAPI application.

Every page is a form and its result, in plain HTML: a query in, a view out.
"""

from typing import Annotated, Any, Callable, Collection, Optional

from fastapi import FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, PlainTextResponse, Response
from starlette.exceptions import HTTPException
from starlette.staticfiles import StaticFiles

from ...embedding.encoding import TOP
from ...embedding.neighbors import ALL, OTHER, SAME
from ..clustering import MAX_CLUSTERS, PCA, UMAP, has_umap
from ..html import STATIC, to_html
from ..render import template_of
from ..surprisal import BITS, NATS
from .corpus import SUGGESTIONS
from .explorer import Explorer
from .guard import HEADERS, refuse

MAX_CHARACTERS = 2000
"""Characters of a typed text."""
_MAX_NAME = 100
"""Characters of a word, or of the name of a layer."""
AUTO = "auto"
"""Choose the number of clusters."""

PAGES = {
    "surprisal": "Surprisal",
    "compare": "Compare",
    "senses": "Senses",
    "neighbors": "Neighbors",
    "mixes": "Mixes",
}

Text = Annotated[str, Query(max_length=MAX_CHARACTERS)]
Name = Annotated[str, Query(max_length=_MAX_NAME)]


def create_app(explorer: Explorer, host_names: Collection[str] = ()) -> FastAPI:
    """Create the application.

    explorer (Explorer): What computes the views.
    host_names (Collection[str]): Names of this server, in lower case, besides
        "localhost" and addresses.
    RETURNS (FastAPI): The application.
    """
    # FastAPI's own documentation pages load scripts from another site.
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    app.middleware("http")(_guard(host_names))
    app.exception_handler(RequestValidationError)(_invalid_query)
    app.exception_handler(HTTPException)(_http_error)
    _add_pages(app, explorer)
    return app


def _add_pages(app: FastAPI, explorer: Explorer) -> None:
    def page(name: str, show: Optional[Callable[[], Any]], **query: Any) -> Response:
        return _page(explorer, name, show, query)

    @app.get("/")
    @app.get("/surprisal")
    def surprisal(text: Text = "", unit: Name = NATS) -> Response:
        show = (lambda: explorer.surprisal(text, unit)) if text else None
        return page("surprisal", show, text=text, unit=unit)

    @app.get("/compare")
    def compare(first: Text = "", second: Text = "", word: Name = "") -> Response:
        is_asked = first or second
        show = (lambda: explorer.compare(first, second, word)) if is_asked else None
        return page("compare", show, first=first, second=second, word=word)

    @app.get("/senses")
    def senses(
        word: Name = "",
        layer: Name = TOP,
        clusters: Name = AUTO,
        projection: Name = PCA,
    ) -> Response:
        def show() -> Any:
            return explorer.senses(word, layer, _number(clusters), projection)

        query = {"layer": layer, "clusters": clusters, "projection": projection}
        return page("senses", show if word else None, word=word, **query)

    @app.get("/neighbors")
    def neighbors(
        text: Text = "", word: Name = "", layer: Name = TOP, among: Name = ALL
    ) -> Response:
        def show() -> Any:
            return explorer.neighbors(text, word, layer, among)

        query = {"word": word, "layer": layer, "among": among}
        return page("neighbors", show if text else None, text=text, **query)

    @app.get("/mixes")
    def mixes() -> Response:
        return page("mixes", None)


def _number(clusters: str) -> Optional[int]:
    """Number of clusters; None to choose it. RAISES: ValueError if it is neither."""
    if clusters == AUTO:
        return None
    if not (clusters.isascii() and clusters.isdigit()):
        raise ValueError(
            f"clusters: expected {AUTO} or a number from 1 to {MAX_CLUSTERS}, found "
            f"{clusters!r}."
        )
    return int(clusters)


def _page(
    explorer: Explorer, name: str, show: Optional[Callable[[], Any]], query: Any
) -> Response:
    """A page with a form and, if something was asked, the result or an error."""
    result, error = "", ""
    if show is not None:
        try:
            view = show()
            style = "layers" if name == "compare" else name
            result = to_html(template_of(view, style), view=view)
        except ValueError as problem:
            error = str(problem)
    html = to_html(
        "explore.html",
        pages=PAGES,
        name=name,
        query=query,
        result=result,
        error=error,
        explorer=explorer,
        choices={
            "layer": explorer.layers,
            "unit": [NATS, BITS],
            "among": [ALL, SAME, OTHER],
            "projection": [PCA, UMAP] if has_umap() else [PCA],
            "clusters": [AUTO, *range(1, MAX_CLUSTERS + 1)],
        },
        suggestions=SUGGESTIONS if explorer.corpus.is_shipped else (),
        limit=MAX_CHARACTERS,
    )
    return HTMLResponse(html, status_code=400 if error else 200)


def _guard(host_names: Collection[str]) -> Callable[[Request, Any], Any]:
    async def guard(request: Request, call_next: Any) -> Response:
        reason = refuse(request.headers, request.method, host_names)
        if reason is not None:
            response: Response = PlainTextResponse(reason, status_code=403)
        else:
            response = await call_next(request)
        response.headers.update(HEADERS)
        return response

    return guard


def _invalid_query(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    problems = [f"{each['loc'][-1]}: {each['msg']}" for each in error.errors()]
    text = "; ".join(problems)
    return PlainTextResponse(f"Expected a valid query, found {text}.", 422)


def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    pages = ", ".join(f"/{name}" for name in PAGES)
    text = f"{error.detail}. The pages are {pages}."
    return PlainTextResponse(text, error.status_code)
