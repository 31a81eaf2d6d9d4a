"""An empty page with hls.js, as the restreamer brings it, in a real browser."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from chromium import MISSING, chromium, executable
from playwright.async_api import Page

from restreamer.main import PAGES

PATIENCE_MS = 60_000  # far more than any step takes


@asynccontextmanager
async def hls_page(url: str) -> AsyncIterator[Page]:
    """Open an empty page with hls.js, of the origin of our server at `url`."""
    if executable() is None:
        pytest.skip(MISSING)
    if not (PAGES / "vendor/hls.min.js").is_file():
        pytest.skip("The player is not there yet; build the wheel, which lays it into restreamer/web/vendor.")
    async with chromium() as browser:
        page = await browser.new_page()
        page.set_default_timeout(PATIENCE_MS)
        await page.goto(f"{url}/health")
        await page.add_script_tag(url=f"{url}/web/vendor/hls.min.js")
        yield page
