"""What the records of measurements hold can still be read."""

import pytest
from reference.places import ROOT

from fewshot_bn.results.reading import read_result


@pytest.mark.parametrize("path", sorted((ROOT / "benchmarks" / "results").rglob("*.json")), ids=lambda path: path.name)
def test_records_can_still_be_read(path):
    assert len(read_result(path)) > 0
