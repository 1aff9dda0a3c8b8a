"""Eleven attacks on the shared memory of one's own session, run under another uid.

Each returns "refused NAME" or what it could do. All that it can do lies within the attacker's own slots.
"""

import ctypes
import errno
import fcntl
import hashlib
import json
import mmap
import os
import socket

import wire

F_ADD_SEALS, F_GET_SEALS = 1033, 1034
SEAL_SEAL, SEAL_SHRINK, SEAL_GROW, SEAL_WRITE, SEAL_FUTURE_WRITE, SEAL_EXEC = 1, 2, 4, 8, 16, 32
PUNCH_HOLE, COLLAPSE, KEEP_SIZE = 2, 8, 1
MADV_REMOVE = 9
libc = ctypes.CDLL(None, use_errno=True)


def fallocate(fd, mode, offset, length):
    if libc.fallocate(fd, mode, ctypes.c_long(offset), ctypes.c_long(length)) < 0:
        raise OSError(ctypes.get_errno(), "fallocate")


def shrink(fd, size):
    os.ftruncate(fd, size // 2)


def grow(fd, size):
    os.ftruncate(fd, size * 2)


def reopen_and_truncate(fd, size):
    os.close(os.open(f"/proc/self/fd/{fd}", os.O_RDWR | os.O_TRUNC))
    if os.fstat(fd).st_size == size:
        raise OSError(errno.EPERM, "nothing was cut")


def seal_write(fd, size):
    fcntl.fcntl(fd, F_ADD_SEALS, SEAL_WRITE)


def seal_future_write(fd, size):
    fcntl.fcntl(fd, F_ADD_SEALS, SEAL_FUTURE_WRITE)


def grow_by_fallocate(fd, size):
    fallocate(fd, 0, size, 1 << 20)


def punch_holes(fd, size):
    fallocate(fd, PUNCH_HOLE | KEEP_SIZE, 0, size)


def collapse(fd, size):
    fallocate(fd, COLLAPSE, 0, 4096)


def write_everywhere(fd, size):
    for offset in range(0, size, 1 << 20):
        os.pwrite(fd, b"\xff" * min(1 << 20, size - offset), offset)


def scribble_and_remove(fd, size):
    """Through a map of our own, then MADV_REMOVE, which punches holes where the file system can."""
    with mmap.mmap(fd, size) as area:
        area[:] = b"\xaa" * size
        address = ctypes.addressof(ctypes.c_char.from_buffer(area))
        if libc.madvise(ctypes.c_void_p(address), ctypes.c_size_t(size), MADV_REMOVE) < 0:
            raise OSError(ctypes.get_errno(), "madvise")


def execute(fd, size):
    os.fchmod(fd, 0o777)
    raise OSError(0, "the mode could be changed")


ATTACKS = [shrink, grow, reopen_and_truncate, seal_write, seal_future_write, grow_by_fallocate, punch_holes, collapse,
           write_everywhere, scribble_and_remove, execute]
REFUSED = {"shrink", "grow", "reopen_and_truncate", "seal_write", "seal_future_write", "grow_by_fallocate", "collapse"}


def attack(path, uid, sizes, n_rounds):
    """Subscribe as `uid`; each round: every slot is lent and read, then come all attacks, then the slots go back.

    The answer has what each attack came to, and the digests of the batches, which tell whether the daemon still writes
    what it should into slots that were scribbled over and full of holes.
    """
    os.setgroups([])
    os.setgid(uid)
    os.setuid(uid)
    client = wire.Client(path)
    request = client.new_id()
    client.send(wire.frame(wire.SUBSCRIBE, json.dumps(sizes).encode(), request))
    reply = json.loads(client.answer(request).payload)
    fd = client.fds.pop()
    size = os.fstat(fd).st_size
    before = fcntl.fcntl(fd, F_GET_SEALS)
    area = mmap.mmap(fd, size)
    came_to, digests = {}, []
    for _ in range(n_rounds):
        lends = [wire.decode_lend(client.event()) for _ in range(reply["slots"])]
        for lend in lends:
            base = lend.slot * reply["slot_bytes"]
            parts = (area[base + f["offset"]:base + f["offset"] + f["bytes"]] for f in reply["fields"])
            digests.append(hashlib.sha256(b"".join(parts)).hexdigest())
        for one in ATTACKS:
            try:
                one(fd, size)
                came_to[one.__name__] = "done"
            except OSError as error:
                came_to[one.__name__] = f"refused {errno.errorcode.get(error.errno, error.strerror)}"
        for lend in lends:
            client.send(wire.frame(wire.DONE, lend.slot.to_bytes(8, "little"), 0))
    return {"came_to": came_to, "digests": digests, "size_kept": os.fstat(fd).st_size == size,
            "seals_kept": fcntl.fcntl(fd, F_GET_SEALS) == before, "seals": before, "uid": os.getuid()}
