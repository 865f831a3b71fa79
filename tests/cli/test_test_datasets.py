"""The command with --test-dataset, in this process, on small folders and files in official layouts."""

import json
import re
import shutil

import numpy as np
import pytest
from PIL import Image
from reference.commands import assert_refused

from fewshot_bn import ManyShotConfig, dataset_of_files, open_dataset
from fewshot_bn.eval import main
from fewshot_bn.evaluation.many_shot.learner import Learner
from fewshot_bn.evaluation.many_shot.linear import LinearEvaluation
from fewshot_bn.experiment import results
from fewshot_bn.results.many_shot_files import read_many_shot

HEAD = ("--mode", "head", "--set", "head.epochs=1", "head.batch_size=8")


def run(*arguments):
    return main(["--dataset", "shapes", "--model", "card.toml", "--regime", "many-shot", *arguments])


@pytest.fixture
def domains(here, rng):
    """DomainNet's tree, domain/class/image, with classes as in shapes: spelt otherwise, and one more in sketch."""
    for domain, names in {"sketch": ["A,-B", "c", "d-e", "other"], "real": ["c", "d e"]}.items():
        for k, name in enumerate(names):
            (here / "domains" / domain / name).mkdir(parents=True)
            for i in range(12):
                pixels = rng.integers(0, 150, (20, 24, 3), dtype=np.uint8)
                pixels[..., k % 3] += 90
                Image.fromarray(pixels).save(here / "domains" / domain / name / f"{i}.png")
    return here / "domains"


@pytest.fixture
def table(here, rng):
    """WILDS's metadata.csv: two domains of 24 and 20 test images, and training images that do not count."""
    lines = ["filename,y,split,domain"]
    (here / "wilds").mkdir()
    for i in range(60):
        Image.fromarray(rng.integers(0, 256, (20, 24, 3), dtype=np.uint8)).save(here / "wilds" / f"{i}.png")
        domain = "north" if i < 24 else "south"
        lines.append(f"{i}.png,{('c', 'd e')[i % 2]},{'test' if i < 44 else 'train'},{domain}")
    (here / "wilds" / "metadata.csv").write_text("\n".join(lines))
    return str(here / "wilds" / "metadata.csv")


def results_of(folder, *modes):
    return [read_many_shot(next(folder.glob(f"*_{mode}_*.json"))) for mode in modes]


@pytest.mark.full
def test_table_and_file_say_the_same(here, domains, table, capsys):
    names = ["domains/sketch", "domains/real", table]
    assert run("--test-dataset", *names, "--shared-classes", *HEAD) == 0
    printed = capsys.readouterr()
    assert "6 test images, drawn with seed 0, and 36 of sketch, and 24 of real, and 44 of metadata" in printed.err
    for note in (
        "note: sketch: classes that are called otherwise: A,-B is a, b, d-e is d e",
        "note: sketch: 12 images left out, of classes that shapes lacks: other (12 images)",
        "note: metadata: its 44 test images, of 60",
    ):
        assert note in printed.err
    header, _, *lines = printed.out.splitlines()
    titles = [f"{name}: top-1 ± 95 % CI +difference to lr ± CI" for name in ("sketch", "real", "metadata")]
    assert re.search(" +".join([*titles, "worst group"]), header)
    assert header.count("worst group") == 1
    lr, head = results_of(here / "results", "lr", "head")
    for result, line in zip((lr, head), lines, strict=False):
        assert list(result.tests) == ["sketch", "real", "metadata"]
        for name, tested in result.tests.items():
            labels, predicted = np.array(tested.labels), np.array(tested.predictions)
            assert tested.test["top-1"] == np.mean(labels == predicted)
            assert result.key["tests"][name]["n_images"] == len(labels)
            assert f"{100 * tested.test['top-1']:.2f} ± " in line
        assert f"{100 * result.tests['metadata'].worst_group['accuracy']:.2f}" in line
    tested = head.tests["metadata"]
    dataset = open_dataset(table)
    rows = np.flatnonzero(dataset.splits == 2)
    groups = np.array([dataset.groups[row] for row in rows])
    right = np.array(tested.labels) == tested.predictions
    means = {group: right[groups == group].mean() for group in ("north", "south")}
    worst = min(means, key=means.get)
    n = {"north": 24, "south": 20}[worst]
    assert tested.worst_group == {"group": worst, "accuracy": means[worst], "n_images": n}
    classes = ("a, b", "c", "d e")  # of the training data
    assert [dataset.class_names[k] for k in dataset.labels[rows]] == [classes[k] for k in tested.labels]
    assert re.search(
        rf"worst group of metadata \(top-1, of those of at least 20 images\): .*head {worst} \({n} images\)",
        printed.out,
    )
    found = head.difference_to(lr, "top-1", "sketch")
    other = np.array(lr.tests["sketch"].labels) == lr.tests["sketch"].predictions
    own = np.array(head.tests["sketch"].labels) == head.tests["sketch"].predictions
    assert found.mean == pytest.approx(own.mean() - other.mean())
    assert f"{100 * found.mean:+.2f} ± " in lines[1]


