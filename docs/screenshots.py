"""Take the screenshots of docs/visual.md with headless Chromium.

Run from the repository's root, with the extras `explore` and `browser`:

    python docs/screenshots.py --chromium /usr/bin/chromium
"""

from __future__ import annotations

import argparse
import io
import re
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator
from urllib.parse import urlencode

from PIL import Image
from playwright.sync_api import Page, sync_playwright

FOLDER = Path(__file__).parent
SENTENCE = "The old bank by the river lent the farmers money until the flood came ."


@contextmanager
def served() -> Iterator[str]:
    """Run `elmo explore` with the weights that ship. YIELDS: Its address."""
    command = [sys.executable, "-m", "spacy", "elmo", "explore", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        line = server.stdout.readline()
        match = re.search(r"http://[\w.:]+/", line)
        assert match, line
        try:
            yield match[0]
        finally:
            server.terminate()


def save(page: Page, name: str) -> None:
    """Write a PNG with a palette, a fifth of the size."""
    image = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    image.quantize(64, dither=Image.Dither.NONE).save(FOLDER / name, optimize=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--chromium")
    arguments = parser.parse_args()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=arguments.chromium, args=["--no-sandbox"]
        )
        with served() as address:
            page = browser.new_page(
                viewport={"width": 760, "height": 790}, color_scheme="light"
            )
            page.goto(f"{address}senses?{urlencode({'word': 'bat'})}")
            page.locator("#result .point").nth(1).focus()
            save(page, "senses.png")
            page = browser.new_page(
                viewport={"width": 760, "height": 500}, color_scheme="dark"
            )
            page.goto(f"{address}surprisal?{urlencode({'text': SENTENCE})}")
            page.locator("#result .word").nth(6).focus()
            save(page, "explore.png")
        browser.close()


if __name__ == "__main__":
    main()
