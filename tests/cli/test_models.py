"""The verbs of models, from their arguments to their output and exit status, in this process."""

import hashlib
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from reference.commands import TINY, assert_refused, results, runner
from reference.places import ROOT
from reference.servers import Server, serving
from safetensors import safe_open

from fewshot_bn.backbones.cards.card import read_model_card, shipped_models
from fewshot_bn.backbones.load import load_backbone
from fewshot_bn.backbones.networks import CifarResNet
from fewshot_bn.cli.models import EXAMPLES
from fewshot_bn.eval import main as evaluate
from fewshot_bn.models import main
from fewshot_bn.rng import torch_state

CARD = """\
name = "mine"
title = "Mine"
network = "cifar_resnet"
arguments = { depth = 8, width = 4 }
weights = "mine.pth"
features = 16
norms = { batch = 7 }
preprocessing = { resize_px = 16, crop_px = 16 }
"""
KEYS = '[keys]\nunwrap = "state_dict"\nprefix = "module."\ndrop = ["module.fc.*"]\n'


@pytest.fixture
def network():
    with torch_state(3, "a test"):
        return CifarResNet(depth=8, width=4)


@pytest.fixture
def file(here, network):
    """A checkpoint as trainers save it."""
    state = {f"module.{key}": value for key, value in network.state_dict().items()}
    torch.save({"epoch": 3, "state_dict": {**state, "module.fc.weight": torch.ones(5, 16)}}, "raw_epoch3.pth.tar")
    return here / "raw_epoch3.pth.tar"


@pytest.fixture
def run(here, capsys, monkeypatch):
    """Runs a verb; gives its exit status and what it printed."""
    monkeypatch.setenv("FEWSHOT_BN_MODELS", str(here / "models"))

    return runner(main, capsys)


def test_help_names_the_verbs_and_shows_commands_that_are_understood(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    assert EXAMPLES in text
    for verb in ("list", "show", "fetch", "guess", "check", "convert", "export"):
        assert re.search(rf"^    {verb} ", text, re.M)
        assert f"python -m fewshot_bn.models {verb}" in EXAMPLES
        with pytest.raises(SystemExit):
            main([verb, "--help"])
        assert len(capsys.readouterr().out) > 200


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "the following arguments are required: VERB; --help shows all options"),
        (["lst"], "invalid choice: 'lst' .*list.*; --help shows all options"),
        *(([verb], "required: ") for verb in ("show", "fetch", "guess", "check", "convert", "export")),
        (
            ["show", "MOCO_V2"],
            r"unknown card 'MOCO_V2' \(did you mean 'moco-v2'\?\).*; list shows all; or give the path",
        ),
        (["show", "notes.txt"], r"notes\.txt: is no card; .*; guess drafts one"),
        (["show", "none.toml"], "none.toml: this card cannot be read: No such file"),
        (["show", "typo.toml"], r"typo\.toml: unknown field 'licens' \(did you mean 'licence'\?\)"),
        (["show", "odd.toml"], r"norms: unknown kind 'batsh' \(did you mean 'batch'\?\)"),
        (["show", "odd.toml", "--model-rot", "."], "unrecognized arguments: --model-rot ."),
        (["fetch", "moko-v2"], "did you mean 'moco-v2'"),
        (["guess", "none.pth"], "none.pth: these weights cannot be read: No such file"),
        (["guess", "."], "these weights cannot be read: it is a folder"),
        (["guess", "notes.txt"], "notes.txt"),
        (["guess", "cut.pth"], "cut.pth: these weights cannot be read: the file is damaged, incomplete"),
        (
            ["guess", "weights.pth", "--output", "card.toml"],
            r"card\.toml: is there already, and nothing is overwritten",
        ),
        (["guess", "weights.pth", "--output", "notes.txt/card.toml"], "card.toml: cannot be written: File exists"),
        (["check", "none.pth", "--card", "card.toml"], "none.pth: these weights cannot be read"),
        (["check", "cut.pth", "--card", "card.toml"], "cut.pth: these weights cannot be read: the file is damaged"),
        (["check", "weights.pth", "--card", "moco-v3"], "did you mean 'moco-v2'"),
        (
            ["convert", "weights.pth", "--card", "card.toml", "--output", "x.pth"],
            "a name that ends in .safetensors is n",
        ),
        (
            ["convert", "weights.pth", "--card", "card.toml", "--output", "card.safetensors"],
            "card.toml: is there alread",
        ),
        (["convert", "weights.pth", "--card", "moco-v2"], "weights.pth: no entry 'state_dict'"),
        (["export", "card.toml", "--format", "onnx"], "unknown format 'onnx'"),
    ],
)
def test_bad_input_is_one_clear_line_and_status_2(run, here, arguments, message):
    Path("notes.txt").write_text("hello\n")
    Path("typo.toml").write_text(CARD + 'licens = "MIT"\n')
    Path("odd.toml").write_text(CARD.replace("batch", "batsh"))
    Path("cut.pth").write_bytes(Path("weights.pth").read_bytes()[:3000])
    before = sorted(here.rglob("*"))
    status, out, err = run(*arguments)
    assert_refused((status, "" if arguments[:1] == ["guess"] else out, err), message)
    assert sorted(here.rglob("*")) == before