@pytest.mark.full
def test_what_is_known_without_them_stays_as_it_is_and_a_run_says_that_it_fits_again(here, domains, capsys):
    assert run(*HEAD) == 0
    before = {path.name: path.read_bytes() for path in (here / "results").glob("*.json")}
    assert not any(b'"tests"' in content or b'"worst_group"' in content for content in before.values())
    capsys.readouterr()
    assert run("--test-dataset", "domains/real", *HEAD) == 0
    assert (
        "note: head: is fitted again, as only its result without --test-dataset was kept; name"
        in capsys.readouterr().err
    )
    paths = set((here / "results").glob("*.json"))
    assert all((here / "results" / name).read_bytes() == content for name, content in before.items())
    assert len(paths) == 4
    for path in paths:
        (alone,) = [
            json.loads(content) for name, content in before.items() if name.split("_")[2] == path.name.split("_")[2]
        ]
        content = json.loads(path.read_text())
        assert (content["test"], content["predictions"]) == (alone["test"], alone["predictions"])


def test_a_complete_result_is_not_computed_again_in_whatever_order_they_are_named(
    here, domains, table, capsys, monkeypatch
):
    assert run("--test-dataset", "domains/real", table, *HEAD) == 0
    first = capsys.readouterr().out
    monkeypatch.setattr(LinearEvaluation, "sweep", None)
    monkeypatch.setattr(Learner, "train", None)
    assert run("--test-dataset", "domains/real", table, *HEAD) == 0
    assert capsys.readouterr().out == first
    assert run("--test-dataset", table, "domains/real", *HEAD) == 0
    assert re.search("metadata: top-1.* real: top-1", capsys.readouterr().out.splitlines()[0])


@pytest.mark.full
def test_groups_are_those_of_the_data_today(here, table, capsys):
    assert run("--test-dataset", table) == 0
    capsys.readouterr()
    path = here / "wilds" / "metadata.csv"
    path.write_text(path.read_text().replace("north", "east").replace("south", "east"))
    assert run("--test-dataset", table) == 0
    assert "at least 20 images): lr east (44 images)" in capsys.readouterr().out


@pytest.mark.full
def test_the_training_data_have_worst_groups_too(here, rng, capsys):
    lines = ["path,label,split,group"]
    for i in range(100):
        Image.fromarray(rng.integers(0, 256, (20, 24, 3), dtype=np.uint8)).save(here / f"{i}.png")
        lines.append(f"{i}.png,{'ab'[i % 2]},{('train', 'test')[i >= 50]},{'xy'[i % 50 >= 25]}")
    (here / "own.csv").write_text("\n".join(lines))
    assert run("--dataset", "own.csv") == 0
    header, _, line, *notes = capsys.readouterr().out.splitlines()
    assert re.match("mode +top-1 ± 95 % CI +worst group +mean per class", header)
    (result,) = results_of(here / "results", "lr")
    assert result.worst_group["group"] in "xy"
    assert f" {100 * result.worst_group['accuracy']:.2f} " in line
    assert any(
        f"worst group (top-1, of those of at least 20 images): lr {result.worst_group['group']} (25 images)" == note
        for note in notes
    )


