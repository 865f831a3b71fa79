"""Few-shot episodic evaluation: BatchNorm fine-tuning against a probe on frozen features, on the same episodes.

The names below are the public interface; each is imported when it is first used, so `import fewshot_bn` is quick.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fewshot_bn.adapters import ADAPTERS as ADAPTERS
    from fewshot_bn.adapters import Fit as Fit
    from fewshot_bn.adapters import make_adapter as make_adapter
    from fewshot_bn.backbones import Backbone as Backbone
    from fewshot_bn.backbones import load_backbone as load_backbone
    from fewshot_bn.datasets import Dataset as Dataset
    from fewshot_bn.datasets import open_dataset as open_dataset
    from fewshot_bn.episodes import Episodes as Episodes
    from fewshot_bn.episodes import EpisodeShape as EpisodeShape
    from fewshot_bn.episodes import sample as sample
    from fewshot_bn.errors import FewshotError as FewshotError
    from fewshot_bn.evaluation import Source as Source
    from fewshot_bn.evaluation import evaluate as evaluate
    from fewshot_bn.features import Features as Features
    from fewshot_bn.images import Images as Images
    from fewshot_bn.pixels import Preprocessing as Preprocessing
    from fewshot_bn.results import read_result as read_result
    from fewshot_bn.statistics import estimate as estimate
    from fewshot_bn.statistics import paired_difference as paired_difference

__version__ = "0.1.0"

_HOME = {
    "ADAPTERS": "adapters",
    "Fit": "adapters",
    "make_adapter": "adapters",
    "Backbone": "backbones",
    "load_backbone": "backbones",
    "Dataset": "datasets",
    "open_dataset": "datasets",
    "Episodes": "episodes",
    "EpisodeShape": "episodes",
    "sample": "episodes",
    "FewshotError": "errors",
    "Source": "evaluation",
    "evaluate": "evaluation",
    "Features": "features",
    "Images": "images",
    "Preprocessing": "pixels",
    "read_result": "results",
    "estimate": "statistics",
    "paired_difference": "statistics",
}

__all__ = list(_HOME)


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'fewshot_bn' has no attribute {name!r}")
    return getattr(importlib.import_module(f"fewshot_bn.{_HOME[name]}"), name)
