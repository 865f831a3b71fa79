"""Small trees in exactly the layout that each class of torchvision expects; no file in them is an image."""

import hashlib
import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torchvision
from scipy.io import savemat
from torchvision.datasets import CIFAR10, CIFAR100, Caltech101, FGVCAircraft, Flowers102

from fewshot_bn.datasets import open_dataset, read_dataset_card, shipped_cards
from fewshot_bn.datasets.torchvision_known import KNOWN
from fewshot_bn.datasets.torchvision_sets import open_torchvision
from fewshot_bn.errors import DataError

CARDS = {name: read_dataset_card(path) for name, path in shipped_cards().items()}
FILE_SETS = ("aircraft", "caltech101", "cars", "dtd", "flowers", "food", "pets", "sun397", "voc2007")
TRAIN, VAL, TEST = 0, 1, 2


def write(root: Path, path: str, content: str | None = None) -> None:
    """A file, by default one whose content is its own path."""
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(path if content is None else content)


def make_aircraft(root):
    data = "fgvc-aircraft-2013b/data"
    write(root, f"{data}/variants.txt", "F/A-18\nA 310\n")
    lists = {"train": "03 F/A-18\n02 A 310\n", "val": "01 A 310\n", "test": "05 F/A-18\n04 A 310\n"}
    for split, text in lists.items():
        write(root, f"{data}/images_variant_{split}.txt", text)
    for k in range(1, 6):
        write(root, f"{data}/images/{k:02d}.jpg")
    images = {"F/A-18": {"03": TRAIN, "05": TEST}, "A 310": {"01": VAL, "02": TRAIN, "04": TEST}}
    return {name: {f"{data}/images/{k}.jpg": split for k, split in of.items()} for name, of in images.items()}


def make_caltech101(root):
    folder = "caltech101/101_ObjectCategories"
    write(root, f"{folder}/BACKGROUND_Google/tmp")
    images = {"Faces": 2, "ant": 1}  # capitals come first
    expected = {k: {f"{folder}/{k}/image_{i + 1:04d}.jpg": -1 for i in range(n)} for k, n in images.items()}
    for path in [path for paths in expected.values() for path in paths]:
        write(root, path)
    return expected


def make_cars(root):
    cars = root / "stanford_cars"
    lists = {"train": [("00001.jpg", 2), ("00002.jpg", 1)], "test": [("00001.jpg", 1), ("00002.jpg", 2)]}
    for split, pairs in lists.items():
        for file, _ in pairs:
            write(root, f"stanford_cars/cars_{split}/{file}")
    (cars / "devkit").mkdir()
    savemat(cars / "devkit" / "cars_meta.mat", {"class_names": np.array(["Zoo Van 1999", "Ant Coupe 2012"], object)})
    files = {"train": "devkit/cars_train_annos.mat", "test": "cars_test_annos_withlabels.mat"}
    for split, pairs in lists.items():
        table = np.array([(file, np.uint8(k)) for file, k in pairs], dtype=[("fname", object), ("class", object)])
        savemat(cars / files[split], {"annotations": table})
    return {
        "Zoo Van 1999": {"stanford_cars/cars_test/00001.jpg": TEST, "stanford_cars/cars_train/00002.jpg": TRAIN},
        "Ant Coupe 2012": {"stanford_cars/cars_test/00002.jpg": TEST, "stanford_cars/cars_train/00001.jpg": TRAIN},
    }


def make_dtd(root):
    lists = {"train": ["dotted/1.jpg", "banded/1.jpg"], "val": ["banded/2.jpg"], "test": ["grid/1.jpg", "banded/3.jpg"]}
    expected = {"banded": {}, "dotted": {}, "grid": {}}  # a split may lack a class
    for number, (split, files) in enumerate(lists.items()):
        write(root, f"dtd/dtd/labels/{split}1.txt", "\n".join(files))
        for file in files:
            write(root, f"dtd/dtd/images/{file}")
            expected[file.split("/")[0]][f"dtd/dtd/images/{file}"] = number
    return expected


