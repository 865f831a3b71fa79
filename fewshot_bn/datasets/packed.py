"""Files that hold images in a form that is not read as it is, and what to do with each."""

from pathlib import Path

UNPACK = "is an archive; unpack it ({}), and name the folder"
TO_PARQUET = (
    'is of the form that save_to_disk writes; with the library datasets: load_from_disk("…").to_parquet("x.parquet")'
)
NO_IMAGES = "is none of the forms that are read; write the images as files in class folders, or as Parquet or HDF5"
OTHERS = {
    ".zip": UNPACK.format("python -m zipfile -e {name} {stem}"),
    **dict.fromkeys((".tar.gz", ".tgz", ".tar.bz2", ".tar.xz"), UNPACK.format("mkdir {stem}; tar xf {name} -C {stem}")),
    ".tar.zst": UNPACK.format("mkdir {stem}; tar --zstd -xf {name} -C {stem}"),
    ".7z": UNPACK.format("7z x {name} -o{stem}"),
    ".rar": UNPACK.format("unrar x {name} {stem}/"),
    ".arrow": TO_PARQUET,
    **dict.fromkeys((".tfrecord", ".mdb", ".lmdb", ".rec", ".beton", ".pkl", ".pickle", ".pt"), NO_IMAGES),
    ".npy": "is one array; name the one with images, beside which their labels lie as labels.npy",
}


def advice_on(path: Path, suffix: str = "") -> str:
    """What a file is, and what to do; of the files in a folder that end with `suffix`. Nothing for other files."""
    name = path.name.lower()
    suffix = suffix or next((known for known in OTHERS if name.endswith(known) and not path.is_dir()), "")
    if not suffix:
        return ""
    where = f"{path}: holds files *{suffix}; such a file" if path.is_dir() else f"{path}:"
    shown = {"name": "FILE", "stem": "FOLDER"} if path.is_dir() else {"name": path.name, "stem": name[: -len(suffix)]}
    return f"{where} {OTHERS[suffix].format(**shown)}"
