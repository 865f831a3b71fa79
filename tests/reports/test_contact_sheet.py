import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageDraw
from reference.places import SHARED, needs_shared

from fewshot_bn.datasets import open_dataset
from fewshot_bn.datasets.dataset import Dataset
from fewshot_bn.episodes import Episodes, EpisodeShape, sample
from fewshot_bn.errors import DataError, UsageError
from fewshot_bn.preprocessing import Preprocessing, image_of
from fewshot_bn.reports import contact_sheet
from fewshot_bn.reports.contact_sheet import PAPER, RIGHT, WRONG, draw_sheet

CELL, LINE, LEFT, TOP = 96, 125, 170, 62  # from one image to the next, to the next line, and where the first one is


def colour(text):
    return tuple(bytes.fromhex(text[1:]))


@pytest.fixture
def noise(rng):
    """A dataset of noise, so that every image is another one."""

    def build(names=("one", "two", "three"), n_images=70):
        encoded = []
        for _ in range(len(names) * n_images):
            file = io.BytesIO()
            Image.fromarray(rng.integers(0, 255, (20, 30, 3), dtype=np.uint8)).save(file, "PNG")
            encoded.append(file.getvalue())
        labels = np.repeat(np.arange(len(names)), n_images)
        ids = tuple(f"{row}.png" for row in range(len(labels)))
        return Dataset("noise", tuple(names), labels, ids, encoded.__getitem__, "", "")

    return build


def episode(dataset, n_way=3, n_support=5, n_query=15):
    return sample(dataset.class_sizes, EpisodeShape(n_way, n_support, n_query), seed=4, n_episodes=1)


def cut(sheet, place, side=88):
    return np.asarray(sheet.crop((*place, place[0] + side, place[1] + side)))


def thumbnail(dataset, row):
    return np.asarray(image_of(dataset.read(row), Preprocessing(88, 88)))


def right_of(n_support):
    """Where queries start."""
    return LEFT + min(5, n_support) * CELL + 16


