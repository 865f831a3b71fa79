"""What norm tuning can be asked for."""

import pytest

from fewshot_bn.adapters import ADAPTERS
from fewshot_bn.adapters.tuning.norms import NormTuning
from fewshot_bn.errors import UsageError


def test_epochs_count_the_smaller_last_batch():
    cdfsl = ADAPTERS["bn-cdfsl"]
    assert [cdfsl.n_steps(5 * shots) for shots in (5, 20, 50)] == [700, 2500, 6300]
    assert NormTuning().n_steps(25) == 50


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": 0}, "steps and epochs are 0, so head=zero would never learn anything; set one of them"),
        ({"epochs": 3}, "steps is 50 and epochs is 3; only one of them can be above 0"),
        ({"label_smoothing": 1.0}, "label_smoothing is 1.0; it must be at least 0 and below 1"),
        ({"dampening": 0.5, "optimiser": "adam"}, "dampening needs optimiser=sgd"),
        ({"norm": "layer", "statistics": "batch"}, "statistics=batch is a policy of BatchNorm; norm=layer keeps none"),
        ({"augment": "flop"}, r"unknown view 'flop' \(did you mean 'flip'\?\)"),
        ({"test_augment": "crop"}, "unknown view 'crop'; choose from: flip, centre"),
        ({"lr_norm": 1e38}, r"lr_norm is 1e\+38; it must be at most 1e\+20"),
        ({"average_frozen": True}, "average_frozen needs a readout other than head"),
        ({"lr_head": 0.0}, "head=zero with lr_head=0 would never learn anything"),
        ({"augment": "flip,flip"}, "the views are 'flip,flip'; name each once"),
        ({"C": 0.0}, "C is 0.0; it must be a finite number above 0"),
        ({"batch_size": -1}, "batch_size is -1"),
        ({"steps": 10**20}, "steps is 100000000000000000000; it must be at most 1,000,000,000"),
    ],
    ids=str,
)
def test_settings_that_make_no_sense(settings, message):
    with pytest.raises(UsageError, match=message):
        NormTuning(**settings)
