"""Where things lie: the checkout, the cards of the tests, and the real images and weights, which may be absent."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CARDS = ROOT / "tests" / "cards"
SHARED = Path(os.environ.get("FEWSHOT_BN_SHARED") or ROOT.parent / "shared")

needs_shared = pytest.mark.skipif(
    not (SHARED / "data").is_dir(), reason=f"the real images and weights are not in {SHARED}"
)
