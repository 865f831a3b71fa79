"""Tables of images, and lists of names and numbers."""

import pytest
from fuzz.mutations import PATHS, TEXTS, damaged, digit_changed
from fuzz.trial import survive, tiers
from PIL import Image

from fewshot_bn.datasets import open_dataset

NAMES = [f"{name}/{i}.png" for name in "ab" for i in range(3)]
CSV = "path,label,group,split\n" + "".join(f"{name},{name[0]},{i},train\n" for i, name in enumerate(NAMES))
TXT = "".join(f"{name} {int(name[0] == 'b')}\n" for name in NAMES)


def cell_changed(rng, text, separator):
    lines = [line.split(separator) for line in text.splitlines()]
    line = lines[rng.integers(len(lines))]
    cells = (*TEXTS, *PATHS, '"', '""', 'a"b', separator, "9" * 5000, "-1", "1e400", "NaN", "\ufeff", "\u2028")
    line[rng.integers(len(line))] = cells[rng.integers(len(cells))]
    order = rng.permutation(len(lines)) if rng.random() < 0.2 else range(len(lines))
    return "\n".join(separator.join(lines[place]) for place in order).encode("utf-8", "surrogatepass")


@pytest.mark.parametrize(("suffix", "text", "separator"), [("csv", CSV, ","), ("txt", TXT, " ")], ids=["csv", "txt"])
@tiers(40, 500)
def test_tables(tmp_path, suffix, text, separator, numbers):
    for name in NAMES:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (6, 6), (len(name), 3, 3)).save(tmp_path / name)
    path = tmp_path / f"t.{suffix}"
    path.write_text(text)
    assert open_dataset(str(path)).class_sizes == [3, 3]

    def trial(rng):
        how = rng.random()
        if how < 0.5:
            path.write_bytes(cell_changed(rng, text, separator))
        else:
            path.write_bytes((damaged if how < 0.8 else digit_changed)(rng, text.encode()))
        dataset = open_dataset(str(path), faulty=True)
        assert len(dataset.labels) == len(dataset.ids) == len(set(dataset.ids)) or dataset.problems
        assert all(dataset.read(row) for row in range(len(dataset)))

    survive(trial, numbers)
