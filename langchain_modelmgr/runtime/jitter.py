"""Random pauses that leave the state of Python's ``random`` module as programs seeded it."""

from __future__ import annotations

import random

uniform = random.SystemRandom().uniform
"""Returns a number between two others; threads and forked children never repeat each other's."""
