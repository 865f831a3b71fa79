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
from fewshot_bn.datasets import Dataset, open_dataset
from fewshot_bn.events import Done, Event, Note
from fewshot_bn.experiment.few_shot import FewShot
from fewshot_bn.experiment.many_shot import ManyShot
from fewshot_bn.inputs.source import open_source
from fewshot_bn.results.files import check_folder
from fewshot_bn.results.result import ManyShotResult, Result
from fewshot_bn.runtime import choose_devices

REGIMES = {FewShotConfig: FewShot, ManyShotConfig: ManyShot}


def run(config: Config) -> Iterator[Event]:
    """Do what `config` says; yields what happens: `Started`, `Note`, `Progress`, and a `Done` for each result.

    What can be checked is checked before the first long computation. A run that was stopped goes on where it was when
    it is asked for again, and what is complete is not computed again. Raises the errors of errors.py.
    """
    regime = REGIMES[type(config)](config)
    devices = choose_devices(config.device)
    regime.check_devices(devices)
    check_folder(config.output)
    dataset = _dataset(config)
    source = open_source(config, dataset, devices[0])
    started, jobs = regime.open(source, devices)
    yield started
    for notice in (*regime.notices(source), *dataset.notices, *source.backbone.notices):
        yield Note(str(notice))
    for job in jobs:
        yield from job.run()


def _dataset(config: Config) -> Dataset:
    if isinstance(config.dataset, Dataset):
        return config.dataset
    return open_dataset(config.dataset, root=config.data_root, strict=config.strict)


def results(config: Config) -> list[Result | ManyShotResult]:
    """The results that `config` asks for, computed where they are not there yet."""
    return [event.result for event in run(config) if isinstance(event, Done)]
