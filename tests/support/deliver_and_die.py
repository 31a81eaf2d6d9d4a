"""Delivers a video, and is killed in the middle of it: deliver_and_die.py CONFIG FOLDER SIZE SESSION."""

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

from cutter.locations import Session, local
from cutter.locations.config import load
from delivery import MIB, make_video


async def main(config: Path, folder: Path, size: int, kept: Path) -> None:
    local._COPY_BYTES = MIB // 4  # type: ignore[misc]  # else it goes in one piece

    async def keep(session: Session) -> None:
        kept.write_text(json.dumps(session))

    def die(share: float) -> None:
        if share > 0.3:
            os.kill(os.getpid(), signal.SIGKILL)

    async with load(config)["place"] as location:
        await location.deliver(make_video(folder, size=size), None, keep=keep, progress=die)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4])))
