import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from reference.places import SHARED, needs_shared

from fewshot_bn.datasets import open_dataset
from fewshot_bn.errors import DataError, UsageError


def make_tree(root: Path, sizes: dict[str, int]) -> None:
    for name, n in sizes.items():
        (root / name).mkdir(parents=True)
        for i in range(n):
            Image.new("RGB", (4, 4), (i, 0, 0)).save(root / name / f"{i}.png")


def test_a_folder_is_a_dataset_in_canonical_order(image_folder):
    dataset = open_dataset(str(image_folder))
    assert dataset.class_names == ("a, b", "c", "d e")
    assert dataset.class_sizes == [12, 9, 8]
    assert dataset.labels.tolist() == sorted(dataset.labels.tolist())
    for k in range(3):
        ids = [name for name, label in zip(dataset.ids, dataset.labels, strict=True) if label == k]
        assert ids == sorted(ids)
    assert dataset.ids[13] == "c/1.png"
    assert dataset.read(13) == (image_folder / "c" / "1.png").read_bytes()


def test_images_may_lie_deeper_and_other_files_are_noticed(image_folder):
    (image_folder / "c" / "more" / "deep").mkdir(parents=True)
    Image.new("L", (4, 4)).save(image_folder / "c" / "more" / "deep" / "x.JPG", "JPEG")
    (image_folder / "c" / "notes.txt").write_text("hello")
    (image_folder / "c" / ".hidden.png").write_text("hello")
    dataset = open_dataset(str(image_folder))
    assert "c/more/deep/x.JPG" in dataset.ids
    assert dataset.class_sizes == [12, 10, 8]
    assert tuple(map(str, dataset.notices)) == ("shapes: 1 file left out: 1 .txt",)


def test_links_that_lead_in_circles_are_not_followed(image_folder):
    (image_folder / "c" / "loop").symlink_to(image_folder / "c")
    assert open_dataset(str(image_folder)).class_sizes == [12, 9, 8]


def test_a_broken_link_is_named(image_folder):
    (image_folder / "c" / "gone.png").symlink_to(image_folder / "nowhere.png")
    with pytest.raises(
        DataError, match=r"gone.png: is a link to .*nowhere.png, which is not there; get that or remove it"
    ):
        open_dataset(str(image_folder))


def test_the_fingerprint_tells_what_was_found(image_folder):
    before = open_dataset(str(image_folder))
    os.utime(image_folder / "c" / "0.png", (1, 1))
    touched = open_dataset(str(image_folder))
    assert (touched.fingerprint, touched.stamp != before.stamp) == (before.fingerprint, True)
    (image_folder / "c" / "0.png").rename(image_folder / "c" / "zero.png")
    assert open_dataset(str(image_folder)).fingerprint != before.fingerprint


def test_an_empty_class_folder_is_named(image_folder):
    (image_folder / "empty").mkdir()
    with pytest.raises(DataError, match="the class folder 'empty' .* holds no image"):
        open_dataset(str(image_folder))


def test_empty_files_are_named_together(image_folder):
    for name in ("0.png", "1.png", "2.png", "3.png"):
        (image_folder / "c" / name).write_bytes(b"")
    with pytest.raises(DataError, match=r"c/0.png, c/1.png, c/2.png and 1 more in .*: empty \(0 bytes\)"):
        open_dataset(str(image_folder))


def test_a_folder_without_class_folders(tmp_path):
    with pytest.raises(DataError, match="0 class folders found, at least 2 are needed"):
        open_dataset(str(tmp_path))


def test_an_unknown_name_lists_what_is_known():
    with pytest.raises(UsageError, match=r"unknown dataset 'eurosta' \(did you mean 'eurosat'\?\)"):
        open_dataset("eurosta")


def test_a_dataset_that_is_absent_says_where_it_was_looked_for_and_what_to_do(tmp_path):
    with pytest.raises(DataError) as caught:
        open_dataset("eurosat", root=tmp_path)
    message = str(caught.value)
    for part in (f"{tmp_path}/EuroSAT/2750", "Expected tree", "How to get it", "--data-root", "embedded digits"):
        assert part in message


@needs_shared
def test_the_real_eurosat_subset():
    dataset = open_dataset("eurosat", root=SHARED / "data")
    assert dataset.class_sizes == [100] * 10
    assert dataset.class_names[0] == "AnnualCrop"
    assert dataset.ids[0].startswith("AnnualCrop/AnnualCrop_")
    assert dataset.notices[0].text.startswith("eurosat: a subset: 1,000 of 27,000 images")
    np.testing.assert_array_equal(dataset.labels, np.repeat(np.arange(10), 100))
    with pytest.raises(DataError, match="a subset"):
        open_dataset("eurosat", root=SHARED / "data", strict=True)