def test_list_says_what_is_known_and_what_is_there(run, here):
    (here / "models").mkdir()
    (here / "models" / "moco_v2_800ep_pretrain.pth.tar").write_bytes(b"x" * 1_200_000)
    status, out, err = run("list")
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert [line.split()[0] for line in lines[1 : 1 + len(shipped_models())]] == list(shipped_models())
    assert lines[0].endswith(f"under {here / 'models'}")
    assert re.search(r"^fractal_resnet8 .* MIT +embedded$", out, re.M)
    assert re.search(
        r"^supervised +torchvision:resnet50 +2,048 +53 batch +BSD-3-Clause +nothing; fetch gets it$", out, re.M
    )
    assert re.search(rf"^moco-v2 .* 1\.2 MB: {here}/models/moco_v2_800ep_pretrain\.pth\.tar$", out, re.M)
    assert "there is no folder" not in out
    assert "note: there is no folder elsewhere" in run("list", "--model-root", "elsewhere")[1]


def test_list_and_help_are_quick_and_print_on_any_terminal(here):
    code = "import sys; from fewshot_bn.models import main; main(['list']); print('torch' in sys.modules)"
    plain = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=plain)
    assert (done.stdout.splitlines()[-1], done.stderr) == ("False", "")


def test_the_table_of_the_documentation_has_a_row_for_every_card(run):
    status, out, _ = run("list", "--markdown")
    assert status == 0
    assert out in (ROOT / "docs" / "checkpoints.md").read_text(encoding="utf-8")
    assert [line.split("`")[1] for line in out.splitlines()[2:]] == list(shipped_models())


def test_show_is_a_card_and_says_what_scopes_tune(run, here):
    status, out, _ = run("show", "moco-v2")
    assert status == 0
    (here / "copy.toml").write_text(out)
    assert read_model_card(here / "copy.toml") == read_model_card(shipped_models()["moco-v2"])
    assert "# weights: not here; python -m fewshot_bn.models fetch moco-v2" in out
    assert "# norm layers  scope  layers  values  of 23,508,032 parameters" in out
    assert re.search(r"^# BatchNorm    all    53      53,120  0\.23 %$", out, re.M)
    assert re.search(r"^# BatchNorm    bn23   33      37,888  0\.16 %$", out, re.M)
    assert re.search(r"^# BatchNorm    last   10      22,528  0\.10 %$", out, re.M)


def test_show_of_other_kinds_of_norm_layers(run, here):
    card = CARD.replace("arguments = { depth = 8, width = 4 }\n", "").replace("norms = { batch = 7 }\n", "")
    (here / "vit.toml").write_text(card.replace("cifar_resnet", "torchvision:vit_b_32").replace("16", "224"))
    assert re.search(r"^# LayerNorm    all    25      38,400  0\.04 %$", run("show", "vit.toml")[1], re.M)
    (here / "alex.toml").write_text(card.replace("cifar_resnet", "torchvision:alexnet").replace("16", "224"))
    assert "# it has no norm layers that could be tuned" in run("show", "alex.toml")[1]


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with serving(Server) as server:
        yield server


