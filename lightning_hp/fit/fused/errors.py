"""What a fused fit cannot do."""

from __future__ import annotations


class CannotFuseError(Exception):
    """These models cannot be trained as one. The message says why, to stand behind ``not fused:``."""
