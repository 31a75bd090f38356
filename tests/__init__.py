"""The project's own tests: packages that mirror the source, and others for what crosses it."""

import os
from pathlib import Path

ROOT = Path(__file__).parents[1]
"""The checkout."""

SEED = int(os.environ.get("ROSEY_SEED", "20231114"))
"""What is drawn where tests draw: places to kill at, requests, protocol blocks, sessions."""
