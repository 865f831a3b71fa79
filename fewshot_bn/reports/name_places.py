"""Where the names of points are written in a picture, so that they cover each other as little as possible.

One name after another takes the place, of those beside and near its point, where it covers least.
Units: any, the same for all; from the lower left corner.
"""

import numpy as np
from jaxtyping import Float64
from numpy import ndarray

MARK = 3.0  # half the side of what a mark takes, in points
GAPS = (5.0, 12.0, 20.0, 30.0)  # points between a mark and its name, the best first
SIDES = np.array([(1, 1), (1, -1), (-1, 1), (-1, -1), (1, 0), (-1, 0), (0, 1), (0, -1)], dtype=np.float64)
OUTSIDE = 4.0  # as bad as so many times the area outside of the frame


def free_places(
    marks: Float64[ndarray, "b 2"], sizes: Float64[ndarray, "b 2"], frame: Float64[ndarray, "4"]
) -> Float64[ndarray, "b 2"]:
    """The lower left corner of each name, which is of this width and height; `frame` is (left, bottom, right, top)."""
    taken = [*np.concatenate([marks - MARK, marks + MARK], axis=1)]
    places = []
    for mark, size in zip(marks, sizes, strict=True):
        corners = np.concatenate([mark + gap * SIDES + size * (SIDES - 1) / 2 for gap in GAPS])
        boxes = np.concatenate([corners, corners + size], axis=1)
        inside = _overlap(boxes, frame[None])[:, 0]
        cost = _overlap(boxes, np.stack(taken)).sum(1) + OUTSIDE * (size.prod() - inside)
        best = int(np.argmin(np.round(cost, 6)))
        taken.append(boxes[best])
        places.append(corners[best])
    return np.stack(places)


def _overlap(boxes: Float64[ndarray, "k 4"], others: Float64[ndarray, "n 4"]) -> Float64[ndarray, "k n"]:
    """The area that each two share."""
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    area: Float64[ndarray, "k n"] = (high - low).clip(min=0).prod(-1)
    return area
