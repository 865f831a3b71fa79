"""The verbs of data, from their arguments to their output and exit status, in this process."""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from reference.commands import assert_refused, runner
from reference.places import SHARED, needs_shared

from fewshot_bn import workers
from fewshot_bn.cli.data import EXAMPLES
from fewshot_bn.data import main
from fewshot_bn.datasets import open_dataset, shipped_cards, verification
from fewshot_bn.episodes import EpisodeShape, frozen_list, read_list, sample, sample_disjoint
from fewshot_bn.eval import main as evaluate
from fewshot_bn.inputs import decoding, store

TINY = ["--n-way", "3", "--n-support", "2", "--n-query", "4", "--n-episodes", "6"]
SHAPE = EpisodeShape(3, 2, 4)


@pytest.fixture
def here(image_folder, own_cache, tmp_path, monkeypatch):
    """A working directory with an image folder, and a cold cache."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run(here, capsys):
    """Runs a verb; gives its exit status and what it printed."""
    return runner(main, capsys)


def pixels(path):
    with Image.open(path) as image:
        return np.asarray(image)


def damage(*names):
    for name in names:
        path = Path("shapes") / name
        path.write_bytes(path.read_bytes()[:70])


def test_help_names_the_verbs_and_shows_commands_that_are_understood(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    verbs = ("list", "fetch", "verify", "prepare", "episodes", "split", "show")
    assert EXAMPLES in text
    for verb in verbs:
        assert re.search(rf"^    {verb} ", text, re.M)
        assert f"python -m fewshot_bn.data {verb}" in EXAMPLES
        with pytest.raises(SystemExit):
            main([verb, "--help"])
        assert len(capsys.readouterr().out) > 200


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "the following arguments are required: VERB; --help shows all options"),
        (["lst"], "invalid choice: 'lst' .*list.*; --help shows all options"),
        (["list", "extra"], "unrecognized arguments: extra"),
        (["list", "--data", "."], "unrecognized arguments: --data ."),
        *(([verb], r"required: NAME\|PATH") for verb in ("fetch", "verify", "prepare", "episodes", "split", "show")),
        (["verify", "shapes", "--data-rot", "."], "unrecognized arguments: --data-rot ."),
        (["verify", "eurosta"], r"unknown dataset 'eurosta' \(did you mean 'eurosat'\?\)"),
        (["verify", "eurosat"], "eurosat: no data found; looked in data/EuroSAT/2750.*python -m fewshot_bn.data fetch"),
        (["verify", "no/such/folder"], "no/such/folder: there is no image folder"),
        (["verify", "notes.txt"], "notes.txt"),
        (["verify", "card.toml"], "card.toml: .*is missing"),
        (["verify", "shapes/c"], "0 class folders found, at least 2 are needed"),
        (["prepare", "eurosta"], "did you mean 'eurosat'"),
        (["prepare", "shapes", "--preset", "cdfs"], r"unknown preset 'cdfs' \(did you mean 'cdfsl'\?\)"),
        (["prepare", "shapes", "--image-size", "4"], "argument --image-size"),
        (["prepare", "shapes", "--image-size", "1000000"], "images of 1000000 px: 1 to 4096 px are possible"),
        (["prepare", "shapes", "--model", "resnet05"], r"unknown model 'resnet05' \(did you mean 'resnet50'\?\)"),
        (["prepare", "shapes", "--model", "none.toml"], "none.toml: this card cannot be read: No such file"),
        (["episodes", "eurosta"], "did you mean 'eurosat'"),
        (["episodes", "shapes"], "n_way is 5, but there are only 3 classes; lower --n-way"),
        (["episodes", "shapes", "--n-way", "3"], "shapes: class 'd e' has 8 images .*lower --n-support or --n-query"),
        (["episodes", "shapes", *TINY, "--n-episodes", "0"], "argument --n-episodes: '0' is not a whole number"),
        (["episodes", "shapes", *TINY, "--n-episodes", "9999999"], "n_episodes is 9999999; it must be between 1 and"),
        (["episodes", "shapes", *TINY, "--seed", "9" * 20], "seed is 9+; it must be between 0 and"),
        (["episodes", "shapes", *TINY, "--by-group"], "--by-group needs a column of groups"),
        (
            ["episodes", "shapes", *TINY, "--episodes", "disjont"],
            "'disjont' is neither random nor disjoint nor meta-dataset nor a file",
        ),
        (
            ["episodes", "shapes", *TINY, "--episodes", "disjoint"],
            "1 disjoint episodes exist at 3-way .*lower --n-epis",
        ),
        (
            ["episodes", "shapes", *TINY, "--episodes", "disjoint", "--by-group"],
            "it does not go with --episodes disjoi",
        ),
        (["episodes", "shapes", *TINY, "--episodes", "notes.txt"], "notes.txt: not a list of episodes, or a damaged"),
        (
            ["episodes", "shapes", *TINY, "--output", "no/such/list.jsonl"],
            "list.jsonl: this list cannot be written: No",
        ),
        (
            ["episodes", "shapes", *TINY, "--output", "shapes"],
            "shapes: this list cannot be written: it is a folder; name a file in it",
        ),
        (["episodes", "shapes", "--frozen"], "shapes has no frozen list of episodes; these have: chestx, cropdisease,"),
        (["episodes", "digits", "--frozen", "--by-group"], "--frozen is a list of its own; it goes with none of"),
        (["episodes", "shapes", "--ranks"], "shapes: is no card; the name of a known dataset or a card"),
        (["episodes", "eurosta", "--ranks"], "did you mean 'eurosat'"),
        (["episodes", "digits", "--ranks", "--by-group"], "digits: --ranks draws random or disjoint episodes; leave"),
        (["episodes", "voc2007", "--ranks"], "voc2007: its card has no images per class; leave --ranks out"),
        (["episodes", "digits", "--ranks", "--n-support", "170"], "digits: class '8' has 174 images .*needs 185"),
        (
            ["episodes", "digits", "--ranks", "--output", "a.csv"],
            r"a.csv: a table names files; ranks go into JSON lines",
        ),
        (["episodes", "shapes", "--verify", "none.jsonl"], "none.jsonl: this list cannot be read: No such file"),
        (["episodes", "shapes", "--verify", "shapes"], "shapes: this list cannot be read: Is a directory"),
        (
            ["episodes", "shapes", "--verify", "notes.txt", "--frozen"],
            "--verify writes no list; leave --frozen, --ranks",
        ),
        (["show", "shapes", *TINY, "--episode", "6"], "--episode is 6; there are episodes 0 to 5"),
        (["show", "shapes", *TINY, "--episode", "-1"], "argument --episode: '-1' is not a whole number of at least 0"),
        (
            ["show", "shapes", *TINY, "--output", "x.jpg"],
            "--output x.jpg: a contact sheet is a PNG; choose a name that",
        ),
        (["show", "shapes", *TINY, "--output", "no/such.png"], "no/such.png: cannot be written: No such file"),
        (["show", "shapes", "--result", "none.json"], "none.json: cannot be read: No such file"),
        (["show", "shapes", "--result", "notes.txt"], "notes.txt: not a whole result file"),
        (["show", "shapes"], "n_way is 5, but there are only 3 classes"),
    ],
)
def test_bad_input_is_one_clear_line_and_status_2(run, here, arguments, message):
    Path("notes.txt").write_text("hello\n")
    Path("card.toml").write_text('name = "x"\n')
    before = sorted(here.rglob("*"))
    assert_refused(run(*arguments), message)
    assert sorted(here.rglob("*")) == before


def test_list_says_what_is_known_and_what_is_there(run, here):
    status, out, err = run("list", "--data-root", here)
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert [line.split()[0] for line in lines[1 : 1 + len(shipped_cards())]] == list(shipped_cards())
    assert re.search(r"^digits +10 +1,797 +CC BY 4.0 +1,797 images: embedded$", out, re.M)
    assert re.search(r"^eurosat +10 +27,000 +MIT +nothing; fetch gets it$", out, re.M)
    assert lines[0].endswith(f"under {here}")
    assert "note" not in out
    assert lines[-1].startswith("get one: python -m fewshot_bn.data fetch NAME")


def test_the_data_root_is_the_option_then_the_environment_then_data(run, here, monkeypatch):
    out = run("list")[1]
    assert out.splitlines()[0].endswith("under data")
    assert "note: there is no folder data; name another with --data-root or FEWSHOT_BN_DATA" in out
    monkeypatch.setenv("FEWSHOT_BN_DATA", "elsewhere")
    assert run("list")[1].splitlines()[0].endswith("under elsewhere")
    assert run("list", "--data-root", "here")[1].splitlines()[0].endswith("under here")


def test_list_is_quick_and_prints_on_any_terminal(here):
    code = "import sys; from fewshot_bn.data import main; main(['list']); print('torch' in sys.modules)"
    plain = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=plain)
    assert (done.stdout.splitlines()[-1], done.stderr) == ("False", "")


def test_verify_of_clean_files(run):
    assert run("verify", "shapes") == (
        0,
        "shapes: 29 images, 3 classes\n  a, b  12\n  c     9\n  d e   8\nnothing is wrong\n",
        "",
    )
    status, out, _ = run("verify", "digits")
    assert status == 0
    assert "  9  180  of 180\nnothing is wrong\n" in out


def test_verify_names_every_case_also_where_the_sentence_names_the_first(here, capsys):
    for i in range(6):
        (here / "shapes" / "c" / f"{i}.png").write_bytes(b"")
    assert main(["verify", "shapes"]) == 1
    lines = capsys.readouterr().out.splitlines()
    start = next(i for i, line in enumerate(lines) if "empty (0 bytes); get these" in line)
    assert "c/0.png, c/1.png, c/2.png and 3 more" in lines[start]
    assert lines[start + 1 : start + 4] == ["  c/3.png", "  c/4.png", "  c/5.png"]


def test_verify_says_all_that_is_wrong_at_once(run):
    damage("c/3.png", "d e/1.png")
    Path("shapes/c/4.png").write_bytes(b"")
    shutil.copy("shapes/c/0.png", "shapes/d e/0.png")
    Path("shapes/c/notes.txt").write_text("hello")
    status, out, err = run("verify", "shapes")
    assert (status, err) == (1, "")
    lines = out.splitlines()
    assert re.match(r"note: shapes: 1 file.* left out", lines[4])
    assert re.match(r"wrong: .*c/4\.png.* empty \(0 bytes\)", lines[5])
    assert lines[6] == "wrong: 3 images cannot be read"
    assert [line.split(":")[0] for line in lines[7:10]] == ["  c/3.png", "  c/4.png", "  d e/1.png"]
    assert lines[10:] == [
        "wrong: 1 set of images is the same byte for byte",
        "  c/0.png (c) = d e/0.png (d e)",
        "3 things are wrong",
    ]


def test_verify_counts_groups(run, here):
    rows = [f"shapes/{name}/{k}.png,{name},{k % 2 + 2 * (name == 'c')}" for name in ("c", "d e") for k in range(4)]
    Path("table.csv").write_text("\n".join(["path,label,group", *rows]))
    status, out, _ = run("verify", "table.csv")
    assert (status, out.splitlines()[0], out.splitlines()[-1]) == (
        0,
        "table: 8 images, 2 classes, 4 groups",
        "nothing is wrong",
    )
    Path("table.csv").write_text("\n".join(["path,label,group", *rows]).replace(",2", ",0"))
    status, out, _ = run("verify", "table.csv")
    assert status == 1
    assert out.endswith("wrong: 1 group has images of several classes\n  0: c, d e\n1 thing is wrong\n")


def interrupted_after(n):
    """`map_rows` that is stopped by Ctrl-C after `n` groups."""

    def map_rows(*arguments, **options):
        for k, part in enumerate(workers.map_rows(*arguments, **options)):
            if k == n:
                raise KeyboardInterrupt
            yield part

    return map_rows


def test_verify_that_is_stopped_says_so(run, monkeypatch):
    monkeypatch.setattr(workers, "ROWS", 5)
    monkeypatch.setattr(verification, "map_rows", interrupted_after(2))
    status, out, err = run("verify", "shapes")
    assert (status, out) == (130, "")
    assert re.fullmatch(r"stopped: \d+ of 29 images were read; the same command begins anew\n", err)


def no_decoding(monkeypatch):
    def refuse(*arguments):
        raise AssertionError("an image is decoded again")

    monkeypatch.setattr(decoding, "decoded", refuse)


def test_prepare_decodes_everything_once(run, own_cache, monkeypatch):
    status, out, err = run("prepare", "shapes", "--preset", "cdfsl")
    assert (status, err) == (0, "")
    path = own_cache / "stores" / re.search(r"shapes_bilinear-both-sides-257-crop-224_\w+\.h5", out)[0]
    size = 29 * 3 * 224**2 / 1e6
    assert re.fullmatch(
        rf"shapes: all 29 images are in {path} \({size:.1f} MB; 29 decoded now, [\d,]+ per second\)\n", out
    )
    no_decoding(monkeypatch)
    assert run("prepare", "shapes", "--preset", "cdfsl") == (
        0,
        f"shapes: all 29 images are in {path} ({size:.1f} MB; none had to be decoded)\n",
        "",
    )


@pytest.mark.parametrize("options", [[], ["--image-size", "16"], ["--preset", "paper", "--image-size", "16"]])
def test_eval_uses_what_prepare_has_decoded(run, own_cache, monkeypatch, options):
    assert run("prepare", "shapes", *options)[0] == 0
    no_decoding(monkeypatch)
    arguments = ["--dataset", "shapes", *options, *TINY, "--mode", "proto", "--baseline", "none", "--quiet"]
    assert evaluate(arguments) == 0
    assert len(list((own_cache / "stores").glob("*.h5"))) == 1


def test_prepare_needs_no_weights(run, here):
    Path("model.toml").write_text(
        'name = "tiny"\ntitle = "Tiny"\nnetwork = "conv4"\nweights = "absent.pth"\n'
        f'sha256 = "{"0" * 64}"\npreprocessing = {{ resize_px = 21, crop_px = 21 }}\n'
    )
    status, out, _ = run("prepare", "shapes", "--model", "model.toml")
    assert status == 0
    assert "bicubic-short-side-21-crop-21" in out


def test_prepare_decodes_for_each_of_networks_side_by_side(run, here, own_cache):
    Path("model.toml").write_text(
        'name = "tiny"\ntitle = "Tiny"\nnetwork = "conv4"\nweights = "absent.pth"\n'
        "preprocessing = { resize_px = 21, crop_px = 21 }\n"
    )
    both = ["prepare", "shapes", "--model", "model.toml+fractal_resnet8"]
    status, out, err = run(*both)
    assert (status, err) == (0, "")
    found = re.findall(r"shapes_(.*)_\w+\.h5", out)
    assert found == ["bicubic-short-side-21-crop-21", "bilinear-both-sides-32-crop-32"]
    assert run(*both)[1].count("none had to be decoded") == 2


def test_prepare_keeps_all_but_the_images_that_cannot_be_read(run, here, monkeypatch):
    whole = {name: (here / "shapes" / name).read_bytes() for name in ("c/3.png", "d e/1.png")}
    damage(*whole)
    done = run("prepare", "shapes", "--preset", "cdfsl")
    assert_refused(
        done, r"shapes: 2 images cannot be read: 'c/3\.png' \(row 15\) .*; 'd e/1\.png' \(row 22\) .*get these"
    )
    assert "All other images are in the store" in done[2]
    seen, decoded = [], decoding.decoded
    monkeypatch.setattr(decoding, "decoded", lambda *arguments: seen.append(1) or decoded(*arguments))
    assert run("prepare", "shapes", "--preset", "cdfsl")[0] == 2
    assert len(seen) == 2


def test_prepare_of_empty_files_says_where_all_are_listed(run):
    Path("shapes/c/4.png").write_bytes(b"")
    assert_refused(run("prepare", "shapes"), r"c/4\.png .*empty .*python -m fewshot_bn\.data verify shapes lists every")


def test_prepare_that_is_stopped_keeps_what_it_has_and_goes_on(run, own_cache, monkeypatch):
    monkeypatch.setattr(workers, "ROWS", 5)
    with monkeypatch.context() as patch:
        patch.setattr(store, "map_rows", interrupted_after(2))
        status, out, err = run("prepare", "shapes", "--preset", "paper")
    assert (status, out) == (130, "")
    n_kept = int(re.match(r"stopped: (\d+) of 29 images are in .*\.h5; the same command goes on from there\n$", err)[1])
    assert 0 < n_kept < 29
    assert f"; {29 - n_kept} decoded now, " in run("prepare", "shapes", "--preset", "paper")[1]


def test_prepare_names_stores_of_files_that_have_changed(run, here):
    run("prepare", "shapes", "--preset", "paper")
    Image.new("RGB", (30, 30)).save(here / "shapes" / "c" / "new.png")
    status, _, err = run("prepare", "shapes", "--preset", "paper")
    assert status == 0
    assert re.search(r"note: .*\.h5 .*other files.*delete it", err)
    assert run("prepare", "shapes", "--preset", "paper", "--quiet")[2] == ""


def test_prepare_without_a_place_to_write_says_so(run, here, monkeypatch):
    monkeypatch.setenv("FEWSHOT_BN_CACHE", str(here / "shapes" / "c" / "0.png"))
    assert_refused(
        run("prepare", "shapes", "--preset", "paper"), r"\.h5: this store cannot be written: Not a directory"
    )


def test_episodes_are_those_of_eval(run, here):
    """An independent answer: the episodes that `sample` draws, turned into ids here."""
    status, out, err = run("episodes", "shapes", *TINY, "--seed", "3")
    assert (status, err) == (0, "")
    path = Path("shapes_3way_2shot_4query_seed3.jsonl")
    assert out.splitlines()[0] == f"6 episodes are in {path}"
    header, *lines = map(json.loads, path.read_text().splitlines())
    dataset = open_dataset("shapes")
    drawn = sample([12, 9, 8], SHAPE, seed=3, n_episodes=6)
    assert (header["fingerprint"], header["classes"]) == (dataset.fingerprint, {"a, b": 12, "c": 9, "d e": 8})
    for line, classes, support, query in zip(lines, drawn.classes, drawn.support, drawn.query, strict=True):
        assert line["classes"] == [dataset.class_names[k] for k in classes]
        assert line["support"] == [[dataset.ids[row] for row in rows] for rows in support]
        assert line["query"] == [[dataset.ids[row] for row in rows] for rows in query]


def test_the_command_that_it_names_runs_them(run, here):
    _, out, _ = run("episodes", "shapes", *TINY, "--data-root", "my data", "--output", "my list.jsonl")
    command = out.splitlines()[1].removeprefix("run them: python -m fewshot_bn.eval ")
    assert command == (
        "--dataset shapes --data-root 'my data' --n-way 3 --n-support 2 --n-query 4 --episodes 'my list.jsonl'"
    )
    import shlex

    assert evaluate([*shlex.split(command), "--mode", "proto", "--baseline", "none", "--quiet"]) == 0
    (result,) = Path("results").glob("*.json")
    assert len(json.loads(result.read_text())["correct"]) == 6


def test_a_table_has_a_line_for_each_image(run):
    assert run("episodes", "shapes", *TINY, "--output", "mine.csv")[0] == 0
    with Path("mine.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 6 * 3 * (2 + 4)
    assert {line["class"] for line in lines} == {"a, b", "c", "d e"}
    assert all(line["file"].startswith(f"{line['class']}/") for line in lines)
    assert run("episodes", "shapes", "--verify", "mine.csv")[:2] == (
        0,
        "mine.csv: 6 3-way episodes of 2 support and 4 query images per class of shapes: nothing is wrong\n",
    )


@pytest.mark.parametrize("kind", ["random", "disjoint"])
def test_ranks_need_no_files_and_are_those_of_the_card(run, kind):
    assert run("episodes", "eurosat", "--ranks", "--episodes", kind, "--n-episodes", "7")[0] == 0
    name = "eurosat_5way_5shot_15query_seed0.jsonl"
    path = Path(name if kind == "random" else name.replace("seed0", "disjoint_seed0"))
    header, *lines = map(json.loads, path.read_text().splitlines())
    sizes = [3000, 3000, 3000, 2500, 2500, 2000, 2500, 3000, 2500, 3000]
    draw = sample if kind == "random" else sample_disjoint
    drawn = draw(sizes, EpisodeShape(), seed=0, n_episodes=7)
    starts = np.cumsum([0, *sizes])[drawn.classes]
    assert (header["kind"], header["images"], header["dataset"]) == (kind, "rank", "eurosat")
    assert [line["query"] for line in lines] == (drawn.query - starts[..., None]).tolist()


def test_ranks_of_a_card_of_ones_own(run, here):
    shutil.copy(shipped_cards()["eurosat"], "card.toml")
    assert run("episodes", "card.toml", "--ranks")[0] == 0
    assert Path("eurosat_5way_5shot_15query_seed0.jsonl").is_file()


def test_disjoint_episodes_and_episodes_by_group(run, here):
    assert (
        "1 episodes are in shapes_3way_2shot_4query_disjoint_seed0.jsonl"
        in run("episodes", "shapes", *TINY[:6], "--episodes", "disjoint")[1]
    )
    rows = [f"shapes/{name}/{k}.png,{name},{name}{k % 4}" for name in ("c", "d e") for k in range(8)]
    Path("table.csv").write_text("\n".join(["path,label,group", *rows]))
    arguments = ["--n-way", "2", "--n-support", "2", "--n-query", "2", "--n-episodes", "9", "--by-group"]
    assert (
        "9 episodes are in table_2way_2shot_2query_by-group_seed0.jsonl" in run("episodes", "table.csv", *arguments)[1]
    )
    group = {row.split(",")[0]: row.split(",")[2] for row in rows}
    for episode in read_list(Path("table_2way_2shot_2query_by-group_seed0.jsonl")).listed:
        support, query = ({group[image] for _, image in episode.images(role)} for role in ("support", "query"))
        assert not support & query
    assert run("episodes", "table.csv", "--verify", "table_2way_2shot_2query_by-group_seed0.jsonl")[0] == 0


@pytest.fixture
def full_digits(monkeypatch):
    """The frozen list of a dataset that is there: that of the digits, as if it were shipped."""
    from fewshot_bn.episodes import list_files

    main(["episodes", "digits", "--ranks", "--n-support", "20", "--n-episodes", "8", "--output", "frozen.jsonl"])
    listed = read_list(Path("frozen.jsonl"))
    for module in ("fewshot_bn.cli.episodes", "fewshot_bn.episodes.list_files"):
        monkeypatch.setattr(f"{module}.frozen_list", lambda name: listed)
    return list_files


def test_a_frozen_list_is_written_with_names_of_files(run, full_digits, capsys):
    capsys.readouterr()
    status, out, _ = run("episodes", "digits", "--frozen", "--n-support", "3")
    assert (status, out.splitlines()[0]) == (0, "8 episodes are in digits_5way_3shot_15query_listed.jsonl")
    listed = read_list(Path("digits_5way_3shot_15query_listed.jsonl"))
    dataset = open_dataset("digits")
    drawn = sample(dataset.class_sizes, EpisodeShape(5, 3, 15), seed=0, n_episodes=8)
    assert listed.episodes(dataset).fingerprint == drawn.fingerprint
    assert run("episodes", "digits", "--verify", "digits_5way_3shot_15query_listed.jsonl")[0] == 0
    assert run("episodes", "digits", "--verify", "frozen.jsonl")[0] == 0


def test_every_frozen_list_that_ships_is_what_its_seed_gives():
    frozen = [
        name for name in shipped_cards() if (shipped_cards()[name].parent / "5way_50shot_15query_seed0.jsonl").exists()
    ]
    assert len(frozen) >= 4
    for name in frozen:
        listed = frozen_list(name)
        sizes, names = list(listed.class_sizes.values()), list(listed.class_sizes)
        drawn = sample(sizes, listed.shape, seed=0, n_episodes=3)
        starts = np.cumsum([0, *sizes])[drawn.classes]
        for episode, classes, support in zip(
            listed.listed, drawn.classes, drawn.support - starts[..., None], strict=False
        ):
            assert episode.classes == tuple(names[k] for k in classes)
            assert [list(images) for images in episode.support] == support.tolist()


def test_frozen_lists_hold_for_the_full_data_only(run, here):
    for name in ("River", "Forest"):
        (here / "EuroSAT" / name).mkdir(parents=True)
        Image.new("RGB", (4, 4)).save(here / "EuroSAT" / name / "1.jpg")
    done = run("episodes", "eurosat", "--frozen", "--data-root", here)
    assert_refused(
        done, "eurosat: .*its ranks hold for the full data only; images that are there: AnnualCrop 0 of 3,000"
    )


def swap_support(header, lines):
    """Another image of the same class."""
    images = {f"c/{k}.png" for k in range(9)}
    way = lines[2]["classes"].index("c")
    unused = images - {*lines[2]["support"][way], *lines[2]["query"][way]}
    lines[2]["support"][way][0] = min(unused)


def swap_lines(header, lines):
    lines[3], lines[4] = lines[4], lines[3]


def repeat_image(header, lines):
    lines[1]["query"][0][0] = lines[1]["support"][0][1]


def put(**facts):
    return lambda header, lines: header.update(facts)


@pytest.mark.parametrize(
    ("tamper", "message"),
    [
        (swap_support, "episode 2 is the first that is not what seed 0 gives"),
        (swap_lines, "episode 3 is the first that is not what seed 0 gives"),
        (repeat_image, "episode 1: an image occurs twice"),
        (lambda h, lines: lines[1]["classes"].reverse(), r"not in the data: a, b/\d+.png \(d e\)|\(c\)|\(a, b\)"),
        (lambda h, lines: lines[5]["query"][0].__setitem__(0, "c/99.png"), r"not in the data: c/99.png \("),
        (
            lambda h, lines: lines[5]["query"][0].pop(),
            "episode 5: its classes or images are not as many as those of the",
        ),
        (put(seed=4), "episode 0 is the first that is not what seed 4 gives"),
        (put(kind="disjoint"), "episode [01] is the first that is not what seed 0 gives"),
        (
            put(by_group=True),
            "it cannot be as its header says: shapes: its files do not say which images are of one group",
        ),
        (put(kind="disjoint", by_group=True), "it cannot be as its header says: --by-group draws random episodes"),
        (put(seed=-1), "it cannot be as its header says: .*seed is -1"),
        (put(seed="0"), "its header has no whole number as seed, or no true or false as by_group: '0', False"),
        (lambda header, lines: header.pop("seed"), "its header has no whole number as seed.*: None, False"),
        (put(n_support=1), r"its header says .*'n_support': 1, .*its episodes are .*'n_support': 2"),
        (
            put(fingerprint="0"),
            "all its images are there, but it was drawn from other files: its seed cannot be checked",
        ),
    ],
)
def test_a_list_that_was_tampered_with_is_found_wrong(run, tamper, message):
    run("episodes", "shapes", *TINY, "--output", "mine.jsonl")
    assert run("episodes", "shapes", "--verify", "mine.jsonl")[0] == 0
    header, *lines = map(json.loads, Path("mine.jsonl").read_text().splitlines())
    tamper(header, lines)
    Path("mine.jsonl").write_text("\n".join(map(json.dumps, [header, *lines])))
    status, out, err = run("episodes", "shapes", "--verify", "mine.jsonl")
    assert (status, err) == (1, "")
    assert re.search(f"^wrong: {message}", out, re.M), out
    assert "nothing is wrong" not in out


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text[: len(text) // 2], "not a list of episodes, or a damaged one"),
        (lambda text: text[: text.rindex('{"classes')], "5 of 6 episodes are there"),
        (lambda text: text.replace("episodes 1", "episodes 9"), "its format is 'fewshot_bn episodes 9', this version"),
        (lambda text: "", "not a list of episodes"),
        (lambda text: "[]", "not a list of episodes"),
    ],
)
def test_a_list_that_is_damaged_is_an_error(run, change, message):
    run("episodes", "shapes", *TINY, "--output", "mine.jsonl")
    Path("mine.jsonl").write_text(change(Path("mine.jsonl").read_text()))
    assert_refused(run("episodes", "shapes", "--verify", "mine.jsonl"), rf"mine\.jsonl: .*{message}")


def test_a_table_that_was_tampered_with_is_found_wrong(run):
    run("episodes", "shapes", *TINY, "--output", "mine.csv")
    text = Path("mine.csv").read_text()
    Path("mine.csv").write_text(text.replace("c/0.png", "c/00.png"))
    status, out, _ = run("episodes", "shapes", "--verify", "mine.csv")
    assert (status, out) == (1, "wrong: not in the data: c/00.png (c)\n")


def test_a_list_of_other_files(run, here):
    run("episodes", "shapes", *TINY, "--output", "mine.jsonl")
    Image.new("RGB", (9, 9)).save(here / "shapes" / "c" / "more.png")
    status, out, _ = run("episodes", "shapes", "--verify", "mine.jsonl")
    assert (status, out.splitlines()[0].startswith("wrong: all its images are there, but")) == (1, True)
    shutil.rmtree(here / "shapes" / "a, b")
    status, out, _ = run("episodes", "shapes", "--verify", "mine.jsonl")
    assert status == 1
    assert "wrong: not in the data: a, b/0.png (a, b)" in out


def test_names_of_datasets_make_plain_names_of_files(run, here):
    odd = here / "odd 名 & co"
    shutil.copytree(here / "shapes", odd)
    assert run("episodes", odd, *TINY)[1].splitlines()[0] == "6 episodes are in odd-名-co_3way_2shot_4query_seed0.jsonl"
    assert run("show", odd, *TINY)[1] == "episode 0 of odd 名 & co is in odd-名-co_episode0.png\n"


def test_show_draws_an_episode(run):
    assert run("show", "shapes", *TINY, "--episode", "4") == (0, "episode 4 of shapes is in shapes_episode4.png\n", "")
    assert pixels("shapes_episode4.png").shape == (62 + 3 * 133 + 20, 20 + 150 + 2 * 96 + 16 + 4 * 96 + 20, 3)


def test_show_draws_the_episode_of_that_number_whatever_their_number_is(run):
    for n, path in (("6", "x.png"), ("40", "y.png")):
        run("show", "shapes", *TINY[:6], "--n-episodes", n, "--episode", "4", "--output", path)
    np.testing.assert_array_equal(pixels("x.png"), pixels("y.png"))


def test_show_of_a_list(run):
    run("episodes", "shapes", *TINY, "--output", "mine.jsonl")
    run("show", "shapes", *TINY[:6], "--episode", "5", "--output", "x.png")
    run("show", "shapes", *TINY[:6], "--episode", "5", "--output", "y.png", "--episodes", "mine.jsonl")
    assert Path("x.png").read_bytes() == Path("y.png").read_bytes()
    done = run("show", "shapes", *TINY[:6], "--episode", "6", "--episodes", "mine.jsonl")
    assert_refused(done, "--episode is 6; there are episodes 0 to 5")


def test_show_names_an_image_that_cannot_be_read(run):
    damage(*(f"d e/{k}.png" for k in range(8)))
    assert_refused(run("show", "shapes", *TINY), r"shapes: image 'd e/\d\.png' cannot be read: .*; get this file again")


def result_of(*arguments):
    """The result file of a run of eval."""
    assert evaluate(["--dataset", "shapes", *TINY, "--mode", "proto", "--baseline", "none", "--quiet", *arguments]) == 0
    return max(Path("results").glob("*.json"), key=lambda path: path.stat().st_mtime_ns)


@pytest.mark.parametrize("options", [[], ["--seed", "5"], ["--episodes", "disjoint", "--n-episodes", "1"]])
def test_show_marks_the_predictions_of_a_result(run, capsys, options):
    path = result_of(*options)
    capsys.readouterr()
    number = len(json.loads(path.read_text())["correct"]) - 1
    assert run("show", "shapes", "--result", path, "--episode", number, "--output", "x.png")[0] == 0
    run("show", "shapes", *TINY, *options, "--episode", number, "--output", "y.png")
    with_frames, plain = map(pixels, ("x.png", "y.png"))
    predicted = json.loads(path.read_text())["measures"]["predicted"][number]
    n_right = 0
    for k, found in enumerate(predicted):
        left, top = 20 + 150 + 2 * 96 + 16 + k % 4 * 96, 62 + k // 4 * 133
        np.testing.assert_array_equal(*(a[top : top + 88, left : left + 88] for a in (with_frames, plain)))
        assert with_frames[top - 2, left].tolist() == ([27, 138, 62] if found == k // 4 else [198, 40, 40])
        n_right += found == k // 4
    assert n_right == json.loads(path.read_text())["correct"][number]


def test_show_refuses_results_of_something_else(run, here, capsys):
    path = result_of()
    assert_refused(
        run("show", "shapes", "--result", path, "--episode", "6"), "--episode is 6; there are episodes 0 to 5"
    )
    shutil.copytree("shapes", "same sizes")
    for name in ("a, b", "c"):
        (here / "same sizes" / name).rename(here / "same sizes" / f"{name}x")
    done = run("show", "same sizes", "--result", path)
    assert_refused(done, "is of shapes, not of the files of same sizes that are there; name its dataset")
    Image.new("RGB", (9, 9)).save(here / "shapes" / "c" / "more.png")
    done = run("show", "shapes", "--result", path)
    assert_refused(done, "is of shapes as it was then, not of the files of shapes that are there")


def test_show_needs_the_list_of_a_result_of_listed_episodes(run, capsys):
    for seed, name in (("0", "mine.jsonl"), ("1", "other.jsonl")):
        run("episodes", "shapes", *TINY, "--seed", seed, "--output", name)
    path = result_of("--episodes", "mine.jsonl")
    for options in ([], ["--episodes", "other.jsonl"]):
        done = run("show", "shapes", "--result", path, *options)
        assert_refused(done, "its episodes are those of a list; name that list with --episodes")
    assert run("show", "shapes", "--result", path, "--episodes", "mine.jsonl")[0] == 0


def test_show_refuses_shards_and_many_shot_results(run, here, capsys):
    assert_refused(
        run("show", "shapes", "--result", result_of("--shard", "1/2")), "is a shard; run the same command without"
    )
    shutil.rmtree("results")
    assert evaluate(["--dataset", "shapes", "--regime", "many-shot", "--set", "lr.n_values=2", "--quiet"]) == 0
    (path,) = Path("results").glob("*.json")
    capsys.readouterr()
    assert_refused(run("show", "shapes", "--result", path), "is of format many-shot 1")


@pytest.mark.parametrize(
    ("tamper", "message"),
    [
        (lambda r: r["measures"]["predicted"][0].pop(), "what is predicted is not a place from 0 to 2"),
        (lambda r: r["measures"]["predicted"][0].__setitem__(0, 3), "what is predicted is not a place from 0 to 2"),
        (lambda r: r["measures"]["predicted"][0].__setitem__(0, 1.5), "what is predicted is not a place from 0 to 2"),
        (lambda r: r["measures"]["predicted"][0].__setitem__(0, 2.0), "what is predicted is not a place from 0 to 2"),
        (lambda r: r["measures"].pop("predicted"), "its checksum is that of other values"),
        (lambda r: r["steps"].__setitem__(0, 7), "its checksum is that of other values"),
        (lambda r: r["measures"]["nll"].__setitem__(0, 0.25), "its checksum is that of other values"),
        (lambda r: [r["measures"].pop("predicted"), r.pop("checksum")], "is of an older format"),
        (lambda r: r["identity"].pop("seed"), "not a result file, or a damaged one .'seed'."),
        (lambda r: r["identity"].update(dataset=3), "not a result file, or a damaged one"),
        (lambda r: r["identity"].pop("backbone"), "not a result file, or a damaged one .'backbone'."),
        (lambda r: r["identity"].update(seed=1), "damaged: its episodes are not those of its seed and dataset"),
        (lambda r: r["identity"]["shape"].update(n_shot=1), "not a result file, or a damaged one .its shape is"),
        (lambda r: [r.update({key: []}) for key in ("correct", "converged", "steps", "runs")], "damaged"),
    ],
)
def test_a_result_that_was_tampered_with_is_an_error(run, capsys, tamper, message):
    path = result_of()
    capsys.readouterr()
    content = json.loads(path.read_text())
    tamper(content)
    path.write_text(json.dumps(content))
    assert_refused(run("show", "shapes", "--result", path), rf"proto.*\.json: .*{message}")


def test_show_of_a_result_without_episodes(run, capsys):
    path = result_of()
    content = json.loads(path.read_text())
    for key in ("correct", "converged", "steps", "runs"):
        content[key] = []
    content["measures"] = {}
    del content["checksum"]
    path.write_text(json.dumps(content))
    assert_refused(run("show", "shapes", "--result", path), "holds no episode yet")


@needs_shared
def test_the_verbs_on_real_images(run, capsys):
    root = ["--data-root", SHARED / "data"]
    status, out, _ = run("verify", "isic", *root)
    assert (status, out.splitlines()[0]) == (1, "isic: 315 images, 7 classes, 312 lesions")
    assert out.endswith("\n1 thing is wrong\n")
    status, out, err = run("prepare", "cropdisease", *root)
    assert (status, err.count("note: ")) == (0, 1)
    assert "chestx_256-bilinear-both-sides-257-crop-224_" in run("prepare", "chestx", *root, "--preset", "cdfsl")[1]
    assert run("episodes", "isic", *root, "--by-group", "--n-episodes", "3", "--output", "isic.jsonl")[0] == 0
    assert run("episodes", "isic", *root, "--verify", "isic.jsonl")[0] == 0
    assert run("show", "chestx", *root, "--n-support", "1", "--n-query", "5", "--n-way", "6")[0] == 0


def test_names_that_are_no_text_or_several_lines_stay_on_one(run, here):
    os.rename(here / "shapes" / "c", os.fsencode(here / "shapes") + b"/a\n\xff")  # noqa: PTH104 - no text
    name = os.fsdecode(b"a\n\xff")
    image = sorted((here / "shapes" / name).iterdir())[0]
    image.write_bytes(b"junk")
    status, out, _ = run("verify", "shapes")
    assert status == 1
    assert r"  a\n\udcff" in out
    assert rf"  a\n\udcff/{image.name}: it is no image" in out.splitlines()
