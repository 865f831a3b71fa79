"""What kind of file it is, by its first bytes: names lie, and people rename files."""

import string
import zipfile
from pathlib import Path

STARTS = {
    b"version https://git-lfs": "it is a pointer of Git LFS; get the file itself with git lfs pull",
    **dict.fromkeys((b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"7z\xbc\xaf"), "it is a compressed file; unpack it first"),
    b"\x89HDF": "it is an HDF5 file, as of Keras; read it with h5py and save its arrays with numpy.savez",
    b"\x93NUMPY": "it is one array of numpy; weights by name are needed, as numpy.savez writes them",
    b"GGUF": "it is a GGUF file, of language models",
    **dict.fromkeys((b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"II*\x00", b"MM\x00*", b"BM"), "it is an image"),
    b"%PDF": "it is a PDF",
    b"#!": "it is a script",
}
N_START = 512
TAR = (257, b"ustar")
MOST_HEADER = 100_000_000  # bytes, of safetensors


def something_else(start: bytes) -> str:
    """What no weights are, of a file that begins so, and what to do; "" if it may be weights."""
    if not start:
        return "the file is empty"
    if start[TAR[0] :].startswith(TAR[1]):
        return "it is a tar archive; unpack it first"
    if start.lstrip()[:1] == b"<":
        return "it is a web page, perhaps of a download that asked to be confirmed; get the file again"
    return next((what for begin, what in STARTS.items() if start.startswith(begin)), "")


def is_text(start: bytes) -> bool:
    """Pickles of Python 2 look like text, too: only what is no pickle may be asked."""
    return bool(start) and all(byte in string.printable.encode() for byte in start)


def ending_of(path: Path) -> str:
    """The ending that the file should have: `.safetensors` or `.npz`, "" for files of torch; else the one that it has.

    Raises `OSError`.
    """
    with path.open("rb") as file:
        start = file.read(N_START)
        if start.startswith(b"PK") and zipfile.is_zipfile(file):
            with zipfile.ZipFile(file) as archive:
                names = archive.namelist()
            if any(name.lower().endswith("data.pkl") for name in names):
                return ""
            return ".npz" if names and all(name.endswith(".npy") for name in names) else path.suffix.lower()
    if start[:1] == b"\x80":  # of a pickle, as torch wrote before 1.6
        return ""
    is_header = start[8:9] == b"{" and int.from_bytes(start[:8], "little") <= MOST_HEADER
    return ".safetensors" if is_header else path.suffix.lower()
