"""The picture of a report that the README shows: python scripts/screenshot.py runs/digits/report.html docs/report.png

Needs the dev extra and Debian's chromium.
"""

import argparse
import shutil
import tempfile
from pathlib import Path
from typing import Any

from PIL import Image

WIDTH, HEIGHT = 1180, 1780
LARGEST = 300_000  # bytes: it is in the repository
ARGUMENTS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip


def chromium() -> str | None:
    """The system's browser; None if there is none."""
    return shutil.which("chromium") or shutil.which("chromium-browser")


def take(browser: Any, page: Path, picture: Path) -> int:
    """Save what the page shows first, in light colours and few of them; its size in bytes."""
    context = browser.new_context(viewport={"width": WIDTH, "height": HEIGHT}, color_scheme="light")
    with tempfile.TemporaryDirectory() as folder:
        raw = Path(folder) / "raw.png"
        tab = context.new_page()
        tab.goto(page.resolve().as_uri())
        tab.screenshot(path=str(raw))
        context.close()
        # Text and lines in a few tones need no more colours than a palette has, and half of the bytes.
        Image.open(raw).convert("RGB").quantize(256, dither=Image.Dither.NONE).save(picture, optimize=True)
    return picture.stat().st_size


def main() -> None:
    """Parse, take, and complain if the picture is too large."""
    from playwright.sync_api import sync_playwright

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("page", type=Path)
    parser.add_argument("picture", type=Path)
    options = parser.parse_args()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=list(ARGUMENTS))
        size = take(browser, options.page, options.picture)
        browser.close()
    print(f"{options.picture}: {size:,} bytes")
    if size > LARGEST:
        raise SystemExit(f"it may have {LARGEST:,} at most")


if __name__ == "__main__":
    main()