def make_flowers(root):
    classes, splits = [2, 1, 1, 3, 2, 1], {"trnid": [1, 3], "valid": [2, 5], "tstid": [4, 6]}
    for k in range(1, 7):
        write(root, f"flowers-102/jpg/image_{k:05d}.jpg")
    savemat(root / "flowers-102" / "imagelabels.mat", {"labels": np.array([classes], np.uint8)})
    savemat(root / "flowers-102" / "setid.mat", {key: np.array([ids]) for key, ids in splits.items()})
    images = {
        "pink primrose": {2: VAL, 3: TRAIN, 6: TEST},
        "hard-leaved pocket orchid": {1: TRAIN, 5: VAL},
        "canterbury bells": {4: TEST},
    }
    return {k: {f"flowers-102/jpg/image_{i:05d}.jpg": split for i, split in of.items()} for k, of in images.items()}


def make_food(root):
    lists = {"train": {"waffles": ["waffles/2", "waffles/1"], "ramen": ["ramen/1"]}, "test": {}}
    lists["test"] = {"ramen": ["ramen/2"], "waffles": ["waffles/3"]}
    for split, of in lists.items():
        write(root, f"food-101/meta/{split}.json", json.dumps(of))
        for image in [image for images in of.values() for image in images]:
            write(root, f"food-101/images/{image}.jpg")
    images = {"ramen": {1: TRAIN, 2: TEST}, "waffles": {1: TRAIN, 2: TRAIN, 3: TEST}}
    return {k: {f"food-101/images/{k}/{i}.jpg": split for i, split in of.items()} for k, of in images.items()}


def make_pets(root):
    folder = "oxford-iiit-pet"
    lists = {"trainval": "Bombay_2 2 1 1\nbasset_hound_10 1 2 1\n", "test": "basset_hound_9 1 2 1\nBombay_1 2 1 1\n"}
    for split, text in lists.items():
        write(root, f"{folder}/annotations/{split}.txt", text)
    images = {
        "Basset Hound": {"basset_hound_10": TRAIN, "basset_hound_9": TEST},
        "Bombay": {"Bombay_1": TEST, "Bombay_2": TRAIN},
    }
    expected = {k: {f"{folder}/images/{i}.jpg": split for i, split in of.items()} for k, of in images.items()}
    for path in [path for paths in expected.values() for path in paths]:
        write(root, path)
    return expected


def make_sun397(root):
    write(root, "SUN397/ClassName.txt", "/a/abbey\n/a/apse/indoor\n")
    expected = {
        "abbey": {"SUN397/a/abbey/sun_b.jpg": -1, "SUN397/a/abbey/sun_c.jpg": -1},
        "apse/indoor": {"SUN397/a/apse/indoor/sun_a.jpg": -1},
    }
    for path in [path for paths in expected.values() for path in paths]:
        write(root, path)
    return expected


def annotation(*objects: str) -> str:
    """The XML of an image; an object in brackets is difficult. A person has parts, which have names too."""
    items = "".join(
        f"<object><name>{name.strip('()')}</name><difficult>{int(name[0] == '(')}</difficult>"
        "<part><name>head</name></part></object>"
        for name in objects
    )
    return f"<annotation><owner><name>?</name></owner>{items}</annotation>"


def make_voc2007(root):
    voc = "VOCdevkit/VOC2007"
    images = {
        "000001": ("train", annotation("person", "person")),
        "000002": ("train", annotation("dog", "(person)")),
        "000003": ("val", annotation("dog", "person")),
        "000004": ("test", annotation("person")),
        "000005": ("test", annotation("(cat)")),
        "000006": ("val", annotation("tvmonitor")),
    }
    for number, (_, text) in images.items():
        write(root, f"{voc}/JPEGImages/{number}.jpg")
        write(root, f"{voc}/Annotations/{number}.xml", text)
    for split in ("train", "val", "test"):
        listed = [number for number, (of, _) in images.items() if of == split]
        write(root, f"{voc}/ImageSets/Main/{split}.txt", "\n".join(listed))
    kept = {
        "dog": {"000002": TRAIN},
        "person": {"000001": TRAIN, "000004": TEST},
        "tvmonitor": {"000006": VAL},
    }
    return {k: {f"{voc}/JPEGImages/{i}.jpg": split for i, split in of.items()} for k, of in kept.items()}


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes()).hexdigest()


