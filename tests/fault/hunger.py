"""Memory that is out, where and when a test says so, in a daemon that loads hungry.c."""

import mmap
import os
import struct

from fault.tamper import LOADED


class Hunger:
    """Options of a Daemon, `env`, and the control of its allocations."""

    def __init__(self, path):
        path.write_bytes(bytes(32))
        self.file = open(path, "r+b")
        self.map = mmap.mmap(self.file.fileno(), 32)
        self.env = {**os.environ, "LD_PRELOAD": LOADED, "AMBIENTD_HUNGER": str(path)}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.map.close()
        self.file.close()

    def begin(self, n, for_ever=False):
        """The n-th allocation from now on fails, and all behind it if for_ever."""
        self.map[8:] = struct.pack("<qqq", for_ever, 0, 0)
        self.map[:8] = struct.pack("<q", n)

    def end(self):
        """Nothing fails any more: how many did."""
        self.map[:8] = bytes(8)
        return struct.unpack("<q", self.map[24:])[0]

    @property
    def n_calls(self):
        return struct.unpack("<q", self.map[16:24])[0]
