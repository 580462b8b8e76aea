"""The one round of the samplers that learn nothing from finished trials."""

from __future__ import annotations

import sys

# All trials there may ever be.
ONE_ROUND = range(sys.maxsize)
