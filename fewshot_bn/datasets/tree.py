"""What lies in folders of images: class folders, the images below them, and what is left out, by its kind."""

import errno
import os
import re
import stat
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from fewshot_bn.datasets.dataset import Finding
from fewshot_bn.datasets.rows import IMAGE_SUFFIXES
from fewshot_bn.errors import DataError, some

# What systems leave in folders: macOS in archives, Synology its thumbnails, Windows, ext4, Python.
IGNORED = {"__macosx", "@eadir", "$recycle.bin", "system volume information", "lost+found", "__pycache__"}
# Of these it is clear that they are images, and of the next that they are none; of others the first bytes say it.
OTHER_IMAGES = re.compile(
    r"\.(arw|cr2|cr3|czi|dcm|dicom|dng|emf|eps|exr|hdr|heic|heif|ico|jls|jxl|mha|mrxs|nd2|ndpi|nef|nii|nrrd|orf|pcx|pfm|"
    r"psd|qoi|raf|raw|rw2|sgi|svg|svs|tga|vsi|wmf|xbm|xcf|xpm)"
)
PLAIN = re.compile(
    r"\.(avi|cfg|csv|db|docx?|html?|ini|ipynb|json|log|m|mat|md|mov|mp4|pdf|pkl|pt|py|rtf|sha256|sh|toml|tsv|txt|url|"
    r"xlsx?|xml|yaml|yml|zip)"
)
BEGINNINGS = re.compile(
    rb"\xff\xd8\xff|\x89PNG|GIF8|II\*\0|MM\0\*|8BPS|RIFF....WEBP|BM....\0\0\0\0|....ftyp(?:avif|heic|heix|mif1|msf1)|"
    rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51|\xff\x0a|.{128}DICM",
    re.DOTALL,
)
MOST_LOOKED_AT = 10  # files of one suffix whose first bytes are read


@dataclass(slots=True)
class LeftOut:
    """Counts what is left out: files by their suffix, and what is no file by its kind."""

    files: Counter[str] = field(default_factory=Counter)
    specials: Counter[str] = field(default_factory=Counter)
    images: set[str] = field(default_factory=set)

    def add(self, path: Path) -> None:
        suffix = path.suffix.lower()
        self.files[suffix] += 1
        unknown = suffix not in self.images and not PLAIN.fullmatch(suffix) and self.files[suffix] <= MOST_LOOKED_AT
        if OTHER_IMAGES.fullmatch(suffix) or (unknown and _begins_as_image(path)):
            self.images.add(suffix)

    def findings(self, name: str) -> list[Finding]:
        """What is to be said of it; images of a kind that is not read are wrong."""
        images = Counter({suffix: n for suffix, n in self.files.items() if suffix in self.images})
        others = self.files - images
        others.update(self.specials)
        found = []
        if images:
            text = (
                f"{name}: {_counted(images)}; these are images, of suffixes that are not read: convert or rename them"
            )
            found.append(Finding(text, is_wrong=True))
        return [*found, Finding(f"{name}: {_counted(others)}")] if others else found


def _counted(files: Counter[str]) -> str:
    n = files.total()
    kinds = [f"{n_files:,} {kind or 'without suffix'}" for kind, n_files in files.most_common()]
    return f"{n:,} {'file' if n == 1 else 'files'} left out: {some(kinds, 8)}"


def _begins_as_image(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return BEGINNINGS.match(file.read(132)) is not None
    except OSError:
        return False


def class_folders(folder: Path) -> list[str]:
    """The folders in it, without hidden ones and those that systems make."""
    try:
        with os.scandir(folder) as entries:
            return sorted(entry.name for entry in entries if _is_folder(entry) and not is_ignored(entry.name))
    except OSError as problem:
        raise DataError(f"{folder}: this folder cannot be read: {problem.strerror}") from problem


def images_beside(folder: Path) -> list[str]:
    """The images in the folder itself, which belong to no class."""
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries if not entry.name.startswith(".")]
    return sorted(name for name in names if name.lower().endswith(IMAGE_SUFFIXES) and (folder / name).is_file())


def images_below(folder: Path, prefix: str, left_out: LeftOut) -> Iterator[tuple[str, os.stat_result]]:
    """Every image below `folder` with its state; links to folders are not followed (they may lead in circles).

    Paths start with `prefix`.
    """
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                path = f"{prefix}/{entry.name}"
                if entry.is_dir(follow_symlinks=False):
                    if not is_ignored(entry.name):
                        yield from images_below(folder / entry.name, path, left_out)
                elif not entry.is_file() and (kind := _special(Path(entry.path))):
                    left_out.specials[kind] += 1
                elif entry.name.lower().endswith(IMAGE_SUFFIXES):
                    yield path, _state(entry)
                else:
                    left_out.add(Path(entry.path))
    except OSError as problem:
        raise DataError(f"{problem.filename}: this folder or file cannot be read: {problem.strerror}") from problem


def _state(entry: os.DirEntry[str]) -> os.stat_result:
    try:
        return entry.stat()
    except FileNotFoundError as problem:
        if not entry.is_symlink():
            raise
        where = os.readlink(entry.path)  # noqa: PTH115 - of an entry
        raise DataError(f"{entry.path}: is a link to {where}, which is not there; get that or remove it") from problem


def is_ignored(name: str) -> bool:
    return name.startswith(".") or name.lower() in IGNORED


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads in circles
        return False


def _special(path: Path) -> str:
    """What a path is that is no file, or leads to none; nothing for a link that leads nowhere."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return ""
    except OSError as problem:
        if problem.errno != errno.ELOOP:
            raise
        return "link that leads in circles"
    if stat.S_ISDIR(mode):
        return "link to a folder"
    kinds = {stat.S_IFIFO: "fifo", stat.S_IFSOCK: "socket", stat.S_IFCHR: "device", stat.S_IFBLK: "device"}
    return kinds.get(stat.S_IFMT(mode), "no file")
