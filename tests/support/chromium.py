"""The Chromium of the system, which plays H.264 and AAC (the one that Playwright brings does not), kept quiet."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from shutil import which

from playwright.async_api import Browser, async_playwright

_NAMES = ("chromium", "chromium-browser", "google-chrome")

# Root may not use Chromium's sandbox, and nothing here leaves this machine. Nothing that a browser does of its own
# accord, and sound, which nobody hears, may play at once.
_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--mute-audio",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--autoplay-policy=no-user-gesture-required",
]

MISSING = "There is no Chromium here that plays H.264; install the package chromium."


def executable() -> str | None:
    """Find it."""
    return next(filter(None, map(which, _NAMES)), None)


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """Run it, without a window. Raises FileNotFoundError if there is none."""
    path = executable()
    if path is None:
        raise FileNotFoundError(MISSING)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=_FLAGS)
        yield browser
        await browser.close()