@needs_shared
def test_a_real_folder_with_commas_and_spaces_in_class_names():
    dataset = open_dataset(str(SHARED / "data" / "CropDiseases" / "dataset" / "train"))
    assert dataset.class_names[0] == "Pepper,_bell___Bacterial_spot"
    assert dataset.class_sizes == [35] * 15


@pytest.fixture
def parted(image_folder):
    root = image_folder.parent / "parted"
    for name in ("train", "val", "test"):
        shutil.copytree(image_folder, root / name)
    return root


def test_folders_of_splits_are_pooled_in_canonical_order_and_say_which(parted):
    dataset = open_dataset(str(parted))
    assert dataset.class_names == ("a, b", "c", "d e")
    assert dataset.class_sizes == [36, 27, 24]
    assert list(dataset.ids) == sorted(dataset.ids, key=lambda i: (i.split("/")[1], i))
    expected = [{"train": 0, "val": 1, "test": 2}[name.split("/")[0]] for name in dataset.ids]
    assert dataset.splits.tolist() == expected
    assert dataset.read(0) == (parted / dataset.ids[0]).read_bytes()


def test_a_split_may_lack_a_class_but_the_training_images_may_not(parted):
    shutil.rmtree(parted / "test" / "c")
    assert open_dataset(str(parted)).class_sizes == [36, 18, 24]
    shutil.rmtree(parted / "train" / "c")
    with pytest.raises(DataError, match="the class folder 'c' in .*train holds no image"):
        open_dataset(str(parted))


def test_test_or_validation_images_may_be_missing_but_training_images_may_not(parted):
    shutil.rmtree(parted / "test")
    assert open_dataset(str(parted)).class_sizes == [24, 18, 16]
    (parted / "train").rename(parted / "test")
    with pytest.raises(DataError, match="holds test, val; train is missing; of train, val and test, only val and test"):
        open_dataset(str(parted))


@pytest.mark.parametrize(
    "names",
    [
        *(("train", "valid"), ("Training", "Testing"), ("TRAIN", "Dev"), ("train_set", "validation_set")),
        *(("train2017", "val2017"), ("seg_train/seg_train", "seg_test/seg_test"), ("train/images", "eval/images")),
    ],
)
def test_folders_called_like_splits_in_any_usual_way_are_splits(image_folder, names):
    root = image_folder.parent / "parted"
    for name in names:
        shutil.copytree(image_folder, root / name)
    dataset = open_dataset(str(root))
    assert (dataset.class_names, dataset.class_sizes) == (("a, b", "c", "d e"), [24, 18, 16])
    second = 2 if "est" in names[1] or "eval" in names[1] else 1
    assert dataset.splits.tolist() == [0 if name.startswith(names[0]) else second for name in dataset.ids]
    assert dataset.notices == ()


def test_two_folders_of_one_split_are_an_error(parted):
    shutil.copytree(parted / "val", parted / "validation")
    with pytest.raises(DataError, match="holds val and validation, both called as val; leave one"):
        open_dataset(str(parted))


def test_split_folders_without_class_folders_are_an_error(tmp_path):
    make_tree(tmp_path / "x", {"train": 3, "test": 3})
    with pytest.raises(DataError, match="holds test, train; train has no class folders"):
        open_dataset(str(tmp_path / "x"))


@pytest.mark.parametrize("name", ["validate_me", "test_masks"])
def test_other_folders_beside_train_and_test_are_an_error(parted, name):
    (parted / "val").rename(parted / name)
    with pytest.raises(DataError, match=f"holds train and test, but also {name}; call a folder of validation"):
        open_dataset(str(parted))


def test_the_folder_of_an_ordinary_dataset_has_no_splits(image_folder):
    assert open_dataset(str(image_folder)).splits is None
    shutil.copytree(image_folder / "c", image_folder / "test")  # a class of that name among others
    dataset = open_dataset(str(image_folder))
    assert dataset.class_names == ("a, b", "c", "d e", "test")
    (notice,) = dataset.notices
    assert notice.text == "shapes: test: called like a split, but taken for a class, as other folders lie beside it"


@pytest.mark.parametrize("name", ["x" * 300, "a/" + "x" * 300, "x" * 300 + ".toml", "a\0b"])
def test_a_name_that_no_file_can_have_is_unknown(name):
    with pytest.raises((UsageError, DataError), match="unknown dataset|there is no image folder"):
        open_dataset(name)


