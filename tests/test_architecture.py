"""The shape of the package: which way imports point, how large modules are, what is quick to import."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from jaxtyping import TypeCheckError

import fewshot_bn
from fewshot_bn.adapters.contract import count_ways
from fewshot_bn.inputs.images import normalise
from fewshot_bn.preprocessing import Preprocessing

PACKAGE = Path(fewshot_bn.__file__).parent
ORDER = [
    ["errors", "events", "host_memory"],
    ["settings"],
    ["files", "rng"],
    ["raster", "workers", "runtime"],
    ["preprocessing"],
    ["datasets"],
    ["episodes", "backbones"],
    ["inputs"],
    ["adapters"],
    ["evaluation"],
    ["results", "config"],
    ["experiment", "reports"],
    ["cli"],
    ["eval", "data", "models", "rank"],
    ["__main__", "__init__"],
]
BACKBONES = [
    ["norms", "padding", "fused_norms", "networks", "cards"],
    ["graph", "checkpoints", "libraries"],
    ["backbone", "build", "export"],
    ["outline", "concatenation", "named_preprocessing"],
    ["own", "recognition", "conversion"],
    ["load"],
]
LEVEL = {room: level for level, rooms in enumerate(ORDER) for room in rooms}
MODULES = sorted(PACKAGE.rglob("*.py"))


def room_of(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_rooms(path):
    """Rooms imported anywhere in the module, for type checking too."""
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.Import | ast.ImportFrom):
            continue
        names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.module == "fewshot_bn":
            names = [f"fewshot_bn.{a.name}" for a in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        yield from (name.split(".")[1] for name in names if name.startswith("fewshot_bn."))


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_one_way(path):
    room = room_of(path)
    for other in imported_rooms(path):
        assert other == room or LEVEL[other] < LEVEL[room], f"{room} imports {other}"


def test_imports_point_one_way_among_backbones():
    level = {room: place for place, rooms in enumerate(BACKBONES) for room in rooms}
    wing = PACKAGE / "backbones"
    for path in wing.rglob("*.py"):
        room = path.relative_to(wing).parts[0].removesuffix(".py")
        for other in re.findall(r"fewshot_bn\.backbones\.(\w+)", path.read_text()):
            assert other == room or level[other] < level[room], f"{room} imports {other}"


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_modules_are_short_and_say_what_they_are_for(path):
    text = path.read_text()
    assert len(text.splitlines()) <= 250
    assert ast.get_docstring(ast.parse(text))


def test_every_public_name_is_there():
    for name in fewshot_bn.__all__:
        assert getattr(fewshot_bn, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        fewshot_bn.nothing  # noqa: B018


def test_the_version_is_that_of_the_installed_package():
    from importlib.metadata import version

    assert version("fewshot_bn") == fewshot_bn.__version__


@pytest.mark.parametrize(
    ("module", "heavy"),
    [
        ("fewshot_bn", ["torch", "numpy", "sklearn"]),
        ("fewshot_bn.eval", ["torch", "numpy", "sklearn"]),
        ("fewshot_bn.cli.few_shot", ["torchvision", "sklearn", "scipy", "h5py", "PIL", "matplotlib", "learn2learn"]),
    ],
)
def test_heavy_libraries_are_imported_where_they_are_used(module, heavy):
    code = f"import {module}, sys; print([name for name in {heavy} if name in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


def test_shapes_of_the_contract_are_checked_while_tests_run():
    with pytest.raises(TypeCheckError):
        count_ways(torch.zeros(2, 3))


@pytest.mark.full
def test_shapes_of_the_whole_package_are_checked_in_the_tier_full():
    with pytest.raises(TypeCheckError):
        normalise(torch.zeros(3, 8, 8, dtype=torch.uint8), Preprocessing(8, 8), torch.device("cpu"))


def test_the_embedded_default_needs_no_library_of_networks():
    code = (
        "from fewshot_bn import load_backbone; import sys; load_backbone(); "
        "print([name for name in ('torchvision', 'timm') if name in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


@pytest.mark.full
def test_timm_is_only_imported_if_it_is_asked_for():
    code = (
        "from fewshot_bn import load_backbone; import sys; load_backbone('resnet18@random'); "
        "print([name for name in ('torchvision', 'timm') if name in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "['torchvision']"


def table():
    """Rooms with their modules and lines, level by level, and how many arrows lead from room to room."""
    arrows = {(room_of(path), other) for path in MODULES for other in imported_rooms(path) if other != room_of(path)}
    yield f"{len(LEVEL)} rooms on {len(ORDER)} levels, {len(MODULES)} modules, {len(arrows)} arrows, all downwards"
    for level in range(len(ORDER) - 1, -1, -1):
        for room in ORDER[level]:
            sizes = [len(path.read_text().splitlines()) for path in MODULES if room_of(path) == room]
            yield f"{level:2}  {room:14} {len(sizes):3} modules {sum(sizes):5} lines"


if __name__ == "__main__":
    sys.stdout.write("\n".join(table()) + "\n")
