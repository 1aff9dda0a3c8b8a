"""Hostile clients: a kit of those that take without giving, and of the instruments to see what they cost others.

Sizes are those of every run; with AMBIENTD_SOAK=1 they are those of a night (tests/test_hostile.py).
"""

import os

SOAK = bool(os.environ.get("AMBIENTD_SOAK"))


def size(ci, night):
    return night if SOAK else ci
