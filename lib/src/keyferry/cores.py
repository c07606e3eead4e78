"""Keeps the memory of a process that holds secrets to itself: no core dump, no reading by others of the same user."""

from __future__ import annotations

import ctypes
import logging
import os
import resource

log = logging.getLogger(__name__)

_PR_SET_DUMPABLE = 4  # linux/prctl.h


def forbid() -> None:
    """Have the kernel write no core of this process, and let nobody but root read its memory (prctl(2), ptrace(2))."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # A limit alone does not hold where core_pattern pipes cores to a program (core(5)).
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) != 0:
        log.warning("core dumps cannot be forbidden: %s", os.strerror(ctypes.get_errno()))