@pytest.mark.full
def test_an_npy_pair_and_two_of_one_name(here, domains, capsys, rng):
    for folder in ("CIFAR-10-C", "more"):
        (here / folder).mkdir()
        np.save(here / folder / "fog.npy", rng.integers(0, 256, (150, 32, 32, 3), dtype=np.uint8))
        np.save(here / folder / "labels.npy", np.tile([0, 1, 2], 50))
        (here / folder / "classes.txt").write_text("a, b\nc\nd e\n")
    assert run("--test-dataset", "CIFAR-10-C/fog.npy", "more/fog.npy", "--quiet") == 0
    printed = capsys.readouterr().out
    assert re.search(r"fog: top-1 .* fog \(2\): top-1", printed.splitlines()[0])
    assert re.search(
        r"worst group of fog \(top-1, of those of at least 20 images\): lr severity \d \(30 images\)", printed
    )


@pytest.mark.full
def test_objects_from_python(here, domains):
    images = [(path, path.parent.name) for path in (domains / "real").glob("*/*.png")]
    config = ManyShotConfig(
        dataset="shapes",
        model="card.toml",
        test_datasets=[dataset_of_files("files", images), domains / "sketch"],
        shared_classes=True,
    )
    (result,) = results(config)
    assert list(result.tests) == ["files", "sketch"]
    (other,) = results(ManyShotConfig(dataset="shapes", model="card.toml", test_datasets="domains/real"))
    assert other.tests["real"].predictions == result.tests["files"].predictions


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--test-dataset", "domains/sketch"],
            r"sketch: has classes that shapes, which is .*: other \(12 images\); leave",
        ),
        (["--test-dataset", "digits"], "digits: shares no class with shapes.*numbers need names"),
        (["--test-dataset", "digits", "--shared-classes"], "digits: shares no class with shapes"),
        (["--test-dataset", "one", "--shared-classes"], "one: shares only the class 'c' with shapes"),
        (["--test-dataset", "shapes"], "--test-dataset shapes: these are the images of --dataset, whose test images"),
        (["--test-dataset", "copy"], "--test-dataset copy: these are the images of --dataset"),
        (["--test-dataset", "domains/real", "domains/real"], "--test-dataset real: these images are named twice"),
        (["--shared-classes"], "--shared-classes is about --test-dataset, which is not given"),
        (["--test-dataset", "no/where"], "no/where: there is no image folder"),
        (["--test-dataset", "nowhere"], "unknown dataset 'nowhere'"),
        (["--test-dataset", "domains"], "domains: shares no class with shapes.*: its classes are real, sketch"),
        (["--test-dataset", "domains/real", "--strict", "--shared-classes"], "beside the class folders were left out"),
        (["--regime", "few-shot", "--test-dataset", "x"], "--test-dataset belongs to --regime many-shot"),
        (["--regime", "few-shot", "--shared-classes"], "--shared-classes belongs to --regime many-shot"),
    ],
)
def test_bad_input_is_one_clear_line_and_status_2(here, domains, capsys, arguments, message):
    shutil.copytree(domains / "real" / "c", here / "one" / "c")
    shutil.copytree(domains / "real" / "c", here / "one" / "z")
    shutil.copytree(here / "shapes", here / "copy", copy_function=shutil.copy)
    shutil.copy(domains / "real" / "c" / "0.png", domains / "real" / "stray.png")
    assert_refused((run(*arguments), *capsys.readouterr()), message)


@pytest.mark.parametrize(
    "damage",
    [
        lambda tested: tested["predictions"].pop(),
        lambda tested: tested["labels"].pop(),
        lambda tested: tested["test"].update({"top-1": 1.5}),
        lambda tested: tested["test"].pop("map"),
        lambda tested: tested.update(worst_group={"group": "x", "accuracy": 7, "n_images": 20}),
        lambda tested: tested.pop("intervals"),
        lambda tested: tested.update(predictions=[0] * 24),
    ],
)
def test_a_damaged_file_is_an_error_and_stays(here, domains, capsys, damage):
    assert run("--test-dataset", "domains/real", "--set", "lr.n_values=3", "--quiet") == 0
    (path,) = (here / "results").glob("*.json")
    content = json.loads(path.read_text())
    damage(content["tests"]["real"])
    path.write_text(json.dumps(content))
    capsys.readouterr()
    assert run("--test-dataset", "domains/real", "--set", "lr.n_values=3", "--quiet") == 2
    assert re.search("its parts do not fit together|cannot be read as a many-shot result", capsys.readouterr().err)
    assert json.loads(path.read_text()) == content