@pytest.fixture
def make(tmp_path, monkeypatch):
    """Makes the tree of a set in `tmp_path`; returns each class with its ids and their splits."""

    def make_set(name, root=tmp_path):
        expected = globals()[f"make_{name}"](root)
        if name == "flowers":
            tables = {"label": "imagelabels.mat", "setid": "setid.mat"}
            sums = {key: (file, md5(root / "flowers-102" / file)) for key, file in tables.items()}
            monkeypatch.setattr(Flowers102, "_file_dict", sums)
        return expected

    return make_set


def make_cifar(root, monkeypatch, kind, n_classes, rng):
    """Two batches for training and one for testing; returns the pixels and labels of the two splits."""
    folder = root / kind.base_folder
    folder.mkdir(parents=True)
    names = [file for file, _ in kind.train_list[:2]] + [file for file, _ in kind.test_list]
    pixels, labels, sums = {}, {}, []
    for name in names:
        part = "test" if name in dict(kind.test_list) else "train"
        x, y = (
            rng.integers(0, 256, (2 * n_classes, 3072), np.uint8),
            rng.permutation(np.arange(2 * n_classes) % n_classes),
        )
        key = "labels" if kind is CIFAR10 else "fine_labels"
        (folder / name).write_bytes(pickle.dumps({"data": x, key: y.tolist()}, protocol=2))
        pixels.setdefault(part, []).append(x)
        labels.setdefault(part, []).append(y)
        sums.append([name, md5(folder / name)])
    class_names = list(CARDS["cifar10" if kind is CIFAR10 else "cifar100"].classes)[:n_classes]
    (folder / kind.meta["filename"]).write_bytes(pickle.dumps({kind.meta["key"]: class_names}, protocol=2))
    monkeypatch.setattr(kind, "train_list", sums[:-1])
    monkeypatch.setattr(kind, "test_list", sums[-1:])
    monkeypatch.setattr(kind, "meta", {**kind.meta, "md5": md5(folder / kind.meta["filename"])})
    return {split: (np.concatenate(pixels[split]), np.concatenate(labels[split])) for split in ("train", "test")}


@pytest.mark.parametrize("name", FILE_SETS)
@pytest.mark.parametrize("folder", [".", "of its own"])
def test_the_splits_of_a_set_are_pooled_in_canonical_order(make, tmp_path, name, folder):
    root = tmp_path if folder == "." else tmp_path / name
    expected = make(name, root)
    dataset = open_dataset(name, root=tmp_path)
    assert dataset.name == name
    assert list(dataset.class_names) == list(expected)
    assert list(dataset.ids) == [image for images in expected.values() for image in sorted(images)]
    assert dataset.class_sizes == [len(images) for images in expected.values()]
    splits = [split for images in expected.values() for _, split in sorted(images.items())]
    assert (dataset.splits.tolist() if dataset.splits is not None else [-1] * len(dataset)) == splits
    read = pickle.loads(pickle.dumps(dataset.read))
    assert [read(row).decode() for row in range(len(dataset))] == list(dataset.ids)
    assert (dataset.problems, dataset.metric) == ((), CARDS[name].metric)


@pytest.mark.parametrize("name", FILE_SETS)
def test_the_fingerprint_is_the_same_in_every_place(make, tmp_path, name):
    make(name)
    shutil.copytree(tmp_path, tmp_path / "else" / name)
    here, there = open_dataset(name, root=tmp_path), open_dataset(name, root=tmp_path / "else")
    assert here.fingerprint == there.fingerprint
    write(tmp_path, here.ids[0], "something longer than the path of this image, so that its size is another one")
    assert open_dataset(name, root=tmp_path).fingerprint != here.fingerprint


@pytest.mark.parametrize("name", [*FILE_SETS, "cifar10", "cifar100"])
def test_a_set_that_is_absent_says_how_to_get_it_and_nothing_is_created(tmp_path, name):
    for call in (lambda: open_dataset(name, root=tmp_path), lambda: open_torchvision(CARDS[name], tmp_path)):
        with pytest.raises(DataError) as caught:
            call()
        assert f"Expected tree: {CARDS[name].tree}" in str(caught.value)
        assert CARDS[name].get in str(caught.value)
        assert str(tmp_path) in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", [name for name in FILE_SETS if name != "sun397"])
