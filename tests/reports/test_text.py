import math

import pytest

from fewshot_bn.reports.text import percent
from fewshot_bn.results.statistics import Estimate


@pytest.mark.parametrize(
    ("found", "signed", "text"),
    [
        (Estimate(0.81234, 0.0074, 200), False, "81.23 ± 0.74"),
        (Estimate(0.0123, 0.5, 2, (0.5, 0.46)), True, "+1.23 ± 50.00"),
        (Estimate(0.9973, 0.0174, 3, (0.0174, 0.0024)), False, "99.73 ± 1.74 [97.99, 99.97]"),
        (Estimate(-0.1, 1.2, 2, (0.9, 1.1)), True, "-10.00 ± 120.00 [-100.00, +100.00]"),
        (Estimate(0.5, math.inf, 1), False, "50.00 ± ?"),
    ],
)
def test_an_estimate_in_percent(found, signed, text):
    assert percent(found, signed=signed) == text
