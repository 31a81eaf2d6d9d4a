"""The downloader as a process that is measured from outside, by /proc."""

import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = resource.getpagesize()


@dataclass(frozen=True, slots=True)
class Downloader:
    """A running downloader; `log` is the file of its log."""

    process: "subprocess.Popen[bytes]"
    log: Path

    def cpu(self) -> float:
        """Give the seconds of processor's time that it has taken."""
        # behind the name, which may hold spaces: utime and stime are fields 14 and 15 of all (proc(5))
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    def memory(self) -> int:
        """Give the bytes of its own that it has in memory."""
        resident, shared = Path(f"/proc/{self.process.pid}/statm").read_text().split()[1:3]
        return (int(resident) - int(shared)) * _PAGE


@contextmanager
def downloader(base: Path, channels: Sequence[str]) -> Iterator[Downloader]:
    """Record channels (`NAME=URL`) into a store."""
    with tempfile.TemporaryDirectory(prefix="respool-bench-") as folder:
        log = Path(folder, "log")
        command = [sys.executable, "-m", "downloader", "--base-dir", str(base), *channels]
        with log.open("wb") as file, subprocess.Popen(command, stderr=file, stdout=subprocess.DEVNULL) as process:
            try:
                yield Downloader(process, log)
            finally:
                process.terminate()
