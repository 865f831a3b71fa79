"""What the looks of many images say: deep images that use a small part of their range, images that look the same."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from fewshot_bn.datasets.dataset import Dataset, Finding
from fewshot_bn.errors import some
from fewshot_bn.raster import SAMPLE_PX, Look, scaled

DARK = 2**14  # a deep image below this value is at most a quarter as bright as white
SHARE = 0.1  # of images, from which on single images are worth a sentence
LEAST = 4  # images of a class, from which on they can be called mostly the same


@dataclass(frozen=True, slots=True)
class Scaled:
    """Reads images with `read`; in deep ones `max_value` becomes white."""

    read: Callable[[int], bytes]
    max_value: int

    def __call__(self, row: int) -> bytes:
        return scaled(self.read(row), self.max_value)


def findings(dataset: Dataset, looks: Mapping[int, Look]) -> Iterator[Finding]:
    """What is odd about the images that have been looked at, by row."""
    dark = {row for row, look in looks.items() if look.bits == 16 and look.peak < DARK}
    n_deep = sum(look.bits == 16 for look in looks.values())
    if 2 * len(dark) > n_deep:
        n_values = 1 << max(looks[row].peak for row in dark).bit_length()
        yield _finding(
            dataset,
            dark,
            f"{len(dark):,} of {n_deep:,} 16-bit images use only {n_values:,} of 65,536 values, so they are "
            f"dark or nearly black; set max_value = {n_values - 1} on a card",
        )
    empty = {row for row, look in looks.items() if look.is_black or look.is_white} - dark
    if len(empty) >= max(1, SHARE * len(looks)):
        yield _finding(dataset, empty, f"{len(empty):,} of {len(looks):,} images are nearly all black or all white")
    yield from _alike(dataset, looks)


def _finding(dataset: Dataset, rows: set[int], text: str) -> Finding:
    return Finding(f"{dataset.name}: {text}", tuple(dataset.ids[row] for row in sorted(rows)))


def _alike(dataset: Dataset, looks: Mapping[int, Look]) -> Iterator[Finding]:
    at = f"at {SAMPLE_PX**2:,} points"
    if len(looks) >= LEAST and len({look.sample for look in looks.values()}) == 1:
        yield Finding(f"{dataset.name}: all {len(looks):,} images look the same {at}")
        return
    classes_of: dict[int, set[int]] = {}
    for row, look in looks.items():
        classes_of.setdefault(look.sample, set()).add(int(dataset.labels[row]))
    twins = {row for row, look in looks.items() if len(classes_of[look.sample]) > 1}
    if twins and len(twins) >= SHARE * len(looks):
        text = f"{len(twins):,} of {len(looks):,} images look the same {at} as one of another class"
        yield _finding(dataset, twins, text)
    samples: dict[int, Counter[int]] = {}
    for row, look in looks.items():
        samples.setdefault(int(dataset.labels[row]), Counter())[look.sample] += 1
    same = [
        dataset.class_names[label]
        for label, counts in sorted(samples.items())
        if counts.total() >= LEAST and 2 * counts.most_common(1)[0][1] > counts.total()
    ]
    if same:
        text = f"{dataset.name}: classes most of whose images look the same {at}: {some(same)}"
        yield Finding(text, tuple(same))
