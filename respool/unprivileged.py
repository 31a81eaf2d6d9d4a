"""Becomes a command that ends when its parent does, and that is never root.

    python -I -S unprivileged.py PARENT UID GID FOLDER COMMAND [ARGUMENT ...]

PARENT is the process that must live; when it is gone, however it went, COMMAND gets SIGINT. Started by root, COMMAND
runs as UID and GID, to whom FOLDER belongs. What lies above FOLDER or COMMAND may be closed to UID (a home, /root):
instead of opening those folders to the whole machine, COMMAND then keeps the one capability that passes them.

A program of its own because it must happen between fork and exec, where a process with threads may run no Python.
"""

import ctypes
import os
import signal
import sys

# linux/prctl.h, linux/securebits.h and linux/capability.h
_PR_SET_PDEATHSIG = 1
_PR_SET_SECUREBITS, _SECBIT_NO_SETUID_FIXUP = 28, 1 << 2
_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE = 47, 2
_CAP_DAC_OVERRIDE, _CAP_DAC_READ_SEARCH = 1, 2
_CAPABILITY_VERSION_3 = 0x20080522

_libc = ctypes.CDLL(None, use_errno=True)


def main(parent: str, uid: str, gid: str, folder: str, *command: str) -> None:
    """Drop what root has, tie ourselves to the parent, and become the command."""
    if os.geteuid() == 0:
        _drop(int(uid), int(gid), folder, command[0])
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGINT, 0, 0, 0)  # after setuid, which would clear it
    if os.getppid() != int(parent):
        sys.exit("the parent ended before its child began")
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # Python ignores it, and that would be inherited
    os.execv(command[0], command)  # noqa: S606 - to become the command, without a shell, is what we are for


def _drop(uid: int, gid: int, folder: str, program: str) -> None:
    """Root no more; with the capability to pass closed folders only if it is needed and to be had."""
    os.setgroups([])
    os.setgid(gid)
    os.seteuid(uid)  # for the question only
    closed = not (os.access(program, os.X_OK, effective_ids=True) and os.access(folder, os.W_OK, effective_ids=True))
    os.seteuid(0)
    if not closed:
        os.setuid(uid)
        return
    # So that capabilities outlive setuid, and that access(2), which initdb asks about its programs, heeds them.
    _libc.prctl(_PR_SET_SECUREBITS, _SECBIT_NO_SETUID_FIXUP, 0, 0, 0)
    os.setuid(uid)
    # Containers often have only the second, which may write as well; without either the command fails and says so.
    for capability in (_CAP_DAC_READ_SEARCH, _CAP_DAC_OVERRIDE):
        if _keep_only(1 << capability):
            _libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, capability, 0, 0)
            return
    _keep_only(0)


def _keep_only(capabilities: int) -> bool:
    """Whether we now have these capabilities, as bits, and no others."""
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    low_and_high = (ctypes.c_uint32 * 6)(capabilities, capabilities, capabilities, 0, 0, 0)
    return bool(_libc.capset(header, low_and_high) == 0)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except OSError as error:
        sys.exit(f"{sys.argv[5]} cannot be run as user {sys.argv[2]}, {error.strerror}; an ordinary user's Respool can")