def test_listed_images_that_are_absent_are_named(make, tmp_path, name):
    make(name)
    gone = open_dataset(name, root=tmp_path).ids[0]
    (tmp_path / gone).unlink()
    if name == "caltech101":  # which counts the files, so another one has to be there
        write(tmp_path, str(Path(gone).with_name("notes.txt")))
    with pytest.raises(DataError, match=f"{name}: 1 of . images are listed but not in .*: {gone}; unpack"):
        open_dataset(name, root=tmp_path)
    assert gone not in open_dataset(name, root=tmp_path, faulty=True).ids


def test_no_image_at_all(make, tmp_path):
    make("pets")
    shutil.rmtree(tmp_path / "oxford-iiit-pet" / "images")
    (tmp_path / "oxford-iiit-pet" / "images").mkdir()
    with pytest.raises(DataError, match="pets: .*: none of the 4 images that are listed is there. Expected tree"):
        open_dataset("pets", root=tmp_path)


def test_empty_images_are_named(make, tmp_path):
    make("sun397")
    write(tmp_path, "SUN397/a/abbey/sun_b.jpg", "")
    with pytest.raises(DataError, match=r"SUN397/a/abbey/sun_b.jpg in .*: empty \(0 bytes\)"):
        open_dataset("sun397", root=tmp_path)


def test_an_image_in_two_splits_is_named(make, tmp_path):
    make("dtd")
    write(tmp_path, "dtd/dtd/labels/val1.txt", "banded/1.jpg\n")
    with pytest.raises(DataError, match="dtd: dtd/dtd/images/banded/1.jpg in .*: listed more than once"):
        open_dataset("dtd", root=tmp_path)


AIRCRAFT_VAL = "fgvc-aircraft-2013b/data/images_variant_val.txt"
CARS_TEST = "stanford_cars/cars_test_annos_withlabels.mat"
PETS_TEST = "oxford-iiit-pet/annotations/test.txt"
DAMAGE = [
    ("aircraft", AIRCRAFT_VAL, None, r"No such file .*\(FileNotFoundError\)"),
    ("aircraft", AIRCRAFT_VAL, "04 A 311\n", r"'A 311' \(KeyError\)"),
    ("aircraft", AIRCRAFT_VAL, "04\n", r"not enough values .*\(ValueError\)"),
    ("cars", CARS_TEST, None, r"Dataset not found.*\(RuntimeError\)"),
    ("cars", CARS_TEST, "", r"Mat file appears .*\(MatReadError\)"),
    ("cars", CARS_TEST, "no MATLAB file at all" * 50, r"Unknown mat file type.*\(ValueError\)"),
    ("flowers", "flowers-102/setid.mat", "changed", r"Dataset not found or corrupted \(RuntimeError\)"),
    ("flowers", "flowers-102/imagelabels.mat", None, r"Dataset not found or corrupted \(RuntimeError\)"),
    ("food", "food-101/meta/test.json", "{", r"\(JSONDecodeError\)"),
    ("pets", PETS_TEST, "Bombay_1 two 1 1", "invalid literal"),
    ("pets", PETS_TEST, "a_1 0 1 1\nb_1 1 1 1", r"names 2 classes, .*a_1.jpg \(class -1\)"),
    ("pets", PETS_TEST, "a_1 1 1 1\nb_1 3 1 1", r"names 2 classes, .*b_1.jpg \(class 2\)"),
    ("sun397", "SUN397/ClassName.txt", "/a/abbey\n", r"'apse/indoor' \(KeyError\)"),
    ("voc2007", "VOCdevkit/VOC2007/ImageSets/Main/test.txt", None, r"No such file .*\(FileNotFoundError\)"),
]