def in_each_class(folder, *places):
    for class_name in ("a, b", "c", "d e"):
        for place in places:
            (folder / class_name / place).mkdir(parents=True)
            Image.new("L", (4, 4)).save(folder / class_name / place / "x.png")


def test_folders_that_repeat_below_the_classes_are_named(image_folder):
    in_each_class(image_folder, "extra/deep", "images")
    dataset = open_dataset(str(image_folder))
    assert dataset.class_sizes == [14, 11, 10]
    (notice,) = dataset.notices
    assert notice.text == (
        "shapes: the images of the class folder itself, 'extra', 'images' are used together in each class"
    )


def test_one_folder_below_each_class_needs_no_word(tmp_path):
    in_each_class(tmp_path, "images")
    assert open_dataset(str(tmp_path)).notices == ()


@pytest.mark.parametrize(
    "name",
    [
        "masks",
        "Mask",
        "labels",
        "Annotations",
        "ground_truth",
        "GroundTruth/deep",
        "GT",
        "segmentation",
        "lung mask_png",
    ],
)
def test_masks_below_a_class_are_an_error(image_folder, name):
    (image_folder / "c" / name).mkdir(parents=True)
    assert open_dataset(str(image_folder)).class_sizes == [12, 9, 8]  # where no image lies in it
    Image.new("L", (4, 4)).save(image_folder / "c" / name / "1.png")
    with pytest.raises(DataError, match=f"below the class folder 'c' lie images in a folder {name.split('/')[0]!r}"):
        open_dataset(str(image_folder))


@pytest.mark.parametrize("name", ["no_mask", "bright", "masked", "labelled by Ann", "legs", "c"])
def test_folders_that_are_called_otherwise_hold_images(image_folder, name):
    (image_folder / "c").rename(image_folder / "mask")
    shutil.copytree(image_folder / "mask", image_folder / "mask" / name)
    assert open_dataset(str(image_folder)).class_sizes == [12, 8, 18]


def test_a_class_may_be_called_mask(image_folder):
    (image_folder / "c").rename(image_folder / "mask")
    shutil.copytree(image_folder / "mask", image_folder / "mask" / "mask")  # as archives of archives leave it
    assert open_dataset(str(image_folder)).class_sizes == [12, 8, 18]


@pytest.mark.parametrize("name", ["1_mask", "1_mask_1", "1-segmentation", "1_GT"])
def test_images_called_as_masks_of_those_beside_them_are_an_error(image_folder, name):
    path = image_folder / "c" / f"{name}.png"
    Image.new("L", (4, 4)).save(path)
    with pytest.raises(DataError, match=f"{name}.png in the class folder 'c' would be taken for images of the class"):
        open_dataset(str(image_folder))
    (image_folder / "c" / "1.png").unlink()
    assert open_dataset(str(image_folder)).class_sizes == [12, 9, 8]  # it is the mask of none


def test_folders_of_images_and_labels_are_no_classes(image_folder):
    for name in ("images", "labels"):
        shutil.copytree(image_folder, image_folder.parent / "parts" / name)
    with pytest.raises(DataError, match="holds the folders images, labels, which are no classes"):
        open_dataset(str(image_folder.parent / "parts"))


def test_images_beside_the_class_folders_are_noticed(image_folder):
    shutil.copy(image_folder / "c" / "1.png", image_folder)
    (notice,) = open_dataset(str(image_folder)).notices
    assert notice.text == "shapes: 1 images beside the class folders were left out: 1.png"


def test_classes_that_links_make_the_same_are_refused(image_folder):
    a = image_folder / sorted(path.name for path in image_folder.iterdir())[0]
    (image_folder / "zz").symlink_to(a, target_is_directory=True)
    with pytest.raises(DataError, match=f"'{a.name}' and 'zz' are the same folder, .*{a.name}; remove one of them"):
        open_dataset(str(image_folder))
    (image_folder / "zz").unlink()
    (image_folder / "zz").symlink_to(image_folder, target_is_directory=True)
    with pytest.raises(DataError, match="'zz' is a link to .*, which holds the classes; remove the link"):
        open_dataset(str(image_folder))


def test_links_to_class_folders_are_class_folders(image_folder, tmp_path):
    (tmp_path / "links").mkdir()
    for folder in image_folder.iterdir():
        (tmp_path / "links" / folder.name).symlink_to(folder, target_is_directory=True)
    assert open_dataset(str(tmp_path / "links")).fingerprint == open_dataset(str(image_folder)).fingerprint


