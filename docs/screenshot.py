"""Make docs/page.png: the page, in a headless Chromium, with half a minute of the demo stream recorded.

.venv/bin/python docs/screenshot.py [FILE]
"""

import asyncio
import contextlib
import signal
import socket
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

from playwright.async_api import Page, ViewportSize

# The browser of the tests.
sys.path.append(str(Path(__file__).parent.parent / "tests/support"))
from chromium import MISSING, chromium, executable

_VIEWPORT: ViewportSize = {"width": 1280, "height": 840}

# Of two seconds each: enough for a timeline to look like one.
_SEGMENTS = 16


@contextlib.asynccontextmanager
async def demo(data: str) -> AsyncIterator[str]:
    """Run everything with the demo stream, for as long as the context lasts; give the page's address."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    command = [sys.executable, "-m", "respool", "up", "--data", data, "--port", str(port), "--log-level", "warning"]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    try:
        if process.stdout is None:
            raise AssertionError("started without a pipe")
        async for line in process.stdout:
            if b"Open http" in line:
                break
        yield f"http://127.0.0.1:{port}/"
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        await process.communicate()


async def recorded(data: str, segments: int) -> None:
    """Wait until so many segments of the demo stream are on disk."""
    folder = Path(data) / "segments" / "demo" / "source"
    while len(list(folder.glob("*/*-full-*.ts"))) < segments:  # noqa: ASYNC110 - nothing tells of new files
        await asyncio.sleep(1)


async def watched(page: Page, seconds: float) -> None:
    """Wait until the player has played on for so long."""
    since = await page.evaluate("document.querySelector('video').currentTime")
    await page.wait_for_function(f"document.querySelector('video').currentTime > {since + seconds}")


async def main(target: Path, segments: int) -> None:
    """Record, watch, mark a piece, and take the picture."""
    if executable() is None:
        raise SystemExit(MISSING)
    with tempfile.TemporaryDirectory() as data:
        async with demo(data) as address, chromium() as browser:
            await recorded(data, segments)
            page = await browser.new_page(viewport=_VIEWPORT, bypass_csp=True)  # it is looked into with scripts
            await page.goto(address)
            await watched(page, 1.0)
            await page.keyboard.press("Shift+ArrowLeft")
            await watched(page, 1.0)
            await page.keyboard.press("i")
            await watched(page, 5.0)
            await page.keyboard.press("o")
            for picture in ("#start-still", "#end-still", "#sound"):
                await page.locator(picture).wait_for()
            await page.screenshot(path=target)


if __name__ == "__main__":
    asyncio.run(
        main(
            Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("page.png"),
            int(sys.argv[2]) if len(sys.argv) > 2 else _SEGMENTS,  # noqa: PLR2004 - as the usage says
        )
    )
