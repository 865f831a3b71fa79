"""A contact sheet: one episode as a picture, with its class names and, where they are given, the predictions.

A band for each class: its name, its support images, then its queries. A query that was taken for the right class has a
green frame, another a red one and below it the name of the class that it was taken for.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple, cast

from fewshot_bn.datasets import Dataset
from fewshot_bn.episodes import Episodes
from fewshot_bn.episodes.episode import NO_ROW
from fewshot_bn.errors import DataError, UsageError
from fewshot_bn.preprocessing import Preprocessing, image_of
from fewshot_bn.raster import reason_of, unreadable

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw
    from PIL.ImageFont import FreeTypeFont

SIDE_PX, GAP_PX, FRAME_PX, CAPTION_PX, MARGIN_PX, NAME_PX, HEADER_PX = 88, 8, 3, 29, 20, 150, 62
CELL_PX = SIDE_PX + GAP_PX
SUPPORT_PX = MARGIN_PX + NAME_PX  # where support images start
MOST_SUPPORT, MOST_QUERIES = 5, 15  # in a line
MOST_PX = 200_000_000  # of a sheet; a pixel takes 3 bytes
INK, PALE, LINE, PAPER, RIGHT, WRONG = "#1a1a1a", "#6b6b6b", "#dddddd", "#ffffff", "#1b8a3e", "#c62828"


class Layout(NamedTuple):
    """How many images are in a line, where queries start, how high a band is, and the size of the sheet."""

    n_left: int
    n_right: int
    right_px: int
    band_px: int
    size: tuple[int, int]

    def top(self, way: int) -> int:
        return HEADER_PX + way * self.band_px


def draw_sheet(dataset: Dataset, episodes: Episodes, title: str, predicted: Sequence[int] | None = None) -> "Image":
    """The only episode of `episodes`. `predicted` is the place of the class that each query was taken for, -1: none.

    Raises `DataError` where an image cannot be read, and `UsageError` for an episode that is too large to be drawn.
    """
    from PIL import Image, ImageDraw

    support, query = (
        [rows[rows != NO_ROW].tolist() for rows in side[0]] for side in (episodes.support, episodes.query)
    )
    taken_for = iter(predicted or ())
    legend = _legend(predicted, [way for way, rows in enumerate(query) for _ in rows])
    layout = _layout(episodes, title, legend)
    sheet = Image.new("RGB", layout.size, PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((MARGIN_PX, 12), title, INK, _font(17))
    draw.text((SUPPORT_PX, 40), "support", PALE, _font(13))
    draw.text((layout.right_px, 40), legend, PALE, _font(13))
    names = [dataset.class_names[k] for k in episodes.classes[0]]
    for way, name in enumerate(names):
        top = layout.top(way)
        draw.line([(MARGIN_PX, top - GAP_PX // 2), (layout.size[0] - MARGIN_PX, top - GAP_PX // 2)], LINE)
        _write(draw, (MARGIN_PX, top), name, NAME_PX - GAP_PX, lines=5)
        for row, place in zip(support[way], _places((SUPPORT_PX, top), layout.n_left), strict=False):
            sheet.paste(_thumbnail(dataset, row), place)
        for row, place in zip(query[way], _places((layout.right_px, top), layout.n_right), strict=False):
            sheet.paste(_thumbnail(dataset, row), place)
            if predicted is not None:
                found = next(taken_for)
                _mark(draw, place, None if found == way else names[found] if found >= 0 else "nothing")
    return sheet


def _layout(episodes: Episodes, title: str, legend: str) -> Layout:
    (_, n_way, n_support), n_query = episodes.support.shape, episodes.query.shape[2]
    n_left, n_right = min(MOST_SUPPORT, n_support), min(MOST_QUERIES, n_query)
    n_lines = max(-(-n_support // n_left), -(-n_query // n_right))
    band_px = n_lines * (CELL_PX + CAPTION_PX) + GAP_PX
    right_px = SUPPORT_PX + max(n_left * CELL_PX, 50) + 2 * GAP_PX  # the word support takes 50
    ends = [
        right_px + n_right * CELL_PX,
        MARGIN_PX + int(_font(17).getlength(title)),
        right_px + int(_font(13).getlength(legend)),
    ]
    size = max(ends) + MARGIN_PX, HEADER_PX + n_way * band_px + MARGIN_PX
    if size[0] * size[1] > MOST_PX:
        what = f"{n_way} classes with {n_support:,} support and {n_query:,} query images"
        raise UsageError(
            f"a sheet of {what} would have {size[0]:,} x {size[1]:,} pixels, more than {MOST_PX:,}; lower --n-way, "
            "--n-support or --n-query"
        )
    return Layout(n_left, n_right, right_px, band_px, size)


def _legend(predicted: Sequence[int] | None, ways: Sequence[int]) -> str:
    if predicted is None:
        return "query"
    n_right = sum(found == way for found, way in zip(predicted, ways, strict=True))
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
    draw.rectangle(box, outline=RIGHT if taken_for is None else WRONG, width=FRAME_PX)
    if taken_for is not None:
        _write(draw, (left, top + SIDE_PX + FRAME_PX), taken_for, SIDE_PX, lines=2, colour=WRONG, size=11)


def _write(
    draw: "ImageDraw", place: tuple[int, int], text: str, width: int, *, lines: int, colour: str = INK, size: int = 14
) -> None:
    """Text in at most so many lines of so many pixels, cut where it is longer."""
    font, text = _font(size), " ".join(text.split())
    for line in range(lines):
        last = line == lines - 1
        n = 1  # characters of this line
        while n < len(text) and font.getlength(text[: n + 1]) <= width:
            n += 1
        if n < len(text) and not last:
            n = max(n // 2, 1 + max(text.rfind(gap, 0, n) for gap in " _")) if _has_gap(text[n // 2 : n]) else n
        part = text[:n] if n >= len(text) or not last else text[: n - 1] + "…"
        draw.text((place[0], place[1] + line * (size + 3)), part.strip(), colour, font)
        text = text[n:]


def _has_gap(text: str) -> bool:
    return " " in text or "_" in text


def _font(size: int) -> "FreeTypeFont":
    from PIL import ImageFont

    return cast("FreeTypeFont", ImageFont.load_default(size))
