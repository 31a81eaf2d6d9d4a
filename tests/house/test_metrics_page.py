"""The page of metrics: it is what the services expose."""

import re
import subprocess
import sys
from pathlib import Path


def test_the_page_lists_what_the_services_expose(root: Path) -> None:
    """docs/metrics.md has the metrics of all services, as they are made when each is started, and no others."""
    command = [sys.executable, str(root / "docs" / "list_metrics.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_page_explains_every_label(root: Path) -> None:
    """Of each label of a metric the page says which values it may have."""
    said, listed = (root / "docs" / "metrics.md").read_text(encoding="utf-8").split("<!-- made by list_metrics.py -->")
    rows = re.findall(r"^\| `respool_\w+` \| \w+ \|([^|]*)\|", listed, re.MULTILINE)
    assert len(rows) > 50
    used = {label for row in rows for label in re.findall(r"`(\w+)`", row)}
    explained = re.findall(r"^\| (`[^|]*) \|", said, re.MULTILINE)
    assert used - {label for row in explained for label in re.findall(r"`(\w+)`", row)} == set()
