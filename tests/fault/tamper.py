"""Calls of the system that strace makes fail, in the daemon and in its decoders: which, with what, and whether it came to pass."""

import collections
import os
import re
import subprocess
from typing import NamedTuple

from conftest import BIN, ROOT

LOADED = os.path.join(os.environ.get("AMBIENTD_BUILD", ROOT / "build"), "tests/fault/hungry.so")

# What a kernel can answer. A number is what a call returns without having done anything: a read where a file was cut, a write of
# nothing. Behind "|": where the descriptor is a socket, pipe or event, on which disks have no say. Not here: epoll_ctl, of which libuv
# answers every error with abort(); munmap, which the C library aborts for where it gives whole maps back, and those never fail.
ERRORS = {call: tuple(part.split() for part in (text + " |").split("|")[:2]) for call, text in {
    "openat": "EIO EINTR EMFILE ENOMEM ESTALE ENOSPC EDQUOT",
    "openat2": "EIO EINTR EMFILE ENOMEM ESTALE",
    "read": "EIO EINTR ESTALE 0 | EINTR",
    "pread64": "EIO EINTR ESTALE 0",
    "write": "EIO EINTR ENOSPC EDQUOT ESTALE 0 | EINTR",
    "pwrite64": "EIO EINTR ENOSPC EDQUOT ESTALE 0",
    "mmap": "ENOMEM EAGAIN",
    "mprotect": "ENOMEM",
    "madvise": "EIO EAGAIN ENOMEM",
    "fdatasync": "EIO EINTR ENOSPC EDQUOT ESTALE",
    "fsync": "EIO EINTR ENOSPC EDQUOT ESTALE",
    "rename": "EIO ENOSPC EDQUOT ENOMEM ESTALE",
    "unlink": "EIO EDQUOT ENOMEM ESTALE",
    "memfd_create": "EMFILE ENOMEM",
    "fcntl": "EINTR ENOMEM | EINTR ENOMEM",
    "fallocate": "EIO EINTR ENOSPC EDQUOT ENOMEM",
    "ftruncate": "EIO EINTR ENOSPC EDQUOT",
    "newfstatat": "EIO ENOMEM ESTALE",
    "fstatfs": "EIO EINTR ENOMEM ESTALE",
    "mkdir": "EIO ENOSPC EDQUOT ENOMEM ESTALE",
    "getdents64": "EIO ENOMEM ESTALE",
    "flock": "EINTR ENOMEM",
    "close": "EIO EINTR ENOSPC EDQUOT",
    "clone3": "EAGAIN ENOMEM",
    "eventfd2": "EMFILE ENOMEM",
    "epoll_create1": "EMFILE ENOMEM",
    "pipe2": "EMFILE ENOMEM",
    "socket": "EMFILE ENOMEM",
    "bind": "| EIO ENOSPC EDQUOT ENOMEM",
    "accept4": "| EAGAIN EINTR EMFILE ENOMEM",
    "sendmsg": "| EAGAIN EINTR ENOMEM",
    "recvfrom": "| EAGAIN EINTR ENOMEM",
}.items()}
LINE = re.compile(r"(?P<pid>\d+)<(?P<name>[^>]*)> (?P<call>\w+)\((?P<rest>(?:\d+<(?P<fd>[^>]*))?.*)")
STREAM = ("socket:", "pipe:", "anon_inode:")


class Call(NamedTuple):
    """A line of strace's: a call as it began, or as a fault answered it."""

    pid: int
    name: str  # of the thread
    call: str
    is_stream: bool
    error: str | None  # injected

    @property
    def possible(self):
        return ERRORS[self.call][self.is_stream]


def traced(path, calls, inject=None, at_once=False):
    """Options of a Daemon whose `calls` strace follows from main on: what the loader calls is the C library's to answer.

    at_once: from the beginning, where the loader makes none of them: strace then stops at these calls alone, which is faster.
    """
    words = ["strace", "-f", "-y", "--decode-pids=comm", "-qq", "-o", str(path), "-e", f"trace={','.join(calls)}"]
    words += ["-e", f"inject={inject}"] if inject else []
    if at_once:
        return {"prefix": [*words, "-D", "--seccomp-bpf"]}
    return {"env": {**os.environ, "LD_PRELOAD": LOADED, "AMBIENTD_TRACER": f'{" ".join(words)} -p $PPID &'}}


def read(path):
    """Calls in the order of their beginnings, and the signals that ended processes."""
    calls, ends = [], []
    for line in path.read_text(errors="replace").splitlines():
        if killed := re.search(r"\+\+\+ killed by (SIG\w+)", line):
            ends.append(killed[1])
        elif (found := LINE.match(line)) and found["call"] in ERRORS:
            error = re.search(r"= (?:-1 (E\w+) .*|(\d+) )\(INJECTED\)", line)
            calls.append(Call(int(found["pid"]), found["name"], found["call"], (found["fd"] or "").startswith(STREAM),
                              error and (error[1] or error[2])))
    return calls, ends


def places(calls):
    """{call: {n: errors that fit}} of the n-th calls of any thread: strace counts in each of them."""
    counts, found = collections.Counter(), collections.defaultdict(dict)
    for call in calls:
        counts[call.pid, call.call] += 1
        if call.possible:
            found[call.call].setdefault(counts[call.pid, call.call], set()).update(call.possible)
    return found


def loads(path):
    """Calls that the loader makes."""
    subprocess.run([*traced(path, ERRORS, at_once=True)["prefix"], BIN, "--version"], check=True, stdout=subprocess.DEVNULL)
    return {call.call for call in read(path)[0]}
