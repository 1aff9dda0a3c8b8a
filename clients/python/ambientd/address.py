"""Address: where the daemon listens, if nobody says so."""
from __future__ import annotations

import os
from typing import Any


def default_address(address: Any) -> str:
    """address (a path, or a Server), else AMBIENTD_SOCKET, else the socket of this user's daemon."""
    if address is not None:
        return os.fspath(getattr(address, "address", address))
    given = os.environ.get("AMBIENTD_SOCKET")
    if given:
        return given
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if runtime:
        folder = os.path.join(runtime, "ambientd")
    elif os.getuid() == 0:
        folder = "/run/ambientd"
    else:
        folder = f"/tmp/ambientd-{os.getuid()}"
    return os.path.join(folder, "ambientd.sock")
