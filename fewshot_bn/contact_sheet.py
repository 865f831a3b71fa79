"""A contact sheet: one episode as a picture, with its class names and, where they are given, the predictions.

A band for each class: its name, its support images, then its queries. A query that was taken for the right class has a
green frame, another a red one and below it the name of the class that it was taken for.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, cast

from fewshot_bn.datasets import Dataset
from fewshot_bn.episodes import Episodes
from fewshot_bn.errors import DataError
from fewshot_bn.pixels import Preprocessing, image_of, reason_of, unreadable

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw
    from PIL.ImageFont import FreeTypeFont

SIDE_PX, GAP_PX, FRAME_PX, CAPTION_PX, MARGIN_PX, NAME_PX, HEADER_PX = 88, 8, 3, 29, 20, 150, 62
MOST_SUPPORT, MOST_QUERIES = 5, 15  # in a line
INK, PALE, PAPER, RIGHT, WRONG = "#1a1a1a", "#6b6b6b", "#ffffff", "#1b8a3e", "#c62828"
CELL_PX = SIDE_PX + GAP_PX


def draw_sheet(dataset: Dataset, episodes: Episodes, title: str, predicted: Sequence[int] | None = None) -> "Image":
    """The only episode of `episodes`. `predicted` is the place of the class that each query was taken for, -1: none.

    Raises `DataError` where an image cannot be read.
    """
    from PIL import Image, ImageDraw

    support, query = episodes.support[0], episodes.query[0]
    names = [dataset.class_names[k] for k in episodes.classes[0]]
    n_left, n_right = min(MOST_SUPPORT, support.shape[1]), min(MOST_QUERIES, query.shape[1])
    n_lines = max(-(-support.shape[1] // n_left), -(-query.shape[1] // n_right))
    band_px = n_lines * (CELL_PX + CAPTION_PX) + GAP_PX
    right_px = MARGIN_PX + NAME_PX + n_left * CELL_PX + 2 * GAP_PX
    size = right_px + n_right * CELL_PX + MARGIN_PX, HEADER_PX + len(names) * band_px + MARGIN_PX
    sheet = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((MARGIN_PX, 12), title, INK, _font(17))
    draw.text((MARGIN_PX + NAME_PX, 40), "support", PALE, _font(13))
    draw.text((right_px, 40), _legend(predicted, query.shape), PALE, _font(13))
    for way, name in enumerate(names):
        top = HEADER_PX + way * band_px
        draw.line([(MARGIN_PX, top - GAP_PX // 2), (size[0] - MARGIN_PX, top - GAP_PX // 2)], "#dddddd")
        _write(draw, (MARGIN_PX, top), name, NAME_PX - GAP_PX, lines=5)
        for row, place in zip(support[way].tolist(), _places((MARGIN_PX + NAME_PX, top), n_left), strict=False):
            sheet.paste(_thumbnail(dataset, row), place)
        for i, (row, place) in enumerate(zip(query[way].tolist(), _places((right_px, top), n_right), strict=False)):
            sheet.paste(_thumbnail(dataset, row), place)
            if predicted is not None:
                found = predicted[way * query.shape[1] + i]
                _mark(draw, place, None if found == way else names[found] if found >= 0 else "nothing")
    return sheet


def _legend(predicted: Sequence[int] | None, shape: tuple[int, ...]) -> str:
    if predicted is None:
        return "query"
    n_right = sum(found == k // shape[1] for k, found in enumerate(predicted))
    return f"query: {n_right} of {len(predicted)} right; below a wrong one, what it was taken for"


def _places(start: tuple[int, int], per_line: int) -> Iterator[tuple[int, int]]:
    """Where the images of a block go, line by line."""
    k = 0
    while True:
        yield start[0] + k % per_line * CELL_PX, start[1] + k // per_line * (CELL_PX + CAPTION_PX)
        k += 1


def _thumbnail(dataset: Dataset, row: int) -> "Image":
    try:
        return image_of(dataset.read(row), Preprocessing(SIDE_PX, SIDE_PX))
    except unreadable() as problem:
        raise DataError(
            f"{dataset.name}: image {dataset.ids[row]!r} cannot be read: {reason_of(problem)}; get this file again or "
            "remove it"
        ) from problem


def _mark(draw: "ImageDraw", place: tuple[int, int], taken_for: str | None) -> None:
    """A frame, and below a wrong one what the query was taken for."""
    left, top = place
    box = [left - FRAME_PX, top - FRAME_PX, left + SIDE_PX + FRAME_PX - 1, top + SIDE_PX + FRAME_PX - 1]
    draw.rectangle(box, outline=WRONG if taken_for else RIGHT, width=FRAME_PX)
    if taken_for:
        _write(draw, (left, top + SIDE_PX + FRAME_PX), taken_for, SIDE_PX, lines=2, colour=WRONG, size=11)


def _write(
    draw: "ImageDraw", place: tuple[int, int], text: str, width: int, *, lines: int, colour: str = INK, size: int = 14
) -> None:
    """Text in at most so many lines of so many pixels, cut where it is longer."""
    font = _font(size)
    for line in range(lines):
        last = line == lines - 1
        n = next(n for n in range(len(text), -1, -1) if n <= 1 or font.getlength(text[:n]) <= width)
        if n < len(text) and not last:
            n = max(n // 2, 1 + max(text.rfind(gap, 0, n) for gap in " _")) if _has_gap(text[n // 2 : n]) else n
        part = text[:n] if n == len(text) or not last else text[: n - 1] + "…"
        draw.text((place[0], place[1] + line * (size + 3)), part.strip(), colour, font)
        text = text[n:]


def _has_gap(text: str) -> bool:
    return " " in text or "_" in text


def _font(size: int) -> "FreeTypeFont":
    from PIL import ImageFont

    return cast("FreeTypeFont", ImageFont.load_default(size))
