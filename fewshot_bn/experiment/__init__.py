"""One call that runs an experiment: what a config asks for, done or taken from results that are there.

    >>> from fewshot_bn import FewShotConfig, estimate
    >>> from fewshot_bn.experiment import results
    >>> config = FewShotConfig(modes=["proto"], n_support=1, n_episodes=3, output=folder)
    >>> for result in results(config):
    ...     print(result.mode, len(result), round(estimate(result.accuracies).mean, 2))
    lr 3 0.82
    proto 3 0.82

Nothing is printed or drawn here: `run` yields events, and whoever calls it shows them.
"""

from collections.abc import Iterator

from fewshot_bn.config import Config, FewShotConfig, ManyShotConfig
from fewshot_bn.errors import UsageError
from fewshot_bn.events import Note
from fewshot_bn.experiment.events import Done, Event
from fewshot_bn.experiment.few_shot import FewShot
from fewshot_bn.experiment.many_shot import ManyShot
from fewshot_bn.experiment.source import open_source
from fewshot_bn.inputs.source import notes_on_input, notes_on_looks
from fewshot_bn.results.files import check_folder
from fewshot_bn.results.many_shot import ManyShotResult
from fewshot_bn.results.result import Result
from fewshot_bn.runtime import choose_devices, in_plain_torch

REGIMES = {FewShotConfig: FewShot, ManyShotConfig: ManyShot}


@in_plain_torch
def run(config: Config) -> Iterator[Event]:
    """Do what `config` says; yields what happens: see events.py. Each result comes with a `Done`.

    What can be checked is checked before the first long computation. A run that was stopped goes on where it was when
    it is asked for again, and what is complete is not computed again. Raises the errors of errors.py.
    """
    if type(config) not in REGIMES:
        raise UsageError(f"{config!r} is no config; a FewShotConfig or a ManyShotConfig is needed")
    regime = REGIMES[type(config)](config)
    devices = choose_devices(config.device)
    regime.check_devices(devices)
    check_folder(config.output)
    source = open_source(config, devices[0])
    started, jobs = regime.open(source, devices)
    yield started
    for notice in (*regime.notices(source), *source.images.dataset.notices, *source.backbone.notices):
        yield Note(str(notice))
    yield from notes_on_looks(source.images)
    yield from notes_on_input(source.features)
    for job in jobs:
        yield from job.run()


def results(config: Config) -> list[Result | ManyShotResult]:
    """The results that `config` asks for, computed where they are not there yet."""
    return [event.result for event in run(config) if isinstance(event, Done)]
