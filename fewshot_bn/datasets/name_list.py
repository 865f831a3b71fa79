"""A plain list beside an image folder: lines `IMG_NAME CLASS_NUMBER`; names may hold spaces."""

from pathlib import Path

from fewshot_bn.datasets.dataset import Dataset
from fewshot_bn.datasets.listed import Found, Record, find_listed, not_listed, open_listed
from fewshot_bn.errors import DataError, some


def open_list(path: Path) -> Dataset:
    """The images of a list. They lie beside it, or all in one folder beside it.

    Raises `DataError` for a line without a class number.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except OSError as problem:
        raise DataError(f"{path}: this list cannot be read: {problem.strerror}") from problem
    except UnicodeDecodeError as problem:
        raise DataError(f"{path}: this list is not in UTF-8: {problem}") from problem
    records, wrong = [], []
    for number, line in enumerate(lines, 1):
        *name, label = line.strip().rsplit(maxsplit=1) or [""]
        if name and label.isascii() and label.isdigit():
            records.append(Record(name[0], str(int(label))))
        elif line.strip():
            wrong.append(f"line {number}")
    if wrong or not records:
        found = some(wrong) if wrong else "nothing"
        raise DataError(f"{path}: {found} found, lines of the form IMG_NAME CLASS_NUMBER are needed")
    folder, found_files = _find(path.parent, records)
    notices = not_listed(path.stem, found_files, (record.image for record in records))
    return open_listed(path.stem, folder, records, found_files, notices=notices)


def _find(folder: Path, records: list[Record]) -> tuple[Path, Found]:
    """The folder that holds most of the images: that of the list, or one in it."""
    listed = [record.image for record in records]
    here = [folder, *sorted(place for place in folder.iterdir() if place.is_dir() and not place.name.startswith("."))]
    sample = listed[:: max(1, len(listed) // 100)]
    best = max(here, key=lambda place: sum((place / name).is_file() for name in sample))
    return best, find_listed(best, records)
