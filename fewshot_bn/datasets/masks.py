"""Images that are masks or labels of others, not examples of their class: every result with them would be wrong."""

import re
from collections.abc import Collection, Iterable, Sequence
from pathlib import PurePosixPath

from fewshot_bn.errors import some

WORD = "mask|label|annotation|annot|gt|ground[ _.-]?truth|segmentation|seg"
FOLDER = re.compile(
    rf"(?!(?:no|with|without|un)[ _.-])(?:(?:.*[ _.-])?(?:{WORD})s?(?:[ _.-]?(?:png|images?|imgs?|data|maps?|\d+))*|"
    r"(?:segmentation|instance)(?:class|object)(?:raw)?)",
    re.IGNORECASE,
)
FILE = re.compile(rf"(.+?)[ _.-](?:{WORD}|superpixel)s?(?:[ _.-]?\d+)?", re.IGNORECASE)
IMAGES = re.compile(r"(?:images?|imgs?|jpe?gimages|photos?|pictures?)", re.IGNORECASE)


def mask_folder(tails: Iterable[str], class_name: str) -> str:
    """The first folder of masks among the paths of the images of a class, below its folder; nothing without one."""
    places = sorted({part for tail in tails for part in PurePosixPath(tail).parent.parts})
    return next((part for part in places if FOLDER.fullmatch(part) and part != class_name), "")


def mask_files(tails: Collection[str]) -> list[str]:
    """The images that are called as another one beside them, and its mask: `3_mask.png` beside `3.jpg`."""
    stems = {str(PurePosixPath(tail).with_suffix("")) for tail in tails}
    called = ((tail, FILE.fullmatch(str(PurePosixPath(tail).with_suffix("")))) for tail in tails)
    return sorted(tail for tail, parts in called if parts and parts[1] in stems)


def no_classes(folders: Sequence[str]) -> str:
    """What folders are called that hold images and their masks instead of classes; nothing for others."""
    masks = [name for name in folders if FOLDER.fullmatch(name)]
    images = [name for name in folders if IMAGES.fullmatch(name)]
    return some([*images, *masks]) if images and masks else ""
