"""The pages in a real browser: keyboard, mouse, dark mode, no requests elsewhere.

Needs the extra `browser`, and a Chromium that is installed, or that
`playwright install chromium` has downloaded.
"""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import Any, Iterator

import pytest
from helpers.explorers import make_explorer, make_scorer, served
from helpers.pipelines import blank
from starlette.responses import HTMLResponse

import spacy_elmo
from spacy_elmo.visual.explore.app import PAGES, create_app

pytestmark = pytest.mark.slow
reason = "needs Playwright: pip install 'spacy-elmo[browser]'"
api = pytest.importorskip("playwright.sync_api", reason=reason)

SENTENCE = "We sat on the bank ."
HOSTILE = "<script>alert(1)</script><img/src=x/onerror=alert(1)>"
CLICKABLE = 24
"""Smallest width and height of a target in CSS pixels (WCAG 2.5.8)."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    names = ("chromium", "chromium-browser", "google-chrome")
    installed = next(filter(None, map(shutil.which, names)), None)
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with api.sync_playwright() as playwright:
        try:
            opened = playwright.chromium.launch(
                executable_path=installed, args=arguments
            )
        except api.Error as error:
            pytest.skip(f"no browser: install Chromium ({str(error).splitlines()[0]})")
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with served(create_app(make_explorer())) as address:
        yield address


@pytest.fixture(params=["light", "dark"])
def page(request: pytest.FixtureRequest, browser: Any, address: str) -> Iterator[Any]:
    """A page of the server. Afterwards: no error, no dialog, no request elsewhere."""
    context = browser.new_context(color_scheme=request.param, base_url=address)
    opened = context.new_page()
    problems: list[str] = []
    # Chromium logs status 400, which answers invalid queries, as an error.
    opened.on(
        "console",
        lambda message: "400" in message.text or problems.append(message.text),
    )
    opened.on("pageerror", lambda error: problems.append(str(error)))
    opened.on("dialog", lambda dialog: problems.append("dialog"))

    def see(request: Any) -> None:
        if not request.url.startswith((address, "data:", "file:")):
            problems.append(request.url)

    opened.on("request", see)
    yield opened
    context.close()
    assert not problems


def is_shown(locator: Any) -> bool:
    """Whether a tip is visible: not clipped to a single pixel."""
    box = locator.bounding_box()
    return bool(locator.is_visible() and box and box["width"] > 10)


def focused(page: Any) -> Any:
    return page.locator(":focus")


def test_every_page_opens_by_keyboard(page: Any) -> None:
    page.goto("/")
    page.keyboard.press("Tab")
    assert focused(page).inner_text() == "Skip to the form"
    for name, title in PAGES.items():
        link = page.get_by_role("link", name=title, exact=True)
        link.focus()
        page.keyboard.press("Enter")
        page.wait_for_url(f"**/{name}")
        assert page.get_by_role("heading", level=1).inner_text() == title
        assert link.get_attribute("aria-current") == "page"


def test_surprisal_by_keyboard(page: Any) -> None:
    page.goto("/")
    page.get_by_label("Sentence").focus()
    page.keyboard.type(SENTENCE)
    page.keyboard.press("Enter")
    page.wait_for_url("**/surprisal?*")
    words = page.locator(".word")
    assert words.count() == 6
    # Unit, button, then all words as one stop.
    page.get_by_role("button").focus()
    page.keyboard.press("Tab")
    assert is_shown(words.nth(0).locator(".tip"))
    page.keyboard.press("ArrowRight")
    assert is_shown(words.nth(1).locator(".tip"))
    assert not is_shown(words.nth(0).locator(".tip"))
    page.keyboard.press("Escape")
    assert not is_shown(words.nth(1).locator(".tip"))
    for key, number in (("End", 5), ("ArrowLeft", 4), ("Home", 0), ("ArrowLeft", 0)):
        page.keyboard.press(key)
        assert focused(page).evaluate("e => [...e.parentNode.children].indexOf(e)") == (
            number
        )
    page.keyboard.press("Tab")
    assert focused(page).inner_text() == "All numbers"
    page.keyboard.press("Enter")
    assert page.get_by_role("table").is_visible()


def test_surprisal_by_mouse(page: Any) -> None:
    page.goto(f"/surprisal?text={SENTENCE}")
    page.get_by_label("Unit").select_option("bits")
    page.get_by_role("button", name="Show surprisal").click()
    assert page.get_by_label("Sentence").input_value() == SENTENCE
    word = page.locator(".word").nth(4)
    assert not is_shown(word.locator(".tip"))
    word.hover()
    assert is_shown(word.locator(".tip"))
    assert "bits" in word.locator(".tip").inner_text()
    page.get_by_role("heading", level=1).hover()
    assert not is_shown(word.locator(".tip"))


def test_senses_by_keyboard_and_mouse(page: Any) -> None:
    page.goto("/senses?word=bank&clusters=2")
    points = page.locator(".point")
    sentences = page.locator(".point .caption")
    assert points.count() == 4
    assert sentences.locator("visible=true").count() == 0
    page.get_by_role("button").focus()
    for number, key in enumerate(("Tab", "ArrowDown", "ArrowRight", "End")):
        page.keyboard.press(key)
        assert focused(page).get_attribute("class") == points.nth(number).get_attribute(
            "class"
        )
        shown = sentences.locator("visible=true").all_inner_texts()
        assert [text.split() for text in shown] == [
            str(points.nth(number).get_attribute("aria-label"))
            .partition(": ")[2]
            .split()
        ]
    points.nth(0).locator("*").first.hover()
    assert sentences.nth(0).is_visible()
    assert not sentences.nth(3).is_visible()  # which still has the focus
    shapes = points.evaluate_all("all => all.map(p => p.firstElementChild.tagName)")
    assert set(shapes) == {"circle", "rect"}


def test_compare_and_neighbors(page: Any) -> None:
    page.goto("/compare")
    page.get_by_label("First sentence").fill(SENTENCE)
    page.get_by_label("Second sentence").fill("He robbed the bank .")
    page.get_by_label("Word in both").fill("bank")
    page.get_by_role("button", name="Compare").click()
    assert "1.000" in page.get_by_role("row", name="0 (no context)").inner_text()
    page.goto("/neighbors")
    page.get_by_label("Sentence").fill(SENTENCE)
    page.get_by_label("Word in it").fill("zzz")
    page.keyboard.press("Enter")
    page.wait_for_url("**zzz**")
    assert "expected a sentence with the word" in page.get_by_role("alert").inner_text()
    page.get_by_label("Word in it").fill("bank")
    page.get_by_label("Among").select_option("same")
    page.get_by_role("button", name="Show neighbors").click()
    assert page.get_by_role("row").count() == 5


def test_what_users_type_stays_text(page: Any) -> None:
    page.goto("/neighbors")
    page.get_by_label("Sentence").fill(f"{HOSTILE} bank")
    page.get_by_label("Word in it").fill("bank")
    page.keyboard.press("Enter")
    assert HOSTILE in page.locator("#result").inner_text()
    assert page.locator("img").count() == 0


@pytest.mark.parametrize(
    "query", [f"surprisal?text={SENTENCE}", "senses?word=bank&clusters=3", "mixes"]
)
def test_contrast(page: Any, query: str) -> None:
    """WCAG 2.2: 4.5 to 1 for text, 3 to 1 for what else must be seen."""
    page.goto(f"/{query}")
    paper = color(page, ".elmo", "backgroundColor")
    dark = page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")
    assert (luminance(paper) < 0.1) == dark
    for selector in ("h1", "label", "nav a", ".note", "summary", ".word", "caption"):
        if page.locator(selector).count():
            assert contrast(color(page, selector, "color"), paper) >= 4.5, selector
    for number in range(3 if "senses" in query else 0):
        fill = color(page, f".point.cluster-{number}", "fill")
        assert contrast(fill, paper) >= 3, number
    if page.get_by_role("button").count():
        colors = [color(page, "button", key) for key in ("color", "backgroundColor")]
        assert contrast(*colors) >= 4.5


def test_targets_and_small_screens(page: Any) -> None:
    page.set_viewport_size({"width": 320, "height": 640})
    for query in (f"surprisal?text={SENTENCE}", "senses?word=bank", "mixes"):
        page.goto(f"/{query}")
        assert page.evaluate("document.documentElement.scrollWidth") <= 320, query
        for target in page.locator("button, input, select, nav a").all():
            assert target.bounding_box()["height"] >= CLICKABLE


def test_without_javascript(browser: Any, address: str) -> None:
    context = browser.new_context(java_script_enabled=False, base_url=address)
    page = context.new_page()
    page.goto("/")
    page.get_by_label("Sentence").fill(SENTENCE)
    page.keyboard.press("Enter")
    page.wait_for_url("**/surprisal?*")
    page.locator(".word").nth(2).focus()
    assert is_shown(page.locator(".word").nth(2).locator(".tip"))
    context.close()


def test_other_sites_cannot_embed_it(address: str, browser: Any) -> None:
    """Not as a frame, and not as a script or an image."""
    body = f"<iframe src={address}></iframe><img src={address}>"
    other = browser.new_context().new_page()
    statuses: list[int] = []
    other.on("response", lambda response: statuses.append(response.status))
    with served(HTMLResponse(body)) as site:
        other.goto(site.replace("127.0.0.1", "localhost"), wait_until="networkidle")
    assert set(statuses) == {200, 403}
    for frame in other.frames[1:]:
        assert "Surprisal" not in frame.content()
    other.context.close()


def test_rendered_files(page: Any, tmp_path: Path) -> None:
    nlp = blank({}, elmo={"score": True})
    nlp.get_pipe("elmo").set_scorer(make_scorer())  # type: ignore[attr-defined]
    docs = [nlp("We sat on the bank ."), nlp("He robbed the bank .")]
    settings: dict[str, dict[str, Any]] = {
        "surprisal": {},
        "layers": {},
        "neighbors": {"word": "bank"},
        "senses": {"word": "bank"},
    }
    for style, options in settings.items():
        items = docs[0] if style == "layers" else docs
        path = tmp_path / f"{style}.html"
        html = spacy_elmo.render(items, style=style, page=True, options=options)
        path.write_text(str(html), encoding="utf8")
        page.goto(path.as_uri())
        assert page.get_by_role("heading", level=1).is_visible()
        items = page.locator("[data-arrow-keys] [tabindex]")
        if items.count():
            page.keyboard.press("Tab")
            page.keyboard.press("ArrowRight")
            assert items.nth(1).evaluate("e => e === document.activeElement")


def test_a_notebook_in_the_other_mode(page: Any) -> None:
    """JupyterLab's theme wins over the system's."""
    nlp = blank({}, elmo={"score": True})
    nlp.get_pipe("elmo").set_scorer(make_scorer())  # type: ignore[attr-defined]
    fragment = spacy_elmo.render(nlp("We sat"), jupyter=False)
    for is_light in (True, False):
        theme = str(is_light).lower()
        page.set_content(f'<body data-jp-theme-light="{theme}">{fragment}')
        paper = luminance(color(page, ".elmo", "backgroundColor"))
        assert (paper > 0.5) == is_light


def color(page: Any, selector: str, key: str) -> list[float]:
    """Red, green and blue in [0, 1] of the first element's color."""
    css = page.locator(selector).first.evaluate(
        "(element, key) => getComputedStyle(element)[key]", key
    )
    match = re.fullmatch(r"rgb\((\d+), (\d+), (\d+)\)", css)
    assert match, (selector, css)
    return [int(value) / 255 for value in match.groups()]


def luminance(rgb: list[float]) -> float:
    """Relative luminance, as WCAG defines it."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in rgb]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: list[float], other: list[float]) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)
