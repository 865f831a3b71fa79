"""Objects of a user's own Python file."""

import sys

import pytest

from fewshot_bn.errors import UsageError
from fewshot_bn.files.own_code import can_be_imported, code_of, is_own, load_module, load_object, names_module


def test_a_name_of_a_file_is_told_from_a_path():
    assert is_own("mine.py:Probe")
    assert is_own("folder/mine.py:load")
    assert not is_own("proto")
    assert not is_own("mine.py")
    assert not is_own("torchvision:resnet50")


def test_the_file_is_run_once_and_finds_what_lies_beside_it(tmp_path):
    (tmp_path / "beside_mine.py").write_text("N = 3\n")
    (tmp_path / "mine.py").write_text("import beside_mine\nruns = []\nruns.append(beside_mine.N)\n")
    text = str(tmp_path / "mine.py")
    assert load_object(f"{text}:runs") is load_object(f"{text}:runs")
    assert load_object(f"{text}:runs") == [3]
    assert sys.path[0] != str(tmp_path)


@pytest.mark.parametrize(
    ("code", "name", "message"),
    [
        ("x = 1", "y", r"mine.py: unknown name 'y'; choose from: x"),
        ("def f(:", "f", r"mine.py: cannot be run: SyntaxError: .* \(line 1\)"),
        ("\nraise RuntimeError('no')", "f", r"mine.py: cannot be run: RuntimeError: no \(line 2\)"),
        ("import sys\nsys.exit(0)", "f", r"mine.py: cannot be run: SystemExit: 0 \(line 2\)"),
        ("import no_such_library", "f", "ModuleNotFoundError: No module named 'no_such_library'"),
    ],
)
def test_what_is_wrong_with_a_file_is_one_line(tmp_path, code, name, message):
    path = tmp_path / "mine.py"
    path.write_text(code)
    with pytest.raises(UsageError, match=message):
        load_object(f"{path}:{name}")


def test_names_of_modules_have_their_form():
    assert names_module("package.module:make")
    assert names_module("module:Make")
    assert not any(map(names_module, ("resnet50", "folder/module:make", "package.:make", "a.b:c.d", "3a:b", "a b:c")))


def test_a_module_of_the_current_folder_is_imported_once(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "module_of_a_test.py").write_text("runs = []\nruns.append(3)\n")
    assert can_be_imported("module_of_a_test:runs")
    assert load_object("module_of_a_test:runs") == load_object("module_of_a_test:runs") == [3]
    assert load_module("module_of_a_test:runs") is sys.modules.pop("module_of_a_test")
    assert sys.path[-1] == str(tmp_path)
    assert not can_be_imported("no_module_of_a_test:runs")


def test_no_such_file(tmp_path):
    with pytest.raises(UsageError, match=r"there is no file .*none\.py; path/to/file\.py:name is needed"):
        load_object(f"{tmp_path}/none.py:f")


def test_code_is_that_of_the_whole_file(tmp_path):
    digests = []
    for folder, constant in (("a", 1), ("b", 2), ("c", 1)):
        path = tmp_path / folder / "mine.py"
        path.parent.mkdir()
        path.write_text(f"K = {constant}\nclass C: pass\n")
        digests.append(code_of(load_object(f"{path}:C")))
    assert digests[0] == digests[2] != digests[1]


def test_a_class_without_a_source_is_refused():
    kind = type("Typed", (), {"__module__": "nowhere"})
    with pytest.raises(UsageError, match="Typed: its source cannot be found"):
        code_of(kind)
