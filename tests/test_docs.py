"""The Python in the documentation is run as it stands there, on small images and a small network."""

import math
import re

import pytest
from reference.commands import TINY, results
from reference.places import ROOT
from scipy.stats import kendalltau

from fewshot_bn import make_adapter, read_result
from fewshot_bn.eval import main
from fewshot_bn.rank import main as rank

SMALLER = {
    'dataset="path/to/folder"': 'dataset="shapes"',
    'model="resnet50"': 'model="card.toml"',
    "n_support=(1, 5)": "n_support=(1, 2), n_way=3, n_query=4, n_episodes=4",
    "for shots in (1, 5)": "for shots in (1, 2)",
    "resize_px=256, crop_px=224": "16, 16",
    'modes=["proto", "bn"]': 'modes=["proto"], n_way=3, n_support=2, n_query=4, n_episodes=3',
    'modes=["bn"], baseline="lr", n_episodes=600': 'modes=["bn"], baseline="lr", n_way=3, n_support=2, '
    "n_query=4, n_episodes=3",
    "network = MyNetwork()": "network = CifarResNet(depth=8, width=4)",
    "range(12)": "range(5)",
    'modes=["proto", "bn", "ft"], n_episodes=40': 'modes={"proto": make_adapter("proto"), "ft": make_adapter("ft", '
    "steps=2)}, n_way=3, n_support=1, n_query=4, n_episodes=3",
}


def blocks(name):
    return re.findall(r"```python\n(.*?)```", (ROOT / "docs" / name).read_text(encoding="utf-8"), re.S)


def smaller(code):
    for large, small in SMALLER.items():
        code = code.replace(large, small)
    return code


def test_from_a_network_and_files_to_paired_results(here, image_folder, capsys):
    image_folder.rename(here / "scans")
    code = blocks("python.md")[0]
    assert len(code.splitlines()) <= 15 + 4  # blank lines are for the eye
    exec(smaller(code), {})
    found = results(here / "results")
    lr, bn = found["lr", 2], found["bn", 2]
    assert capsys.readouterr().out == f"{lr.accuracy} {bn.accuracy} {bn.difference_to(lr)}\n"


def test_an_experiment(here, capsys):
    exec(smaller(blocks("python.md")[1]), {})
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["1", "2"]
    assert set(results(here / "results")) == {(mode, shots) for mode in ("lr", "bn", "proto") for shots in (1, 2)}


def test_an_adapter(here, capsys):
    (here / "my_probe.py").write_text(blocks("python.md")[2])
    small = ["--dataset", "shapes", "--model", "card.toml", *TINY]
    assert main([*small, "--mode", "my_probe.py:MyProbe", "--set", "MyProbe.power=0.5"]) == 0
    assert results(here / "results")["MyProbe", 2].key["adapter"]["settings"] == {"power": 0.5}
    assert len(blocks("python.md")[2].splitlines()) <= 30


def test_a_dataset(here, image_folder):
    image_folder.rename(here / "scans")
    (here / "my_data.py").write_text(blocks("python.md")[3])
    small = ["--model", "card.toml", *TINY, "--n-support", "1", "--n-query", "1", "--mode", "proto"]
    assert main(["--dataset", "my_data.py:patients", *small, "--by-group"]) == 0


def test_a_network(here):
    from fewshot_bn.backbones.networks import CifarResNet

    _, code = blocks("backbones.md")
    exec(smaller(code).replace("path/to/folder", "shapes"), {"CifarResNet": CifarResNet})
    assert ("proto", 2) in results(here / "results")


def test_a_network_by_name(here):
    code, _ = blocks("backbones.md")
    (here / "nets.py").write_text(code.replace("256", "32").replace("224", "32"))
    small = ["--dataset", "shapes", *TINY, "--mode", "proto", "--model", "nets.py:make"]
    assert main([*small, "--preprocessing", "crop=24,resize=27"]) == 0
    (found,) = {str(result.key["backbone"]["preprocessing"]) for result in results(here / "results").values()}
    assert "'resize_px': 27" in found
    assert "'mean': [0.5, 0.5, 0.5]" in found


@pytest.mark.full
def test_a_family_of_backbones_is_ranked(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    family, program = blocks("ranking.md")
    exec(smaller(family), {"make_adapter": make_adapter})
    found = [read_result(path) for path in sorted((tmp_path / "results").glob("*.json"))]
    scores = {mode: [r.accuracy.mean for r in found if r.mode == mode] for mode in ("ft", "lr", "proto")}
    tau = {mode: kendalltau(scores[mode], scores["ft"]).statistic for mode in ("lr", "proto")}
    capsys.readouterr()
    assert rank(["results", "--samples", "100", "--plot", "ranks.svg"]) == 0
    printed = capsys.readouterr().out
    assert "digits 3-way 1-shot, 4 queries, seed 0: accuracy of 5 backbones over 3 episodes, reference ft" in printed
    for mode, value in tau.items():
        shown = "undefined" if math.isnan(value) else f"{value:.3f}"
        assert re.search(rf"^{mode} +Kendall's tau-b +{re.escape(shown)} ", printed, re.M)
    assert all(f">noise0{i}<" in (tmp_path / "ranks.svg").read_text() for i in range(5))
    exec(program, {})
    assert capsys.readouterr().out.startswith("digits 3-way 1-shot, 4 queries, seed 0 Number(value=")


@pytest.mark.parametrize("name", sorted(path.name for path in (ROOT / "docs").glob("*.md")))
def test_links_lead_somewhere(name):
    folder = ROOT / "docs"
    text = (folder / name).read_text(encoding="utf-8")
    for link in re.findall(r"\]\((?!https?:|#)([^)#]+)", text):
        assert (folder / link).exists(), link


def test_links_of_the_readme_lead_somewhere():
    for link in re.findall(r"\]\((?!https?:|#)([^)#]+)", (ROOT / "README.md").read_text(encoding="utf-8")):
        assert (ROOT / link).exists(), link