def test_links_that_lead_nowhere_or_in_circles(image_folder):
    before = open_dataset(str(image_folder))
    first = next(image_folder.iterdir())
    (image_folder / "circle").symlink_to(image_folder / "circle")
    (image_folder / "gone").symlink_to("/nowhere")
    (first / "up").symlink_to(image_folder, target_is_directory=True)
    dataset = open_dataset(str(image_folder))
    assert dataset.fingerprint == before.fingerprint
    assert [str(notice) for notice in dataset.notices] == [f"{image_folder.name}: 1 file left out: 1 link to a folder"]
    (first / "gone.png").symlink_to("/nowhere/x.png")
    with pytest.raises(
        DataError, match="gone.png: is a link to /nowhere/x.png, which is not there; get that or remove"
    ):
        open_dataset(str(image_folder))


def test_classes_that_differ_in_case_alone_are_noticed(image_folder):
    first = sorted(image_folder.iterdir())[0]
    shutil.copytree(first, first.with_name(first.name.upper()))
    (notice,) = open_dataset(str(image_folder)).notices
    assert f"{first.name.upper()} and {first.name}: classes whose names differ in upper and lower case" in str(notice)


@pytest.mark.parametrize(
    "names", [["fold1", "fold2"], ["Fold_0", "Fold_1", "Fold_2"], ["kfold-1", "kfold-2"], ["split 1", "split 2"]]
)
@pytest.mark.parametrize("inside", ["", "cat/"])
def test_parts_of_a_dataset_are_no_classes(tmp_path, names, inside):
    make_tree(tmp_path, {f"{name}/{inside}": 2 for name in names})
    with pytest.raises(DataError, match=f"holds {names[0]}.*called like parts of a dataset, not like classes; merge"):
        open_dataset(str(tmp_path))


def test_a_class_may_be_called_like_a_part(tmp_path):
    make_tree(tmp_path, {"fold1": 2, "crease": 2})
    assert open_dataset(str(tmp_path)).class_names == ("crease", "fold1")


def test_images_without_class_folders_need_a_table(tmp_path):
    for i in range(3):
        Image.new("RGB", (4, 4)).save(tmp_path / f"{i}.png")
    with pytest.raises(DataError, match="or a table that names the classes of the 3 images that lie in it"):
        open_dataset(str(tmp_path))


def test_a_class_without_images_is_said(tmp_path):
    make_tree(tmp_path, {"a": 2, "b": 2, "c": 0})
    with pytest.raises(DataError, match=r"class folder 'c' in .* holds no image \(.*\); get its images, or remove it"):
        open_dataset(str(tmp_path))


@pytest.mark.parametrize("name", ["unlabeled", "predict", "seg_pred"])
def test_a_folder_of_images_without_labels_is_left_out_and_said(parted, name):
    (parted / "val").rename(parted / name)
    dataset = open_dataset(str(parted))
    assert not any(image.startswith(name) for image in dataset.ids)
    assert any(f"{name} left out, called like images without labels" in str(notice) for notice in dataset.notices)


def test_splits_of_other_classes_each_are_used_together(tmp_path):
    make_tree(tmp_path / "few", {"train/a": 2, "train/b": 3, "val/c": 2, "test/d": 4})
    dataset = open_dataset(str(tmp_path / "few"))
    assert (dataset.class_names, dataset.class_sizes, dataset.splits) == (("a", "b", "c", "d"), [2, 3, 2, 4], None)
    (notice,) = dataset.notices
    assert notice.text.startswith("few: train, val, test hold other classes each; all are used together")


@pytest.mark.parametrize("names", [["base", "novel", "val"], ["seen", "unseen"], ["base_classes", "novel_classes"]])
def test_parts_of_few_shot_learning_are_no_classes(tmp_path, names):
    make_tree(tmp_path, {f"{name}/c{k}": 2 for k, name in enumerate(names)})
    with pytest.raises(DataError, match=f"holds {', '.join(names)}, which are called like parts of a dataset"):
        open_dataset(str(tmp_path))


def test_splits_may_be_numbered(tmp_path):
    make_tree(tmp_path, {"1_train/a": 2, "1_train/b": 2, "2_val/a": 2, "2_val/b": 2, "3_test/a": 2, "3_test/b": 2})
    dataset = open_dataset(str(tmp_path))
    assert (dataset.class_names, sorted(set(dataset.splits.tolist()))) == (("a", "b"), [0, 1, 2])


def test_where_all_images_lie_deeper_the_note_says_what_to_name(tmp_path):
    make_tree(tmp_path / "x", {f"{top}/{inner}": 2 for top in ("art", "photo") for inner in ("cat", "dog")})
    (notice,) = open_dataset(str(tmp_path / "x")).notices
    assert notice.text == (
        "x: the images of 'cat', 'dog' are used together in each class; if these are classes, name one of art, photo "
        "instead"
    )
