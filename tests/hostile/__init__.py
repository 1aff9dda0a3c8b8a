"""Hostile clients: a kit of those that take without giving, and of the instruments to see what they cost others.

Sizes are those of every run; AMBIENTD_SOAK=1 takes those of a night, AMBIENTD_SOAK=0.05 a twentieth of them, but never less
than every run (tests/soak.sh chooses).
"""

import os

SHARE = float(os.environ.get("AMBIENTD_SOAK") or 0)
SOAK = SHARE > 0


def size(ci, night):
    return max(ci, type(ci)(night * SHARE)) if SOAK else ci
