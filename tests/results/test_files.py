import errno
import json
import logging
import logging.handlers
import os
import queue
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from fewshot_bn.episodes import EpisodeShape, sample
from fewshot_bn.errors import ResultError
from fewshot_bn.evaluation.loop import Outcome
from fewshot_bn.results.files import check_folder, open_result
from fewshot_bn.results.key import file_name
from fewshot_bn.results.reading import read_result
from fewshot_bn.results.result import Result, Run

KEY = {
    "fewshot_bn": "0",
    "dataset": {"name": "my data"},
    "backbone": {"name": "net"},
    "adapter": {"name": "bn", "settings": {"steps": 50}},
    "shape": {"n_way": 5, "n_support": 1, "n_query": 2},
    "seed": 3,
}
RUN = Run(0, 2, 1.5, "cpu", {"torch": "1"})


def first(n):
    return sample([9] * 6, EpisodeShape(5, 1, 2), seed=3, n_episodes=n)


def predicted(correct):
    """Of ten queries, two of each of five classes, the first so many as they are."""
    return [place // 2 if place < correct else (place // 2 + 1) % 5 for place in range(10)]


def chunk(correct):
    measures = {"nll": (0.5,) * len(correct), "gaps": ((0.1, -0.2),) * len(correct)}
    measures["predicted"] = tuple(predicted(n) for n in correct)
    return Outcome(tuple(correct), (True,) * len(correct), (50,) * len(correct), 1.0, measures)


def extended(file, correct):
    start = file._earlier[-1].stop if file._earlier else 0
    file.add(chunk(correct), replace(RUN, start=start, stop=len(file.result) + len(correct)))


def write(folder, correct=(7, 3)):
    with open_result(folder, KEY, first) as file:
        extended(file, correct)
    return file.path


def test_what_is_written_is_read_back(tmp_path):
    result = read_result(write(tmp_path))
    assert (result.key, result.correct, result.converged, result.steps) == (
        KEY,
        (7, 3),
        (True, True),
        (50, 50),
    )
    assert result.accuracies == [0.7, 0.3]
    assert result.seconds_per_episode == 0.75
    assert result.pooled("nll") == 0.5
    assert result.pooled("calibration_error") == pytest.approx((0.2 + 0.4) / 20)
    assert json.loads(next(tmp_path.glob("*.json")).read_text())["summary"]["accuracy"] == pytest.approx(0.5)


def test_a_result_is_continued_and_keeps_who_ran_what(tmp_path):
    write(tmp_path)
    with open_result(tmp_path, KEY, first) as file:
        assert len(file.result) == 2
        extended(file, [10])
        extended(file, [1])
    result = read_result(file.path)
    assert (result.correct, len(result.runs)) == ((7, 3, 10, 1), 2)
    assert result[:3].correct == (7, 3, 10)
    taken_for = (predicted(7), predicted(3), predicted(10))
    assert result[:3].measures == {"nll": (0.5,) * 3, "gaps": ([0.1, -0.2],) * 3, "predicted": taken_for}


def test_the_name_reads_well_and_differs_between_settings():
    name = file_name(KEY)
    assert name.startswith("my-data_net_bn_5way_1shot_2query_seed3_")
    other = {**KEY, "adapter": {"name": "bn", "settings": {"steps": 51}}}
    assert file_name(other) != name


def test_a_single_episode_has_no_interval_in_the_file(tmp_path):
    path = write(tmp_path, correct=[4])
    assert json.loads(path.read_text())["summary"]["ci95_half_width"] is None


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda text: text[: len(text) // 2], "half-written or damaged"),
        (lambda text: "[]", "not a result file"),
        (lambda text: text.replace('"n_way": 5', '"n_way": "5"'), "not a result file, or a damaged one"),
        (lambda text: text.replace("[true, true]", "[true, 3]"), "do not fit together|not a result file"),
        (lambda text: text.replace('"seconds": 1.5', '"seconds": NaN'), "do not fit together"),
        (lambda text: text.replace('"seconds": 1.5', '"seconds": "1"'), "not a result file, or a damaged one"),
        (lambda text: text.replace('"stop": 2', '"stop": 3'), "do not fit together"),
        (lambda text: text.replace('"correct"', '"wrong"'), "not a result file, or a damaged one"),
        (lambda text: text.replace('"correct": [7, 3]', '"correct": [7]'), "do not fit together"),
        (lambda text: text.replace('"correct": [7, 3]', '"correct": [7, 11]'), "do not fit together"),
        (
            lambda text: text.replace('"format": 3', '"format": 99'),
            "is of format 99, this version reads formats 1 to 3",
        ),
        (lambda text: text.replace('"nll": [0.5, 0.5]', '"nll": [0.5]'), "do not fit together"),
        (lambda text: text.replace('"nll": [0.5, 0.5]', '"nll": [0.5, NaN]'), "do not fit together"),
        (lambda text: text.replace('"nll": [0.5, 0.5]', '"nll": [0.5, "x"]'), "not a result file, or a damaged one"),
        (
            lambda text: re.sub('"(measures|checksum)"', r'"un\1"', text.replace('"format": 3', '"format": 1')),
            "is of an older format, which cannot be continued",
        ),
        (
            lambda text: text.replace('"steps": 50', '"steps": 40'),
            "other settings .adapter.settings.steps is 40 there and 50",
        ),
        (lambda text: text.replace('"episodes": "', '"episodes": "0'), "its episodes are not those"),
        (lambda text: "[" * 100_000, "not a whole result file"),
        (lambda text: text.replace('"nll": [0.5, 0.5]', '"nll": [0.5, 0.25]'), "its checksum is that of other values"),
        (lambda text: re.sub('"steps": \\[[^]]*', '"steps": [3, 3', text), "its checksum is that of other values"),
        (lambda text: re.sub('"checksum": "[^"]*', '"checksum": "0', text), "its checksum is that of other values"),
        (
            lambda text: text.replace('"correct": [7, 3]', '"correct": [10, 10]'),
            "fit together .episode 0: correct is 10, but 7 are predicted right",
        ),
        (
            lambda text: text.replace('"predicted": [[0, 0', '"predicted": [[0, 5'),
            "episode 0: what is predicted is not a place from 0 to 4 for each of its queries",
        ),
        (lambda text: text.replace('"predicted": [[0,', '"predicted": [['), "episode 0: what is predicted is not"),
        (lambda text: text.replace('"predicted": [[0', '"predicted": [[0.0'), "episode 0: what is predicted is not"),
        (
            lambda text: text.replace('"measures": {', '"measures": {"auc": [0.0, 1.5], '),
            "auc is not from 0 to 1 everywhere",
        ),
        (lambda text: text.replace('"nll": [0.5, 0.5]', '"nll": [[0.5], [0.5]]'), "not a result file, or a damaged"),
        (lambda text: text.replace('"nll": [0.5, 0.5]', '"nll": {"0": 0.5, "1": 0.5}'), "not a result file, or a dam"),
        (lambda text: text.replace('"gaps": [[0.1, -0.2]', '"gaps": [[0.1]'), "not a result file, or a damaged one"),
        (lambda text: re.sub('"measures": .*', '"measures": 3,', text), "not a result file, or a damaged one"),
        (lambda text: text.replace('"accuracy": 0.5', '"accuracy": 0.9'), "accuracy is 0.9 in the summary, 0.5 of the"),
        (lambda text: text.replace('"n_episodes": 2', '"n_episodes": 9'), "n_episodes is 9 in the summary, 2 of the"),
        (lambda text: text.replace('"seed": 3', '"seed": 3, "shard": 5'), "not a result file, or a damaged one"),
        (lambda text: text.replace('"seed": 3', '"seed": 3, "shard": "5"'), "its seed or its shard is none"),
        (lambda text: text.replace('"n_way": 5', '"n_way": ' + "5" * 400), "its shape is {"),
        (lambda text: text.replace('"name": "net"', '"name": 3'), "dataset, backbone and adapter have no names"),
        (lambda text: text.replace('"n_query": 2', '"n_query": 2000000000'), "episode 0: what is predicted is not"),
        (
            lambda text: text.replace('"seconds": 1.5', '"seconds": 1' + "0" * 400),
            "took no time that can be|Type-check error",
        ),
    ],
)
def test_a_file_that_is_damaged_or_of_something_else_is_left_alone(tmp_path, damage, message):
    path = write(tmp_path)
    changed = damage(path.read_text())
    path.write_text(changed)
    with pytest.raises(ResultError, match=message), open_result(tmp_path, KEY, first):
        pass
    assert path.read_text() == changed