@pytest.fixture
def card(file, server, monkeypatch, here):
    """A function that writes a card of the file as a server has it."""
    body = file.read_bytes()
    monkeypatch.setattr(Server, "answer_mine", lambda self: self.send(200, body), raising=False)
    monkeypatch.setattr(Server, "answer_page", lambda self: self.send(200, b"<html>sign in"), raising=False)

    def write(path="mine", **facts):
        found = {"url": f"http://127.0.0.1:{server.server_port}/{path}", "source": "https://a.page", **facts}
        (here / "cards").mkdir(exist_ok=True)
        lines = "".join(f'{name} = "{value}"\n' for name, value in found.items() if value)
        (here / "cards" / "mine.toml").write_text(lines + CARD + KEYS)
        return "cards/mine.toml"

    return write


def test_fetch_checks_and_says_how_it_is_used(run, here, card, file, network):
    sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
    path = card(sha256=sha256)
    status, out, err = run("fetch", path)
    assert (status, err) == (0, "")
    place = here / "models" / "mine.pth"
    assert out == (
        f"mine: {place} fits its card: cifar_resnet, 16 features\nuse it: python -m fewshot_bn.eval --model {path}\n"
    )
    assert torch.equal(load_backbone(path).module.conv1.weight, network.conv1.weight)
    assert run("fetch", path)[:2] == (0, out)
    assert f"# weights: {place}" in run("show", path)[1]


def test_fetch_of_a_file_without_a_whole_checksum(run, here, card, file):
    sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
    out = run("fetch", card(), "--model-root", "other")[1]
    assert f"note: not checked: no checksum is published for this file; its SHA-256 is {sha256}" in out
    assert f'> mine.toml, write sha256 = "{sha256}" into it' in out
    assert out.endswith("use it: python -m fewshot_bn.eval --model cards/mine.toml --model-root other\n")
    out = run("fetch", card(sha256=sha256[:8]), "--model-root", "other")[1]
    assert "note: the first 8 digits of its SHA-256 agree, of which no more are published" in out


@pytest.mark.parametrize(
    ("path", "facts", "message"),
    [
        (
            "forbidden",
            {},
            "mine: .* answers 403 Forbidden; try again, or fetch it by hand and put it at .*mine.pth",
        ),
        ("missing", {"get": "Ask the authors."}, "answers 404 .*; Ask the authors."),
        ("page", {}, r"sends a web page instead of the file; .*; its source is https://a\.page"),
        ("mine", {"sha256": "0" * 64}, "its sha256 is [0-9a-f]{64}, 0{64} is needed"),
        ("mine", {"weights": "../mine.pth"}, r"weights is '\.\./mine\.pth'; a file below .*models is needed"),
    ],
)
def test_what_cannot_be_fetched_is_told(run, here, card, path, facts, message):
    card(path, **facts)
    if "weights" in facts:
        text = Path("cards/mine.toml").read_text()
        Path("cards/mine.toml").write_text(text.replace('weights = "mine.pth"\n', ""))
    assert_refused(run("fetch", "cards/mine.toml", "--quiet"), message)
    assert not list(here.glob("**/mine.pth"))


def test_ctrl_c_says_how_far_the_download_has_come(run, here, card, monkeypatch):
    def stopped(what, folder):
        yield 0, 10
        yield 7, 10
        raise KeyboardInterrupt

    monkeypatch.setattr("fewshot_bn.backbones.cards.fetching.download", stopped)
    status, _, err = run("fetch", card(sha256="0" * 64), "--quiet")
    assert (status, err) == (130, "stopped: 7 bytes of mine.pth have arrived; the same command goes on from there\n")
    assert run("fetch", card())[2].endswith("have arrived; the same command begins anew\n")


def test_without_an_address_the_steps_are_told(run, here, card):
    status, out, err = run("fetch", card(url="", get="Ask for it."))
    assert (status, err) == (2, "")
    assert out.splitlines()[:5] == [
        "mine cannot be fetched without you. By hand:",
        "Mine; licence: not known",
        "1. open https://a.page",
        "2. Ask for it.",
        f"3. put it at {here / 'models' / 'mine.pth'}",
    ]
    assert (
        f"4. check it: python -m fewshot_bn.models check {here / 'models' / 'mine.pth'} --card cards/mine.toml" in out
    )


def test_a_fetched_file_that_does_not_fit_is_an_error(run, here, card):
    path = card()
    Path(path).write_text(Path(path).read_text().replace("width = 4", "width = 8"))
    assert_refused(run("fetch", path), "these weights do not fit the network")


