"""Threads that stay behind everybody else: at the disk and at the processor."""

import ctypes
import os
import platform
import threading
from contextlib import suppress

import structlog

log = structlog.get_logger()

# The system call ioprio_set, which Python has no name for (linux/ioprio.h, and each machine's table of system calls).
_IOPRIO_SET = {"x86_64": 251, "aarch64": 30, "riscv64": 30, "armv7l": 314, "i686": 289, "ppc64le": 273, "s390x": 282}
_WHO_PROCESS, _THIS_THREAD = 1, 0
_CLASS_IDLE = 3 << 13

_LOWEST = 19


def be_quiet() -> None:
    """Make the calling thread the last one to be served, by schedulers that know of it; where none does, nothing."""
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _LOWEST)
    number = _IOPRIO_SET.get(platform.machine())
    if number is None or ctypes.CDLL(None, use_errno=True).syscall(number, _WHO_PROCESS, _THIS_THREAD, _CLASS_IDLE):
        log.info("disk_priority_unchanged", reason=os.strerror(ctypes.get_errno()) if number else platform.machine())
