"""Where pixels and episodes come from, seen through the command."""

import csv
import errno
import os

import h5py
import numpy as np
import pytest
from PIL import Image
from reference.commands import answers, results, run

from fewshot_bn.datasets import open_dataset
from fewshot_bn.episodes import EpisodeShape, Plan
from fewshot_bn.inputs import decoding


def test_the_store_does_not_change_the_answer(here, own_cache):
    assert run("--mode", "proto", "bn", "--output", "without", "--no-store", "--no-feature-cache") == 0
    assert not list(own_cache.rglob("*.h5"))
    assert run("--mode", "proto", "bn", "--output", "with") == 0
    assert answers(here / "with") == answers(here / "without")


def test_a_second_run_decodes_nothing(here, own_cache, monkeypatch):
    assert run("--mode", "bn", "--output", "one") == 0
    assert len(list((own_cache / "stores").glob("shapes_*.h5"))) == 1
    monkeypatch.setattr(decoding, "decoded", None)
    assert run("--mode", "bn", "--output", "two", "--no-feature-cache") == 0
    assert answers(here / "one") == answers(here / "two")


def test_only_images_of_the_episodes_are_decoded(here, own_cache):
    assert run("--mode", "bn", "--baseline", "none", "--n-episodes", "1") == 0
    rows = Plan().draw(open_dataset("shapes"), EpisodeShape(3, 2, 4), 1).rows
    with h5py.File(next((own_cache / "stores").glob("*.h5"))) as file:
        assert np.flatnonzero(file["filled"]).tolist() == rows.tolist()


@pytest.fixture
def dark(here):
    """Images of the dataset as if they had been taken with 12 bits and kept in 16."""
    for path in (here / "shapes").rglob("*.png"):
        with Image.open(path) as image:
            grey = np.asarray(image.convert("L")).astype(np.uint16)
        Image.fromarray(grey * 16).save(path)


@pytest.mark.parametrize("mode", ["proto", "bn"])
def test_what_images_look_like_is_said_once_by_every_run(dark, own_cache, capsys, mode):
    def said(*arguments):
        assert run("--mode", mode, "--n-support", "1", "2", *arguments) == 0
        lines = capsys.readouterr().err.splitlines()
        return [line for line in lines if "16-bit images use only 4,096 of 65,536 values" in line]

    assert len(said("--output", "first")) == 1  # decodes them
    assert len(said("--output", "second")) == 1  # finds them decoded, and their features
    assert len(said("--output", "second")) == 1  # finds its results
    assert len(said("--output", "third", "--no-store", "--no-feature-cache")) == 1


def test_without_room_on_the_disk_the_run_goes_on_and_says_so(here, own_cache, capsys, monkeypatch):
    def full(file, data, at):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(decoding, "write_at", full)
    assert run("--mode", "bn", "--output", "full") == 0
    told = capsys.readouterr().err
    assert "note: images are decoded again whenever they are needed: " in told
    assert "No space left on device; 0 images are kept in it" in told
    monkeypatch.undo()
    monkeypatch.chdir(here)
    assert run("--mode", "bn", "--output", "free") == 0
    assert answers(here / "full") == answers(here / "free")


def test_a_damaged_store_is_one_line(here, own_cache, capsys):
    assert run("--mode", "bn") == 0
    path = next((own_cache / "stores").glob("*.h5"))
    os.truncate(path, 3000)
    capsys.readouterr()
    assert run("--mode", "bn", "--output", "two") == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith(f"error: {path}: not a whole store, or a damaged one")


def test_a_store_of_other_files_is_named(here, own_cache, capsys):
    assert run("--mode", "bn") == 0
    os.utime(here / "shapes" / "c" / "0.png", (1, 1))
    assert run("--mode", "bn", "--output", "two") == 0
    old = capsys.readouterr().err.count(
        "is of other files than those of today, or of another PIL or code, and not used"
    )
    assert old == 1


def test_disjoint_episodes_say_how_many_there_are(here, capsys):
    assert run("--mode", "proto", "--episodes", "disjoint", "--n-episodes", "1") == 0
    printed = capsys.readouterr()
    assert "1 disjoint episodes, seed 0" in printed.err
    assert "note: 1 episodes exist that share no image, at 3-way 2-shot" in printed.err
    (result, _) = results(here / "results").values()
    assert result.key["episodes"] == {"kind": "disjoint", "by_group": False}
    assert run("--mode", "proto", "--episodes", "disjoint", "--n-episodes", "2") == 2
    assert "error: shapes: 1 disjoint episodes exist at 3-way 2-shot 4-query; lower" in capsys.readouterr().err


def test_by_group_is_another_result(here):
    with (here / "table.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", "group"])
        for i, path in enumerate(sorted((here / "shapes").rglob("*.png"))):
            writer.writerow([path.relative_to(here).as_posix(), path.parent.name, i // 2])
    shape = ["--dataset", "table.csv", "--n-support", "1", "--n-query", "2", "--mode", "proto", "--baseline", "none"]
    assert run(*shape, "--output", "plain") == 0
    assert run(*shape, "--output", "grouped", "--by-group") == 0
    plain, grouped = (next(iter(results(here / name).values())) for name in ("plain", "grouped"))
    assert plain.episodes != grouped.episodes
    assert grouped.key["episodes"] == {"kind": "random", "by_group": True}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--by-group"], "shapes: its files do not say which images are of one group"),
        (["--episodes", "disjoint", "--by-group"], "--by-group draws random episodes"),
        (["--episodes", "djsoint"], "--episodes 'djsoint' is neither random nor disjoint nor meta-dataset nor a file"),
    ],
)
def test_wrong_episodes_are_one_line(here, capsys, arguments, message):
    assert run("--mode", "proto", *arguments) == 2
    assert message in capsys.readouterr().err
