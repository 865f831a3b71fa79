import pytest

from fewshot_bn.datasets.near_misses import advice_on

AS_SEEN = "c0/000.png is there: write paths as seen from the folder of the table"


@pytest.fixture
def folder(tmp_path):
    for name in ("c0/000.png", "c0/001.jpg", "deep/er/only.png"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path


@pytest.mark.parametrize(
    ("path", "advice"),
    [
        (r"C:\data\c0\000.png", AS_SEEN),
        ("/home/somebody/data/c0/000.png", AS_SEEN),
        ("data/c0/000.png", AS_SEEN),
        ("000.png", AS_SEEN),
        ("C0/000.PNG", "c0/000.png is there: upper and lower case count"),
        ("c0/000", "c0/000.png is there: the suffix belongs to the path"),
        ("c0/001.png", "c0/001.jpg is there: its suffix is another"),
        ("only.png", "deep/er/only.png is there: write paths as seen from the folder of the table"),
        ("c9/009.png", ""),
        ("", ""),
        ("/", ""),
    ],
)
def test_what_is_like_it_is_told(folder, path, advice):
    assert advice_on(path, folder) == advice


def test_of_large_folders_a_part_is_looked_at(folder, monkeypatch):
    monkeypatch.setattr("fewshot_bn.datasets.near_misses.MOST_LOOKED_AT", 1)
    assert advice_on("only.png", folder) == ""


def test_a_folder_that_is_closed_or_gone_is_passed_over(tmp_path):
    assert advice_on("a.png", tmp_path / "gone") == ""
