"""Whether a recorder lives: content and lock of its file change in one step, however it ends."""

import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from common.recorder_state import FOLDER, RecorderFile, RecorderState, known_recorders, read_state
from common.store import Store

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
RECORDING = RecorderState(recording=True, since=NOON, clock_offset=1.25)
WAITING = RecorderState(recording=False, since=NOON, reason="The stream is offline.")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def test_what_a_recorder_says_is_read(store: Store) -> None:
    """Each word takes the place of the last one; after the end it stays, and its recorder is gone."""
    assert read_state(store, "chan", "source") is None
    file = RecorderFile(store, "chan", "source")
    for state in (RECORDING, WAITING):
        file.write(state)
        assert read_state(store, "chan", "source") == (state, True)
    file.close()
    assert read_state(store, "chan", "source") == (WAITING, False)
    assert known_recorders(store) == [("chan", "source")]
    assert store.channels() == []


def test_next_recorder_takes_over(store: Store) -> None:
    """A recorder that starts needs nothing of the one before, dead or alive, and does not see the end of that one."""
    first, second = (RecorderFile(store, "chan", "source") for _ in range(2))
    first.write(RECORDING)
    second.write(WAITING)
    first.close()
    assert read_state(store, "chan", "source") == (WAITING, True)
    second.close()


def test_killed_recorder_is_gone(store: Store) -> None:
    """Kill -9 leaves the last word, and that nobody stands behind it any more."""
    code = (
        "import sys; from pathlib import Path; from datetime import UTC, datetime\n"
        "from common.recorder_state import RecorderFile, RecorderState; from common.store import Store\n"
        "file = RecorderFile(Store(Path(sys.argv[1])), 'chan', 'source')\n"
        "file.write(RecorderState(recording=True, since=datetime(2026, 3, 1, 12, tzinfo=UTC), clock_offset=1.25))\n"
        "print('written', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(store.base)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "written\n"
        assert read_state(store, "chan", "source") == (RECORDING, True)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert read_state(store, "chan", "source") == (RECORDING, False)


@pytest.mark.parametrize(
    "text", [b"", b"{", b"[]", b'{"recording": true}', b'{"recording": 1, "since": "soon"}', b"[" * 20_000]
)
def test_what_is_no_word_is_none(store: Store, text: bytes) -> None:
    """A file that cannot be read is as if there were none."""
    file = RecorderFile(store, "chan", "source")
    file.write(RECORDING)
    (store.base / FOLDER / "chan" / "source").write_bytes(text)
    assert read_state(store, "chan", "source") is None
    file.close()


def test_failure_leaves_the_last_word(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the disk refuses the new word the old one stands, and nothing is left beside it."""
    file = RecorderFile(store, "chan", "source")
    file.write(RECORDING)

    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(OSError, match="No space left"):
        file.write(WAITING)
    assert read_state(store, "chan", "source") == (RECORDING, True)
    assert [path.name for path in (store.base / FOLDER / "chan").iterdir()] == ["source"]
    file.close()
