"""Trainings on many images that are killed by a signal, at random moments, and asked for again."""

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from fewshot_bn.results.many_shot_files import read_many_shot

OFTEN = (  # the command, which keeps the state of a training after every step
    "import sys; from fewshot_bn.evaluation.many_shot import checkpoint; from fewshot_bn.eval import main; "
    "checkpoint.WRITE_S = checkpoint.WRITE_SHARE = 0; sys.exit(main(sys.argv[1:]))"
)
N_KILLS = 10
TRAINING_S = 8.0  # about


@pytest.mark.nightly
def test_a_search_that_is_killed_ten_times_ends_with_the_same_result(here, fresh_seed):
    chance = np.random.default_rng(np.random.Philox(fresh_seed))
    asked = ["--dataset", "shapes", "--model", "card.toml", "--regime", "many-shot", "--mode", "ft", "--quiet"]
    asked += ["--set", "ft.steps=300", "ft.batch_size=8", "--grid", "ft.lr_head=0.01,0.1", "--budget", "2"]

    def start(folder):
        return subprocess.Popen(
            [sys.executable, "-c", OFTEN, *asked, "--output", folder],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def result_in(folder):
        return read_many_shot(next(Path(folder).glob("*_ft_*.json")))

    assert start("whole").wait() == 0
    n_killed = 0
    for _ in range(N_KILLS):
        process = start("killed")
        while process.poll() is None and not list(Path("killed").glob(".*.training")):
            time.sleep(0.01)  # Python and torch are being imported
        time.sleep(float(chance.uniform(0, TRAINING_S / N_KILLS)))
        process.kill()
        n_killed += process.wait() != 0
    assert start("killed").wait() == 0
    assert n_killed > N_KILLS // 2
    whole, killed = result_in("whole"), result_in("killed")
    for name in ("trials", "chosen", "training", "test", "predictions", "key"):
        assert getattr(killed, name) == getattr(whole, name)
    assert not list(Path("killed").glob(".*.training"))
    assert not list(Path("killed").glob(".*.tmp"))