def test_a_card_without_weights_says_how_to_fetch_them(run, here, card, capsys):
    path = card()
    assert evaluate(["--model", path, "--dataset", "shapes", *TINY]) == 2
    assert f"; fetch it: python -m fewshot_bn.models fetch {path}, or name it with --weights" in capsys.readouterr().err


def test_from_a_bare_file_to_a_table(run, here, file, capsys):
    """The three commands of docs/backbones.md."""
    text = (ROOT / "docs" / "backbones.md").read_text(encoding="utf-8")
    guess, edit, use = (shlex.split(line) for line in re.search(r"```sh\n(.*?)```", text, re.S)[1].splitlines())
    file.rename(guess[-3])
    status, out, _ = run(*guess[3:])
    assert status == 0
    assert "  without tensors: epoch" in out
    assert "it fits cifar_resnet (depth = 8, width = 4), every weight by name and shape" in out
    assert "module.fc.weight: a head on its 16 features, with 5 classes or outputs" in out
    assert edit[-1] == "mine.toml"
    draft = Path("mine.toml").read_text()
    assert draft.index("TODO") < draft.index("assumed = ")
    arguments = [word.replace("path/to/folder", "shapes") for word in use[3:]] + [*TINY, "--set", "bn.steps=2"]
    assert evaluate(arguments) == 0
    assert "note: mine: its card assumes: its images are the usual ones (32 px" in capsys.readouterr().err
    Path("mine.toml").write_text(re.sub("(?m)^assumed = .*\n", "", draft.replace("TODO", "shapes")))
    assert evaluate([*arguments, "--output", "sure"]) == 0
    assert "assumes" not in capsys.readouterr().err
    assert set(results(here / "sure")) == {("lr", 2), ("proto", 2), ("bn", 2)}


def test_guess_prints_a_draft_and_writes_none(run, here, file):
    before = sorted(here.rglob("*"))
    status, out, _ = run("guess", file, "--print")
    assert status == 0
    assert sorted(here.rglob("*")) == before
    (here / "printed.toml").write_text(out[out.index("# A draft") :])
    assert read_model_card(here / "printed.toml").keys.prefix == "module."
    assert run("guess", file)[0] == 0
    assert (here / "raw_epoch3.toml").read_text() == (here / "printed.toml").read_text()


def test_the_file_of_a_known_card_needs_no_draft(run, here):
    weights = shipped_models()["fractal_resnet8"].with_suffix(".safetensors")
    status, out, _ = run("guess", weights)
    assert status == 0
    assert "it is the file of the known card fractal_resnet8, by its checksum" in out
    assert f"python -m fewshot_bn.eval --model fractal_resnet8 --weights {weights}" in out
    assert not list(here.glob("fractal*"))


def test_guess_of_weights_that_fit_nothing_or_are_not_finite(run, here, file):
    torch.save({"weight": torch.zeros(3, 4)}, "x.pth")
    status, out, _ = run("guess", "x.pth")
    assert status == 1
    assert "no known card and no network fits it" in out
    content = torch.load(file)
    content["state_dict"]["module.conv1.weight"][0] = float("nan")
    torch.save(content, file)
    status, out, _ = run("guess", file)
    assert status == 1
    assert re.search("^wrong: .*1 not finite .conv1.weight", out, re.M)
    assert not list(here.glob("raw*.toml"))


def test_check(run, here, card, file):
    sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
    status, out, _ = run("check", file, "--card", card(sha256=sha256[:9]))
    assert status == 0
    assert out.splitlines() == [
        "the SHA-256 is the one of the card (9 digits)",
        "42 tensors fit cifar_resnet",
        "left out: 1 (module.fc.weight)",
        "nothing is wrong",
    ]
    assert run("check", file, "--card", card(sha256=sha256), "--quiet")[1] == "nothing is wrong\n"
    assert "note: the card has no checksum to compare; SHA-256 " in run("check", file, "--card", card())[1]


def test_check_says_what_is_wrong_and_which_known_card_fits(run, here, card):
    other = shipped_models()["fractal_resnet8"].with_suffix(".safetensors")
    status, out, _ = run("check", other, "--card", card(md5="0" * 32))
    assert status == 1
    first, second, last = out.splitlines()
    assert re.fullmatch(r"wrong: .* has MD5 [0-9a-f]{12}…, the card pins 0{12}…", first)
    assert second.startswith(f"wrong: {other}: no entry 'state_dict' that holds tensors")
    assert "they fit the known card fractal_resnet8" in second
    assert last == "2 things are wrong"