def band(n_support, n_query):
    return max(-(-n_support // 5), -(-n_query // 15)) * LINE + 8


def query_places(n_way, n_support, n_query):
    for way in range(n_way):
        for i in range(n_query):
            yield right_of(n_support) + i % 15 * CELL, TOP + way * band(n_support, n_query) + i // 15 * LINE


@pytest.mark.parametrize(
    ("n_way", "n_support", "n_query", "size"),
    [
        (3, 5, 15, (2126, 62 + 3 * 133 + 20)),
        (2, 1, 15, (1742, 62 + 2 * 133 + 20)),
        (3, 50, 15, (2126, 62 + 3 * 1258 + 20)),  # ten lines of five support images
        (2, 7, 16, (2126, 62 + 2 * 258 + 20)),
        (2, 5, 1, (20 + 150 + 480 + 16 + 96 + 20, 62 + 2 * 133 + 20)),
    ],
)
def test_every_image_lies_in_its_place(noise, n_way, n_support, n_query, size):
    dataset = noise()
    one = episode(dataset, n_way, n_support, n_query)
    sheet = draw_sheet(dataset, one, "title")
    assert (sheet.size, sheet.mode) == (size, "RGB")
    for way in range(n_way):
        for i, row in enumerate(one.support[0, way].tolist()):
            place = LEFT + i % 5 * CELL, TOP + way * band(n_support, n_query) + i // 5 * LINE
            np.testing.assert_array_equal(cut(sheet, place), thumbnail(dataset, row))
    for row, place in zip(one.query[0].ravel().tolist(), query_places(n_way, n_support, n_query), strict=True):
        np.testing.assert_array_equal(cut(sheet, place), thumbnail(dataset, row))


def frame(sheet, place):
    """The colours of the pixels that are right around an image."""
    large = cut(sheet, (place[0] - 3, place[1] - 3), 94).copy()
    large[3:-3, 3:-3] = large[0, 0]
    return {tuple(pixel) for pixel in large.reshape(-1, 3).tolist()}


@pytest.mark.parametrize(("n_support", "n_query"), [(5, 15), (1, 17)])
def test_frames_are_green_around_right_queries_and_red_around_wrong_ones(noise, n_support, n_query):
    dataset = noise()
    one = episode(dataset, 3, n_support, n_query)
    predicted = [(k * 7) % 4 - 1 for k in range(3 * n_query)]  # -1 to 2
    sheet = draw_sheet(dataset, one, "title", predicted)
    places = list(query_places(3, n_support, n_query))
    for k, (found, place) in enumerate(zip(predicted, places, strict=True)):
        right = found == k // n_query
        assert frame(sheet, place) == {colour(RIGHT if right else WRONG)}
        caption = cut(sheet, (place[0], place[1] + 91), 26)
        assert (caption == 255).all() == right
        np.testing.assert_array_equal(cut(sheet, place), thumbnail(dataset, one.query[0].ravel()[k]))


def test_without_predictions_there_are_no_frames(noise):
    dataset = noise()
    sheet = draw_sheet(dataset, episode(dataset), "title")
    assert {frozenset(frame(sheet, place)) for place in query_places(3, 5, 15)} == {frozenset([colour(PAPER)])}


def texts(monkeypatch, *arguments):
    """What is written onto a sheet."""
    written = []

    class Draw(ImageDraw.ImageDraw):
        def text(self, place, text, *rest):
            written.append(text)
            super().text(place, text, *rest)

    monkeypatch.setattr(ImageDraw, "Draw", Draw)
    draw_sheet(*arguments)
    return written


def test_it_says_how_many_are_right_and_what_wrong_ones_were_taken_for(noise, monkeypatch):
    dataset = noise()
    one = replace(episode(dataset, 3, 1, 2), classes=np.array([[0, 1, 2]]))
    written = texts(monkeypatch, dataset, one, "noise, episode 4", [0, 0, 1, -1, 0, 2])
    assert written[:3] == [
        "noise, episode 4",
        "support",
        "query: 4 of 6 right; below a wrong one, what it was taken for",
    ]
    assert [text for text in written[3:] if text] == ["one", "two", "nothing", "three", "one"]


def test_all_of_the_title_and_the_legend_can_be_read(noise):
    dataset = noise()
    narrow = episode(dataset, 2, 1, 1)
    for title, predicted in (("a title that is longer " * 20, None), ("short", [0, 0])):
        sheet = draw_sheet(dataset, narrow, title, predicted)
        header = np.asarray(sheet)[:57]
        assert (header[:, -18:] == 255).all()
        assert (header != 255).any()
    assert draw_sheet(dataset, narrow, "x").size[0] < 500 < sheet.size[0]


def test_a_long_name_is_broken_at_spaces_and_underscores_and_cut_at_the_end(noise, monkeypatch):
    long = "Tomato___Spider_mites Two-spotted_spider_mite"
    words = " ".join(["endless"] * 60)
    letters = "x" * 500
    dataset = noise((long, words, letters))
    lines = texts(monkeypatch, dataset, episode(dataset, 3, 1, 1), "title")[3:]
    shown = dict.fromkeys((long, words, letters), "")
    start = 0
    for way in episode(dataset, 3, 1, 1).classes[0]:
        shown[dataset.class_names[way]] = lines[start : start + 5]
        start += 5
    assert shown[long][:3] == ["Tomato___Spider_", "mites Two-spotted_", "spider_mite"]
    assert shown[words][0] == "endless endless"
    assert shown[words][4].endswith("…")
    assert all(set(line) <= {"x", "…"} for line in shown[letters])
    font = contact_sheet._font(14)
    assert all(font.getlength(line) <= 150 for name in shown for line in shown[name])


def test_names_stay_off_the_images(noise):
    dataset = noise(("W" * 300, "Ünïcode_" * 40, "第二类" * 40))
    one = episode(dataset)
    sheet = draw_sheet(dataset, one, "title", [2 - k // 15 for k in range(45)])
    assert np.asarray(sheet)[TOP:, LEFT - 4 : LEFT].min() > 200  # but for the lines between the bands
    for row, place in zip(one.query[0].ravel().tolist(), query_places(3, 5, 15), strict=True):
        np.testing.assert_array_equal(cut(sheet, place), thumbnail(dataset, row))


@pytest.mark.parametrize("name", ["Größe", "日本", "😀", "a\nb\tc", "\udcff bytes", "مرحبا", " ", "\0", "%s {x}"])
def test_any_name_can_be_drawn(noise, name):
    dataset = noise((name, "other"))
    one = replace(episode(dataset, 2, 1, 2), classes=np.array([[0, 1]]))
    one = Episodes(one.classes, np.array([[[0], [70]]]), np.array([[[1, 2], [71, 72]]]))
    sheet = draw_sheet(dataset, one, name, [1, 0, 0, 0])
    assert frame(sheet, next(query_places(2, 1, 2))) == {colour(WRONG)}


def test_an_image_that_cannot_be_read_is_named(noise):
    dataset = noise()
    one = episode(dataset)
    row = int(one.query[0, 1, 3])
    broken = replace(dataset, read=lambda k: dataset.read(k)[: 100 if k == row else None])
    with pytest.raises(DataError, match=rf"noise: image '{row}.png' cannot be read: .*truncated.*; get this file"):
        draw_sheet(broken, one, "title")


def test_a_sheet_that_no_one_could_look_at_is_refused(noise):
    dataset = noise()
    rows = np.zeros((1, 2, 100_000), np.int64)
    with pytest.raises(UsageError, match=r"2 classes with 100,000 support .* x .* pixels, .*; lower --n-way, --n-supp"):
        draw_sheet(dataset, Episodes(np.array([[0, 1]]), rows, rows), "title")


@needs_shared
def test_real_images_with_long_class_names():
    dataset = open_dataset("cropdisease", root=SHARED / "data")
    one = sample(dataset.class_sizes, EpisodeShape(), seed=0, n_episodes=1)
    sheet = draw_sheet(dataset, one, "cropdisease, episode 0")
    np.testing.assert_array_equal(cut(sheet, (LEFT, TOP)), thumbnail(dataset, int(one.support[0, 0, 0])))