@pytest.mark.parametrize(("name", "path", "content", "message"), DAMAGE)
def test_a_damaged_tree_is_one_error(make, tmp_path, name, path, content, message):
    make(name)
    (tmp_path / path).unlink()
    if content is not None:
        write(tmp_path, path, content)
    with pytest.raises(
        DataError, match=rf"{name}: torchvision's \w+ cannot read .*{message}.*Expected tree.*get"
    ) as caught:
        open_dataset(name, root=tmp_path)
    assert "download=True" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_table_of_matlab_that_breaks_off(make, tmp_path):
    make("cars")
    whole = (tmp_path / CARS_TEST).read_bytes()
    for n_bytes in (100, 200, len(whole) // 2, len(whole) - 60):
        (tmp_path / CARS_TEST).write_bytes(whole[:n_bytes])
        with pytest.raises(DataError, match="cars: torchvision's StanfordCars cannot read"):
            open_dataset("cars", root=tmp_path)


def test_caltech101_creates_no_folder(tmp_path):
    folder = tmp_path / "caltech101"
    with pytest.raises(RuntimeError):
        Caltech101(tmp_path)
    assert folder.is_dir()  # what torchvision does by itself
    folder.rmdir()
    with pytest.raises(DataError, match="there is no folder caltech101/101_ObjectCategories/BACKGROUND_Google"):
        open_torchvision(CARDS["caltech101"], tmp_path)
    assert not folder.exists()


def test_a_torchvision_without_an_attribute_is_an_error(make, tmp_path, monkeypatch):
    make("aircraft")
    whole = FGVCAircraft.__init__

    def without_labels(self, *arguments, **settings):
        whole(self, *arguments, **settings)
        del self._labels

    monkeypatch.setattr(FGVCAircraft, "__init__", without_labels)
    message = (
        rf"aircraft: torchvision {torchvision.__version__[:4]}.*no attribute '_labels'; versions 0.21 to 0.29 have it"
    )
    with pytest.raises(DataError, match=message):
        open_dataset("aircraft", root=tmp_path)


def test_flowers_are_numbered_where_torchvision_does_not_name_them(make, tmp_path, monkeypatch):
    n = len(make("flowers"))
    monkeypatch.delattr(Flowers102, "classes", raising=False)  # as in torchvision 0.21
    assert open_dataset("flowers", root=tmp_path).class_names == tuple(str(k + 1) for k in range(n))


def test_an_unknown_class_of_torchvision(tmp_path):
    card = tmp_path / "mine.toml"
    card.write_text(shipped_cards()["dtd"].read_text().replace('torchvision = "DTD"', 'torchvision = "DTDD"'))
    with pytest.raises(DataError, match=r"dtd: unknown class of torchvision 'DTDD' \(did you mean 'DTD'\?\)"):
        open_dataset(str(card), root=tmp_path)


def test_every_class_that_is_known_has_a_card():
    assert {card.torchvision for card in CARDS.values()} - {""} == set(KNOWN)


def test_what_differs_from_the_card_is_noticed(make, tmp_path):
    make("dtd")
    (notice,) = open_dataset("dtd", root=tmp_path).notices
    assert notice.text.startswith(
        "dtd: a subset: 5 of 5,640 images (banded 3 of 120, blotchy 0 of 120, braided 0 of 120"
    )


def test_voc2007_tells_what_it_leaves_out_and_states_no_number(make, tmp_path):
    make("voc2007")
    dataset = open_dataset("voc2007", root=tmp_path)
    assert dataset.n_on_card is None
    assert tuple(map(str, dataset.notices)) == (
        "voc2007: 2 images that do not show objects of exactly one class were left out",
        "voc2007: a subset: 4 of 4 images (3 of 20 classes)",
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('<!DOCTYPE a [<!ENTITY b "c">]><annotation>&b;</annotation>', "has a DOCTYPE or an ENTITY"),
        ("<annotation>", "this annotation cannot be read: no element found"),
        (annotation("dgo"), r"unknown class 'dgo' \(did you mean 'dog'\?\)"),
        (annotation("person").replace("person", "\xe9"), "this annotation cannot be read: 'utf-8' codec"),
        (None, "this annotation cannot be read: .*No such file"),
    ],
)
def test_an_annotation_that_is_damaged(make, tmp_path, text, message):
    make("voc2007")
    path = tmp_path / "VOCdevkit" / "VOC2007" / "Annotations" / "000004.xml"
    path.unlink()
    if text is not None:
        path.write_bytes(text.encode("latin-1"))
    with pytest.raises(DataError, match=f"000004.xml: {message}"):
        open_dataset("voc2007", root=tmp_path)


