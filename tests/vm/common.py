"""What the parts of the test bed share."""
import contextlib
import fcntl
import os
import pathlib

PROJECT = pathlib.Path(__file__).resolve().parents[2]
HERE = pathlib.Path(__file__).resolve().parent


class Unavailable(Exception):
    """Something that the test bed needs can't be had on this machine: a reason to skip, not a failure."""


def cache_directory():
    """Where kernels and root disks are kept between runs; created."""
    if os.environ.get("PLOOP_VM_CACHE"):
        cache = pathlib.Path(os.environ["PLOOP_VM_CACHE"])
    elif os.environ.get("XDG_CACHE_HOME"):
        cache = pathlib.Path(os.environ["XDG_CACHE_HOME"]) / "ploop-vm"
    else:
        cache = PROJECT / "build" / "vm"
    cache.mkdir(parents=True, exist_ok=True)
    return cache.resolve()


def system_path():
    """PATH with the directories of system programs, which an ordinary user may not have in it."""
    return os.environ.get("PATH", "/usr/bin:/bin") + ":/usr/sbin:/sbin"


@contextlib.contextmanager
def locked(path):
    """Holds an exclusive lock on the file, so that two runs don't make the same thing."""
    with open(path, "a", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
