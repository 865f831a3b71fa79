"""The fixed views; the random ones are tested by what is trained on them."""

import pytest
import torch

from fewshot_bn.adapters.tuning.views import FIXED_VIEWS, fixed_view


@pytest.mark.parametrize(("height", "width"), [(32, 32), (15, 24), (1, 1), (2, 3)])
def test_the_centre_is_enlarged_about_the_middle(height, width):
    """A ramp comes out as a ramp of 7/8 of the slope (of what is left after rounding), but for the border."""
    ramp = torch.arange(width, dtype=torch.float64).expand(2, 3, 3, height, width).contiguous()
    kept = max(1, round(7 / 8 * width))
    left = (width - kept) // 2
    places = (torch.arange(width, dtype=torch.float64) + 0.5) * kept / width - 0.5
    expected = left + places.clamp(0, kept - 1)
    assert torch.allclose(fixed_view(ramp, "centre"), expected.expand_as(ramp))


def test_a_mirror_image_is_mirrored():
    x = torch.rand(2, 3, 3, 4, 5)
    assert torch.equal(fixed_view(x, "flip")[1, 2, 0, :, 0], x[1, 2, 0, :, 4])
    assert torch.equal(fixed_view(fixed_view(x, "flip"), "flip"), x)


@pytest.mark.parametrize("name", ["none", *FIXED_VIEWS])
def test_a_view_leaves_the_images_alone_and_keeps_their_kind(name):
    x = torch.rand(2, 3, 3, 4, 5, dtype=torch.float64)
    before = x.clone()
    seen = fixed_view(x, name)
    assert torch.equal(x, before)
    assert (seen.shape, seen.dtype) == (x.shape, x.dtype)
