"""A script that takes on an identity, ties itself to its parent's life, and becomes a PostgreSQL program.

``python launch.py PARENT_PID IDENTITY DIRECTORY PROGRAM ARGUMENT...``. It does what would otherwise happen
between fork and exec in a copy of a threaded parent. It imports the standard library only, and no package.
"""

from __future__ import annotations

import ctypes
import os
import pwd
import signal
import struct
import sys

_REFUSED = 97  # exit code: this identity is not to be had here, or cannot reach what it needs

_CLONE_NEWUSER = 0x10000000
_PR_SET_PDEATHSIG = 1
_PR_SET_SECUREBITS = 28
_SECBIT_NO_SETUID_FIXUP = 1 << 2
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_RAISE = 2
_CAP_DAC_OVERRIDE = 1
_CAPABILITY_VERSION_3 = 0x20080522


def _become(identity: str) -> None:
    if identity.isdigit():
        _change_user(int(identity))
    if identity == "namespace" and not _enter_namespace():
        raise PermissionError("user namespaces are refused here")
    if identity != "namespace" and not _is_named(os.geteuid()):
        # initdb wants a user name, which container platforms that invent user ids do not give; within a
        # namespace the user is called nobody. Where that is refused, initdb says what it misses.
        _enter_namespace()


def _change_user(uid: int) -> None:
    if sys.platform == "linux":
        # Else the change would take every capability, and access(), which initdb asks, would count none.
        ctypes.CDLL(None).prctl(_PR_SET_SECUREBITS, _SECBIT_NO_SETUID_FIXUP)
    os.setgroups([])
    os.setgid(uid)
    os.setuid(uid)
    if sys.platform == "linux":
        _keep_one_capability()


def _keep_one_capability() -> None:
    # The checkout and the data may lie where only root can look, in /root for one. Where this capability is
    # not to be had either, none is kept, and the caller finds out by trying.
    libc = ctypes.CDLL(None)
    header = struct.pack("Ii", _CAPABILITY_VERSION_3, 0)
    only = 1 << _CAP_DAC_OVERRIDE
    if libc.capset(header, struct.pack("6I", only, only, only, 0, 0, 0)) == 0:
        libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, _CAP_DAC_OVERRIDE, 0, 0)
    elif libc.capset(header, struct.pack("6I", 0, 0, 0, 0, 0, 0)) != 0:
        raise PermissionError("root's capabilities cannot be laid down here")


def _enter_namespace() -> bool:
    if sys.platform != "linux":
        return False
    return int(ctypes.CDLL(None).unshare(_CLONE_NEWUSER)) == 0


def _is_named(uid: int) -> bool:
    try:
        pwd.getpwuid(uid)
    except KeyError:
        return False
    return True


def _try_to_write() -> None:
    name = f".probe-{os.getpid()}"  # access() would not count the capability
    os.close(os.open(name, os.O_CREAT | os.O_WRONLY, 0o600))
    os.unlink(name)


def _die_with(parent_pid: int) -> None:
    # After the change of identity, which clears the setting. SIGINT is PostgreSQL's fast, clean shutdown.
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGINT)
    if os.getppid() != parent_pid:
        sys.exit(_REFUSED)  # the parent died before the line above took hold


def main(argv: list[str]) -> None:
    """Take on the identity, then become the program; exits with 97 where that cannot be."""
    parent_pid, identity, directory, *program = argv
    try:
        _become(identity)
        os.chdir(directory)
        _try_to_write()
        _die_with(int(parent_pid))
        os.execv(program[0], program)  # noqa: S606
    except OSError as error:
        print(error, file=sys.stderr)
        sys.exit(_REFUSED)


if __name__ == "__main__":
    main(sys.argv[1:])
