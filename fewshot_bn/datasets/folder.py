"""Images in one folder per class: any user's data, and the datasets that are published in that form.

The class folders may lie in folders that are called like splits: `train`, `val`, `test`, or as in `split_names`.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from fewshot_bn.datasets.dataset import Dataset, Finding
from fewshot_bn.datasets.masks import mask_files, mask_folder, no_classes
from fewshot_bn.datasets.rows import SPLIT_NAMES, Row, assemble
from fewshot_bn.datasets.split_names import are_parts, is_unlabelled, split_number
from fewshot_bn.datasets.tree import LeftOut, class_folders, images_below, images_beside
from fewshot_bn.errors import DataError, some


def open_folder(folder: Path, *, name: str | None = None, class_names: Sequence[str] | None = None) -> Dataset:
    """The images under `folder/<class>/`, at any depth; classes in alphabetical order unless they are given.

    Or those under `folder/train/<class>/`, `folder/test/<class>/` and `folder/val/<class>/`, of which test or val may
    be missing. Raises `DataError` for a class without images, for masks among them, and for fewer than two classes.
    """
    name = name or folder.resolve().name
    parts = split_folders(folder) if class_names is None else {"": -1}
    unlabelled = [] if parts == {"": -1} else [place for place in class_folders(folder) if is_unlabelled(place)]
    if class_names is None:
        class_names = sorted({class_name for part in parts for class_name in class_folders(folder / part)})
    disjoint = _are_disjoint(folder, parts, class_names)
    parts = dict.fromkeys(parts, -1) if disjoint else parts
    _check_classes(folder, class_names)
    for part in parts:
        _check_links(folder / part, class_names)
    rows: list[Row] = []
    left_out = LeftOut()
    pooled: Counter[str] = Counter()
    for class_name in class_names:
        places = {f"{part}/{class_name}" if part else class_name: split for part, split in parts.items()}
        there = {place: split for place, split in places.items() if parts == {"": -1} or (folder / place).is_dir()}
        images = [
            Row(path, class_name, split=split, path=path, n_bytes=state.st_size, modified_ns=state.st_mtime_ns)
            for place, split in there.items()
            for path, state in images_below(folder / place, place, left_out)
        ]
        if not any(row.split <= 0 for row in images):
            raise DataError(_no_image(name, class_name, folder / next(iter(parts)), left_out))
        tails = [
            row.id.removeprefix(f"{place}/") for place in there for row in images if row.id.startswith(f"{place}/")
        ]
        _refuse_masks(name, class_name, tails)
        pooled.update({tail.partition("/")[0] + "/" if "/" in tail else "" for tail in tails})
        rows += images
    common = sorted(place for place, n in pooled.items() if 2 * n > len(class_names))
    beside = [path for part in parts for path in images_beside(folder / part)]
    texts = [*_doubtful(class_names, common, beside), *_said_of_parts(unlabelled, list(parts) if disjoint else [])]
    notices = [*left_out.findings(name), *(Finding(f"{name}: {text}") for text in texts)]
    return assemble(name, folder, class_names, rows, notices=notices)


def _no_image(name: str, class_name: str, where: Path, left_out: LeftOut) -> str:
    found = [str(finding).split(": ", 1)[1] for finding in left_out.findings(name)]
    return (
        f"{name}: the class folder {class_name!r} in {where} holds no image (png, jpg, tif and others)"
        f"{f', but: {some(found)}' if found else '; get its images, or remove it'}"
    )


def open_class_folders(name: str, folder: Path, class_names: Sequence[str]) -> Dataset:
    """Those of the classes `class_names` that are there; without names, as `open_folder` finds them."""
    there = set(class_folders(folder))
    return open_folder(folder, name=name, class_names=[k for k in class_names if k in there] if class_names else None)


def _are_disjoint(folder: Path, parts: Mapping[str, int], class_names: Sequence[str]) -> bool:
    """Whether the splits have no class in common, as those of few-shot learning: then they split no class."""
    return len(parts) > 1 and sum(len(class_folders(folder / part)) for part in parts) == len(class_names)


def _check_classes(folder: Path, class_names: Sequence[str]) -> None:
    if len(class_names) < 2:
        one = f" ({class_names[0]}: if it holds the classes, name it)" if class_names else ""
        beside = len(images_beside(folder))
        table = f", or a table that names the classes of the {beside:,} images that lie in it" if beside else ""
        raise DataError(
            f"{folder}: {len(class_names)} class folders found, at least 2 are needed{one}; "
            f"the expected tree is <folder>/<class>/<image>, one folder per class{table}"
        )
    if are_parts(class_names):
        raise DataError(
            f"{folder}: holds {some(class_names)}, which are called like parts of a dataset, not like classes; merge "
            "them into one folder per class (or, if they are classes, rename them)"
        )
    if pair := no_classes(class_names):
        raise DataError(
            f"{folder}: holds the folders {pair}, which are no classes; the expected tree is <folder>/<class>/<image>, "
            "one folder per class, without masks and labels"
        )


def _check_links(folder: Path, class_names: Sequence[str]) -> None:
    """Raise `DataError` for classes that are the same folder, or one that the others lie in: links make them so."""
    if not any((folder / class_name).is_symlink() for class_name in class_names):
        return
    home = folder.resolve()
    named: dict[Path, str] = {}
    for class_name in class_names:
        place = (folder / class_name).resolve()
        other = named.setdefault(place, class_name)
        if place == home or place in home.parents:
            raise DataError(f"{folder}: {class_name!r} is a link to {place}, which holds the classes; remove the link")
        if other != class_name:
            raise DataError(f"{folder}: {other!r} and {class_name!r} are the same folder, {place}; remove one of them")


def _refuse_masks(name: str, class_name: str, tails: Sequence[str]) -> None:
    if masks := mask_folder(tails, class_name):
        raise DataError(
            f"{name}: below the class folder {class_name!r} lie images in a folder {masks!r}, which would be taken for "
            "images of the class; move the folders of that name elsewhere (or, if they are no masks, rename them)"
        )
    if files := mask_files(tails):
        raise DataError(
            f"{name}: {some(files)} in the class folder {class_name!r} would be taken for images of the class, but are "
            "called as masks of images beside them; move them elsewhere (or, if they are no masks, rename them)"
        )


def _doubtful(class_names: Sequence[str], common: Sequence[str], beside: Sequence[str]) -> Iterator[str]:
    """What is used or passed over in a way that may not be meant."""
    if len(common) > 1:
        shown = [repr(place.rstrip("/")) if place else "the class folder itself" for place in common]
        text = f"the images of {some(shown, 6)} are used together in each class"
        all_below = "" not in common and len(common) > 1
        yield f"{text}; if these are classes, name one of {some(class_names)} instead" if all_below else text
    cases: dict[str, list[str]] = {}
    for class_name in class_names:
        cases.setdefault(class_name.casefold(), []).append(class_name)
    if same := [" and ".join(names) for names in cases.values() if len(names) > 1]:
        yield f"{some(same)}: classes whose names differ in upper and lower case alone"
    called = [class_name for class_name in class_names if split_number(class_name) >= 0]
    if called:
        yield f"{some(called)}: called like a split, but taken for a class, as other folders lie beside it"
    if beside:
        yield f"{len(beside):,} images beside the class folders were left out: {some(beside)}"


def _said_of_parts(unlabelled: Sequence[str], disjoint: Sequence[str]) -> Iterator[str]:
    """Of folders of images without labels, and of those that hold other classes each."""
    if unlabelled:
        yield f"{some(unlabelled)} left out, called like images without labels"
    if disjoint:
        yield f"{some(disjoint)} hold other classes each; all are used together, or those of one if that is named"


def split_folders(folder: Path) -> dict[str, int]:
    """The folders that hold the class folders, with the number of their split; the folder itself where it has none."""
    found = class_folders(folder)
    named = {part: split_number(part) for part in found if split_number(part) >= 0}
    others = [part for part in found if part not in named and not is_unlabelled(part)]
    training = [part for part, number in named.items() if number == 0]
    holds_classes = any(class_folders(folder / part) for part in training)
    if others and holds_classes and (len(set(named.values())) > 1 or no_classes(["images", *others])):
        raise DataError(
            f"{folder}: holds {' and '.join(sorted(named, key=lambda k: named[k]))}, but also {some(others)}; call a "
            "folder of validation images val, and move others away"
        )
    if others or not named:
        return {"": -1}
    for number, split in SPLIT_NAMES.items():
        same = [part for part, other in named.items() if other == number]
        if len(same) > 1:
            raise DataError(f"{folder}: holds {' and '.join(same)}, both called as {split}; leave one, or merge them")
    if not holds_classes:
        has = f"holds {some(found)}; " + (f"{training[0]} has no class folders" if training else "train is missing")
        raise DataError(f"{folder}: {has}; of train, val and test, only val and test may be missing")
    return {_innermost(folder, part): named[part] for part in sorted(named, key=lambda part: named[part])}


def _innermost(folder: Path, part: str) -> str:
    """The folder that holds the classes of a split: `seg_train/seg_train`, `train/images`, or the folder itself."""
    inner = class_folders(folder / part)
    is_wrapper = len(inner) == 1 and (split_number(inner[0]) >= 0 or no_classes([inner[0], "masks"]))
    if is_wrapper and class_folders(folder / part / inner[0]):
        return _innermost(folder, f"{part}/{inner[0]}")
    return part
