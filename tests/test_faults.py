"""Suites R7, R8 and R9 on the running daemon: calls that fail, memory that is out, disks that are full. -s prints the figures;
AMBIENTD_SOAK=1 takes a night's sizes. Inside one process: lib/annotate/test-store-crash.c, tests/fault/test-hunger.c."""

import resource

import pytest

import wire

from conftest import Daemon, Died

pytestmark = pytest.mark.slow  # kills no address: strace and sanitizers do not go together

def ends_in_order(died):
    """Before it served: an exit status that --help has, and why."""
    assert died.daemon.process.returncode == 1 and "ambientd: " in died.daemon.log(), str(died)


def test_a_start_with_few_descriptors_ends_with_a_message(tmp_path, shards):
    """Every number of them from what the loader needs to what is enough to serve, and none of the two ends the process by a signal."""
    for n in range(4, 200):
        try:
            one = Daemon(tmp_path / str(n), shards, "--workers", 1, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (n, n)))
        except Died as died:
            if "loading shared libraries" not in str(died):
                ends_in_order(died)
            continue
        with one.client() as client:
            client.call(wire.STATUS, {})
        assert one.stop() == 0
        break
    print(f"\n{n} descriptors are enough")
