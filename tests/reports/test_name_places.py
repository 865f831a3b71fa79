import numpy as np
import pytest

from fewshot_bn.reports.name_places import GAPS, MARK, free_places

FRAME = np.array([0.0, 0.0, 200.0, 150.0])
SIZE = np.array([22.0, 8.0])


def overlap(one, other):
    """The area of two boxes (left, bottom, right, top)."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    return max(0.0, width) * max(0.0, height)


def boxes(places, sizes):
    return np.concatenate([places, places + sizes], axis=1)


def names_of(marks):
    sizes = np.tile(SIZE, (len(marks), 1))
    return boxes(free_places(marks, sizes, FRAME), sizes)


def test_a_point_by_itself_has_its_name_at_its_upper_right():
    (box,) = names_of(np.array([[50.0, 60.0]]))
    assert box.tolist() == [50 + GAPS[0], 60 + GAPS[0], 50 + GAPS[0] + 22, 60 + GAPS[0] + 8]


@pytest.mark.parametrize("corner", [(0.0, 0.0), (200.0, 0.0), (0.0, 150.0), (200.0, 150.0)])
def test_a_name_stays_within_the_frame(corner):
    (box,) = names_of(np.array([corner]))
    assert (box[:2] >= 0).all()
    assert (box[2:] <= FRAME[2:]).all()


def test_names_of_points_close_to_each_other_cover_neither_each_other_nor_the_marks(fresh_seed):
    rng = np.random.default_rng(np.random.Philox(fresh_seed))
    marks = np.array([100.0, 75.0]) + rng.uniform(-12, 12, (7, 2))
    found = names_of(marks)
    others = [*boxes(marks - MARK, np.full((7, 2), 2 * MARK))]
    naive = boxes(marks + GAPS[0], np.tile(SIZE, (7, 1)))

    def covered(named):
        return sum(overlap(a, b) for i, a in enumerate(named) for b in [*named[:i], *others])

    assert covered(found) < 0.25 * covered(naive)


def test_points_at_one_place_have_names_beside_each_other():
    found = names_of(np.full((8, 2), 75.0))
    assert not any(overlap(a, b) for i, a in enumerate(found) for b in found[:i])
