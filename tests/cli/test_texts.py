import shutil

import pytest
from reference.places import ROOT

from fewshot_bn.cli import texts as verb
from fewshot_bn.cli.help import EXAMPLES
from fewshot_bn.cli.texts import texts
from fewshot_bn.errors import UsageError


@pytest.fixture
def clone(tmp_path):
    """The files that hold generated texts, elsewhere."""
    for path in texts(ROOT):
        there = tmp_path / path.relative_to(ROOT)
        there.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, there)
    return tmp_path


def test_the_texts_of_the_repository_are_up_to_date():
    for path, text in texts(ROOT).items():
        assert path.read_text(encoding="utf-8") == text, f"{path} is not up to date: python -m fewshot_bn.cli.texts"


def test_help_is_the_file_and_examples():
    modes, _, _ = EXAMPLES.partition("\nexamples:\n")
    assert modes == texts(ROOT)[ROOT / "fewshot_bn" / "cli" / "modes.txt"]


def test_what_is_out_of_date_is_written_and_the_rest_stays(clone, monkeypatch, capsys):
    monkeypatch.setattr(verb, "__file__", str(clone / "fewshot_bn" / "cli" / "texts.py"))
    wanted = {path: path.read_text(encoding="utf-8") for path in texts(clone)}
    assert verb.main() == 0
    assert capsys.readouterr().out == ""
    readme, help_file = clone / "README.md", clone / "fewshot_bn" / "cli" / "modes.txt"
    readme.write_text(wanted[readme].replace("- `proto`: nearest", "- `proto`: farthest"), encoding="utf-8")
    help_file.unlink()
    assert verb.main() == 0
    assert capsys.readouterr().out == f"written: {help_file}\nwritten: {readme}\n"
    assert {path: path.read_text(encoding="utf-8") for path in texts(clone)} == wanted


def test_a_file_without_a_place_for_a_table_is_an_error(clone):
    guide = clone / "docs" / "modes.md"
    guide.write_text(guide.read_text(encoding="utf-8").replace("<!-- /many-shot -->", ""), encoding="utf-8")
    with pytest.raises(UsageError, match=r"modes\.md: no lines <!-- many-shot --> and <!-- /many-shot -->"):
        texts(clone)