def test_eval_names_the_known_card_that_fits_better(run, here, capsys):
    other = shipped_models()["fractal_resnet8"].with_suffix(".safetensors")
    assert evaluate(["--model", "card.toml", "--weights", str(other), "--dataset", "shapes"]) == 2
    assert (
        f"they fit the known card fractal_resnet8: --model fractal_resnet8 --weights {other}" in capsys.readouterr().err
    )


def test_convert_writes_what_the_network_calls_its_weights(run, here, card, file, network):
    status, out, _ = run("convert", file, "--card", card())
    assert status == 0
    assert "renamed: 42 (module.conv1.weight → conv1.weight, " in out
    assert "left out: 1 (module.fc.weight)" in out
    assert out.splitlines()[-2:] == [
        "written: raw_epoch3.safetensors and its card raw_epoch3.toml",
        "use it: python -m fewshot_bn.eval --model raw_epoch3.toml",
    ]
    with safe_open("raw_epoch3.safetensors", "pt") as found:
        assert found.metadata()["source_file"] == "raw_epoch3.pth.tar"
        assert found.metadata()["source_sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
        assert {name: found.get_tensor(name).tolist() for name in found.keys()} == {  # noqa: SIM118 - no mapping
            name: value.tolist() for name, value in network.state_dict().items()
        }
    made = read_model_card(Path("raw_epoch3.toml"))
    assert (made.keys, made.forms, made.url) == (type(made.keys)(), {}, "")
    backbone = load_backbone("raw_epoch3.toml")
    assert backbone.notices == ()
    assert torch.equal(backbone.module.layer3[0].conv2.weight, network.layer3[0].conv2.weight)
    assert_refused(run("convert", file, "--card", card()), "raw_epoch3.safetensors: is there already")


def test_convert_of_turned_kernels_in_order(run, here, card, network):
    from reference.layouts.generic import hwio

    torch.save(hwio(network.state_dict()), "tree.pth")
    text = Path(card()).read_text().replace(KEYS, "")
    rules = '[keys]\nunwrap = "params"\nnested = true\nkernels = "HWIO"\nin_order = true\n'
    Path("cards/mine.toml").write_text(text + rules)
    status, out, _ = run("convert", "tree.pth", "--card", "cards/mine.toml")
    assert status == 0
    assert "turned: convolutions and linear layers" in out
    assert "missing, as the card allows: 7 (bn1.num_batches_tracked, " in out
    assert torch.equal(load_backbone("tree.toml").module.conv1.weight, network.conv1.weight)


def test_convert_leaves_nothing_behind_when_the_disk_is_full(run, here, card, file, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("fewshot_bn.backbones.conversion.save_file", full)
    assert_refused(run("convert", file, "--card", card()), "No space left on device")
    assert not list(here.glob("*raw_epoch3.s*"))


def test_folders_of_outputs_are_made(run, here, card, file):
    assert run("convert", file, "--card", card(), "--output", here / "a" / "b" / "x.safetensors")[0] == 0
    assert run("guess", file, "--output", here / "c" / "d" / "x.toml")[0] == 0
    assert (
        load_backbone(here / "a" / "b" / "x.toml").fingerprint == load_backbone(here / "c" / "d" / "x.toml").fingerprint
    )
    (here / "full").touch()
    status, _, err = run("convert", file, "--card", card(), "--output", here / "full" / "x.safetensors")
    assert (status, err.count("\n")) == (2, 1)
    assert "x.safetensors: cannot be written: " in err


def test_a_draft_is_called_as_a_card(run, file):
    assert_refused(run("guess", file, "--output", "x.txt"), r"--output x.txt: a card's name ends in .toml")


def test_one_network_at_a_time_is_exported(run):
    done = run("export", "fractal_resnet8+resnet18@random", "--format", "torchvision")
    assert_refused(done, "one network at a time; export each of these by itself")


def test_export(run, here):
    status, out, _ = run("export", "resnet18", "--weights", "random", "--format", "torchvision")
    assert status == 0
    assert out.startswith("resnet18_torchvision.pth: the weights of torchvision's resnet18, without its head")
    assert "conv1.weight" in torch.load("resnet18_torchvision.pth")
