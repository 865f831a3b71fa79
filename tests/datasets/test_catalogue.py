import re
from dataclasses import replace

import pytest
from PIL import Image
from reference.places import ROOT, SHARED, needs_shared

from fewshot_bn.data import main
from fewshot_bn.datasets import catalogue, shipped_cards
from fewshot_bn.datasets.catalogue import cards, count, found, markdown
from fewshot_bn.reports import columns


def rows_of(text):
    """The cells of a markdown table."""
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in text.splitlines()]


def what_is_found(root):
    return {card.name: what for card, what in found(root)}


def test_the_table_of_the_readme_is_what_list_prints(capsys):
    assert main(["list", "--markdown"]) == 0
    _, _, rest = (ROOT / "docs" / "data.md").read_text(encoding="utf-8").partition("<!-- datasets -->\n")
    table, end, _ = rest.partition("<!-- /datasets -->")
    assert end, "docs/data.md has no table between the lines <!-- datasets --> and <!-- /datasets -->"
    assert table.strip() == capsys.readouterr().out.strip()


def test_the_table_has_a_row_of_the_same_length_for_every_card():
    header, line, *rows = rows_of(markdown())
    assert {len(row) for row in (header, line, *rows)} == {len(header)}
    assert [row[0] for row in rows] == [f"`{name}`" for name in shipped_cards()]
    by_name = {row[0]: row for row in rows}
    assert by_name["`eurosat`"][2:] == ["10", "27,000", "MIT", "`fetch`"]
    assert by_name["`digits`"][-1] == "embedded"
    assert by_name["`isic`"][-1] == "by hand"
    assert by_name["`voc2007`"][3] == "?"


def test_text_of_a_card_that_would_break_the_table_is_kept_in_its_cell(monkeypatch):
    plain = cards()[0]
    odd = replace(plain, title="one | two\n| three |", licence="a|b")
    monkeypatch.setattr(catalogue, "cards", lambda: [odd, plain])
    first, second = rows_of(markdown())[2:]
    assert len(first) == len(second)
    assert first[1].startswith(r"[one \| two \| three \|](")
    assert first[4] == r"a\|b"
    assert len(markdown().splitlines()) == 4


def test_nothing_is_found_but_the_embedded_digits_in_an_empty_root_and_in_none(tmp_path):
    for root in (tmp_path, tmp_path / "none"):
        what = what_is_found(root)
        assert what.pop("digits") == "1,797 images: embedded"
        assert what["eurosat"] == "nothing; fetch gets it"
        assert what["isic"] == "nothing; fetch says how to get it"
        assert all(text.startswith("nothing; ") for text in what.values())


def make_eurosat(root, names, size=5):
    for name in names:
        folder = root / "EuroSAT" / "2750" / name
        folder.mkdir(parents=True)
        (folder / "1.jpg").write_bytes(b"x" * size)
    return root / "EuroSAT" / "2750"


def test_what_is_there_is_counted(tmp_path):
    folder = make_eurosat(tmp_path, ["River", "Forest"])
    assert what_is_found(tmp_path)["eurosat"] == f"2 of 27,000 images: {folder}"


def test_data_that_has_problems_or_cannot_be_opened_is_not_called_absent(tmp_path):
    folder = make_eurosat(tmp_path, ["River", "Forest"], size=0)
    expected = f"2 of 27,000 images, not in order, verify says why: {folder}"
    assert what_is_found(tmp_path)["eurosat"] == expected
    (folder / "River" / "1.jpg").unlink()
    assert what_is_found(tmp_path)["eurosat"] == f"damaged, verify says how: {folder}"


def test_what_list_says_verify_says_too(tmp_path, capsys):
    make_eurosat(tmp_path, ["River"])
    assert main(["list", "--data-root", str(tmp_path)]) == 0
    assert "damaged, verify says how" in capsys.readouterr().out
    assert main(["verify", "eurosat", "--data-root", str(tmp_path)]) == 2
    assert re.search(r"1 class folders found, at least 2 are needed", capsys.readouterr().err)


def test_more_images_than_the_card_has_are_counted(tmp_path, monkeypatch):
    card = next(card for card in cards() if card.name == "eurosat")
    monkeypatch.setattr(
        catalogue, "cards", lambda: [replace(card, classes={"River": 1, "Forest": 1}, n_classes=0, n_images=0)]
    )
    folder = make_eurosat(tmp_path, ["River", "Forest"])
    Image.new("RGB", (4, 4)).save(folder / "River" / "2.jpg")
    assert what_is_found(tmp_path) == {"eurosat": f"3 of 2 images: {folder}"}


def test_columns_are_as_wide_as_they_need_to_be():
    assert columns([("a", "bb", ""), ("ccc", "d", "e")]) == "a    bb\nccc  d   e"


@pytest.mark.parametrize(("n", "text"), [(0, "?"), (7, "7"), (1234567, "1,234,567")])
def test_a_number_that_is_not_known_is_a_question_mark(n, text):
    assert count(n) == text


@needs_shared
def test_the_real_subsets_are_found():
    what = what_is_found(SHARED / "data")
    assert what["isic"] == f"315 of 10,015 images: {SHARED / 'data' / 'ISIC'}"
    assert what["chestx"].startswith("231 of 25,848 images: ")
