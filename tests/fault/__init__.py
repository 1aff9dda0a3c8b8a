"""Faults of the system around a running daemon: calls that fail, memory that is out, disks that are full."""
