"""Few-shot episodic evaluation: BatchNorm fine-tuning against a probe on frozen features, on the same episodes.

The names below are the public interface; each is imported when it is first used, so `import fewshot_bn` is quick.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fewshot_bn.adapters import ADAPTERS as ADAPTERS
    from fewshot_bn.adapters import Fit as Fit
    from fewshot_bn.adapters import make_adapter as make_adapter
    from fewshot_bn.backbones.backbone import Backbone as Backbone
    from fewshot_bn.backbones.load import load_backbone as load_backbone
    from fewshot_bn.backbones.own import freeze as freeze
    from fewshot_bn.config import FewShotConfig as FewShotConfig
    from fewshot_bn.config import ManyShotConfig as ManyShotConfig
    from fewshot_bn.datasets import Dataset as Dataset
    from fewshot_bn.datasets import dataset_of_files as dataset_of_files
    from fewshot_bn.datasets import open_dataset as open_dataset
    from fewshot_bn.episodes import Episodes as Episodes
    from fewshot_bn.episodes import EpisodeShape as EpisodeShape
    from fewshot_bn.episodes import sample as sample
    from fewshot_bn.errors import FewshotError as FewshotError
    from fewshot_bn.evaluation.loop import evaluate as evaluate
    from fewshot_bn.experiment import run as run
    from fewshot_bn.inputs.features import Features as Features
    from fewshot_bn.inputs.images import Images as Images
    from fewshot_bn.inputs.source import Source as Source
    from fewshot_bn.preprocessing import Preprocessing as Preprocessing
    from fewshot_bn.results.reading import read_result as read_result
    from fewshot_bn.results.result import Result as Result
    from fewshot_bn.results.statistics import estimate as estimate
    from fewshot_bn.results.statistics import paired_difference as paired_difference

__version__ = "0.1.0"

_HOME = {
    "ADAPTERS": "adapters",
    "Fit": "adapters",
    "make_adapter": "adapters",
    "Backbone": "backbones.backbone",
    "freeze": "backbones.own",
    "load_backbone": "backbones.load",
    "FewShotConfig": "config",
    "ManyShotConfig": "config",
    "Dataset": "datasets",
    "dataset_of_files": "datasets",
    "open_dataset": "datasets",
    "Episodes": "episodes",
    "EpisodeShape": "episodes",
    "sample": "episodes",
    "FewshotError": "errors",
    "evaluate": "evaluation.loop",
    "run": "experiment",
    "Features": "inputs.features",
    "Images": "inputs.images",
    "Source": "inputs.source",
    "Preprocessing": "preprocessing",
    "read_result": "results.reading",
    "Result": "results.result",
    "estimate": "results.statistics",
    "paired_difference": "results.statistics",
}

__all__ = list(_HOME)


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'fewshot_bn' has no attribute {name!r}")
    return getattr(importlib.import_module(f"fewshot_bn.{_HOME[name]}"), name)