def test_a_second_run_on_the_same_file_waits_for_the_first_and_sees_its_episodes(tmp_path):
    said = queue.SimpleQueue()
    handler = logging.handlers.QueueHandler(said)
    logging.getLogger("fewshot_bn").addHandler(handler)

    def second():
        with open_result(tmp_path, KEY, first) as file:
            return len(file.result)

    try:
        with ThreadPoolExecutor() as pool:
            with open_result(tmp_path, KEY, first) as file:
                length = pool.submit(second)
                assert re.fullmatch(r"another run is writing .*\.json; waiting for it", said.get(timeout=10).message)
                extended(file, [3, 4])
            assert length.result(10) == 2
    finally:
        logging.getLogger("fewshot_bn").removeHandler(handler)


def test_a_measure_that_is_newer_than_some_episodes_is_unknown_for_them(tmp_path):
    path = write(tmp_path)
    with open_result(tmp_path, KEY, first) as file:
        del file.result.measures["nll"]
        extended(file, [10])
    result = read_result(path)
    assert result.measures["nll"] == (None, None, 0.5)
    assert result.pooled("nll") is None
    assert result[2:].pooled("nll") == 0.5


def test_a_full_disk_leaves_the_file_as_it_was(tmp_path, monkeypatch):
    path = write(tmp_path)
    before = path.read_text()

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    with open_result(tmp_path, KEY, first) as file:
        monkeypatch.setattr("os.fsync", full)
        with pytest.raises(
            ResultError, match="cannot be written: No space left on device; what it held before is still"
        ):
            extended(file, [1])
    assert path.read_text() == before
    assert not list(tmp_path.glob(".*.tmp"))


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ResultError, match="the output folder .*file cannot be written"):
        check_folder(tmp_path / "file")
    check_folder(tmp_path / "new" / "folder")
    assert not list((tmp_path / "new" / "folder").iterdir())


def test_empty_results_have_no_accuracies():
    assert Result(KEY).accuracies == []


@pytest.mark.parametrize(("kind", "message"), [("pipe", "it is a pipe or a device"), ("folder", "Is a directory")])
def test_what_is_no_file_is_not_waited_for(tmp_path, kind, message):
    path = tmp_path / file_name(KEY)
    os.mkfifo(path) if kind == "pipe" else path.mkdir()
    with pytest.raises(ResultError, match=rf"\.json: cannot be read: {message}"), open_result(tmp_path, KEY, first):
        pass


def test_a_file_of_any_size_is_not_read(tmp_path):
    path = write(tmp_path)
    os.truncate(path, 2**40)
    with pytest.raises(ResultError, match="cannot be read: it has 1,099,511,627,776 bytes, at most 268,435,456 are"):
        read_result(path)
    with pytest.raises(ResultError, match="/dev/zero: cannot be read: it is a pipe or a device"):
        read_result(Path("/dev/zero"))
