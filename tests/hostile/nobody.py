"""A daemon without privileges, for what root would be allowed: folders that such a user reaches, and the start in them."""

import contextlib
import json
import os
import pathlib
import resource
import shutil
import tempfile

from conftest import BIN, Daemon

UID = 65534


@contextlib.contextmanager
def open_folder():
    """A folder below /tmp that other users can reach."""
    folder = pathlib.Path(tempfile.mkdtemp(dir="/tmp", prefix="ambientd-test-"))
    try:
        folder.chmod(0o755)
        yield folder
    finally:
        shutil.rmtree(folder)


def serve(folder, config, files=None):
    """A daemon that runs as nobody in folder/home, with a copy of the binary that it can reach; files: RLIMIT_NOFILE.

    config: what is beside the socket and the cache. Needs root; whoever starts it ends it.
    """
    shutil.copy(BIN, folder / "ambientd")
    home = folder / "home"
    home.mkdir()
    os.chown(home, UID, UID)
    (folder / "c.json").write_text(json.dumps({"socket": str(home / "s"), "cache_dir": str(home / "index"), **config}))

    def become_nobody():
        if files is not None:
            resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
        os.setgroups([])
        os.setgid(UID)
        os.setuid(UID)

    return Daemon(home, "--config", folder / "c.json", preexec_fn=become_nobody, binary=str(folder / "ambientd"))