@pytest.mark.parametrize(("name", "kind", "n_classes"), [("cifar10", CIFAR10, 10), ("cifar100", CIFAR100, 100)])
def test_cifar_is_in_memory(tmp_path, monkeypatch, rng, name, kind, n_classes):
    parts = make_cifar(tmp_path, monkeypatch, kind, n_classes, rng)
    dataset = open_dataset(name, root=tmp_path)
    assert dataset.in_memory
    assert list(dataset.class_names) == list(CARDS[name].classes)
    assert dataset.class_sizes == [sum(len(y) for _, y in parts.values()) // n_classes] * n_classes
    order = list(zip(dataset.labels.tolist(), dataset.ids, strict=True))
    assert order == sorted(order)
    read = pickle.loads(pickle.dumps(dataset.read))
    for row in range(0, len(dataset), 7):
        split, place = dataset.ids[row].split("/")
        x, y = parts[split]
        assert (y[int(place)], {"train": 0, "test": 2}[split]) == (dataset.labels[row], dataset.splits[row])
        pixels = x[int(place)].reshape(3, 32, 32).transpose(1, 2, 0)  # the published order is channel, row, column
        assert read(row) == b"P6 32 32 255\n" + pixels.tobytes()


class Marked:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("file", ["data_batch_2", "test_batch", "batches.meta"])
def test_a_file_of_cifar_with_another_md5_is_not_unpickled(tmp_path, monkeypatch, rng, file):
    make_cifar(tmp_path, monkeypatch, CIFAR10, 10, rng)
    trace = tmp_path / "unpickled"
    (tmp_path / "cifar-10-batches-py" / file).write_bytes(pickle.dumps(Marked(trace)))
    with pytest.raises(DataError, match=r"cifar10: torchvision's CIFAR10 cannot read .*not found or corrupted"):
        open_dataset("cifar10", root=tmp_path)
    assert not trace.exists()
    pickle.loads((tmp_path / "cifar-10-batches-py" / file).read_bytes())
    assert trace.exists()  # so it would have been seen


def test_a_table_of_mhist(tmp_path):
    header = "Image Name,Majority Vote Label,Number of Annotators who Selected SSA (Out of 7),Partition"
    lines = ["MHIST_aab.png,SSA,6,train", "MHIST_aaa.png,SSA,4,test", "MHIST_aac.png,HP,0,train"]
    write(tmp_path, "MHIST/annotations.csv", "\n".join([header, *lines]))
    for line in lines:
        write(tmp_path, f"MHIST/images/{line.split(',')[0]}")
    dataset = open_dataset("mhist", root=tmp_path)
    assert (dataset.class_names, dataset.class_sizes) == (("HP", "SSA"), [1, 2])
    assert dataset.ids == ("MHIST_aac.png", "MHIST_aaa.png", "MHIST_aab.png")
    assert dataset.splits.tolist() == [0, 2, 0]


def test_the_tables_of_miniimagenet_are_pooled(tmp_path):
    for split, wnid in [("train", "n03"), ("val", "n02"), ("test", "n01")]:
        files = [f"{wnid}0000000{k}.jpg" for k in range(2)]
        write(
            tmp_path, f"miniImageNet/{split}.csv", "\n".join(["filename,label", *(f"{file},{wnid}" for file in files)])
        )
        for file in files:
            write(tmp_path, f"miniImageNet/images/{file}")
    dataset = open_dataset("miniimagenet", root=tmp_path)
    assert (dataset.class_names, dataset.class_sizes) == (("n01", "n02", "n03"), [2, 2, 2])
    assert dataset.splits is None
    assert tuple(map(str, dataset.notices)) == ("miniimagenet: a subset: 6 of 60,000 images (3 of 100 classes)",)


@pytest.mark.parametrize("folder", ["CUB", "."])
def test_the_folders_of_cub(tmp_path, folder):
    for name in ("001.Black_footed_Albatross/a.jpg", "002.Laysan_Albatross/b.jpg"):
        write(tmp_path / folder, f"CUB_200_2011/images/{name}")
    dataset = open_dataset("cub", root=tmp_path)
    assert dataset.class_names == ("001.Black_footed_Albatross", "002.Laysan_Albatross")
    assert tuple(map(str, dataset.notices)) == ("cub: a subset: 2 of 11,788 images (2 of 200 classes)",)
