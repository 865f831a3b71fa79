"""What a run is asked for, typed, with the only defaults.

A `SourceConfig` says which images under which backbone, where, and where results go. `FewShotConfig` adds episodes and
the adapters to run on them, `ManyShotConfig` the classifier to fit to all training images. `experiment.run` takes
either. The options of the command line, their defaults and their help texts are made of these fields (cli/options.py).
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fewshot_bn.files.paths import DEFAULT_MODEL
from fewshot_bn.settings import setting, taken

if TYPE_CHECKING:
    from fewshot_bn.adapters import Adapter
    from fewshot_bn.backbones.backbone import Backbone
    from fewshot_bn.datasets import Dataset
    from fewshot_bn.evaluation.many_shot.grid import Points
    from fewshot_bn.evaluation.many_shot.modes import Classifier
    from fewshot_bn.preprocessing import Preprocessing


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceConfig:
    """Images, backbone and device, where results and caches go, and the seed of whatever is drawn.

    `dataset` and `model` are names and paths as on the command line, or a `Dataset` and a `Backbone` themselves. Raises
    `UsageError` for a value of another kind than its field has, or a number that is too small.
    """

    dataset: "str | Dataset" = setting(
        "digits",
        "a known dataset (python -m fewshot_bn.data list), an image folder with one subfolder per class, a CSV table "
        "(path, label[, group]), a list (name number), an HDF5, NPZ, Parquet or tar file, a card, or file.py:name of a "
        "dataset of your own; default: the embedded %(default)s",
        metavar="NAME|PATH",
        object=("Dataset", "open_dataset and dataset_of_files"),
    )
    data_root: Path | None = setting(
        None,
        "where the trees of known datasets lie; default: $FEWSHOT_BN_DATA, else ./data",
        metavar="FOLDER",
        parse=Path,
    )
    model: "str | Backbone" = setting(
        DEFAULT_MODEL,
        "a shipped card, a network of torchvision (NAME[@WEIGHTS]) or timm (timm:NAME), a card of your own (.toml), or "
        "module:factory or file.py:factory of a network of your own; default: the embedded %(default)s",
        metavar="NAME|PATH",
        object=("Backbone", "load_backbone and freeze"),
    )
    weights: str | None = setting(
        None,
        "a file, the name of official weights, or random; default: the card's, IMAGENET1K_V1, or timm's own",
        metavar="NAME|PATH",
    )
    preprocessing: "str | Preprocessing | None" = setting(
        None,
        "instead of the backbone's own: a card or a model whose preprocessing is taken, a TOML file with a table "
        "[preprocessing], or a list such as resize=256,crop=224,mean=0.5/0.5/0.5,std=0.5/0.5/0.5",
        metavar="NAME|PATH|LIST",
        object=("Preprocessing", "Preprocessing(...) and cards"),
    )
    model_root: Path | None = setting(
        None,
        "where files of weights lie (python -m fewshot_bn.models fetch); default: $FEWSHOT_BN_MODELS, else models in "
        "$FEWSHOT_BN_CACHE",
        metavar="FOLDER",
        parse=Path,
    )
    preset: str | None = setting(
        None, "resize and crop as published: cdfsl or paper; default: as the backbone's card says"
    )
    image_px: int | None = setting(
        None,
        "side of the images that the backbone sees; default: as its card says",
        flag="--image-size",
        metavar="PX",
        least=8,
    )
    strict: bool = setting(default=False, text="data or weights that differ from their card are an error")
    seed: int = setting(0, "of the episodes; default: %(default)s", metavar="N", least=0)
    device: str = setting(
        "auto",
        "auto, cpu, cuda, cuda:<index>, several with commas between them, or all (CUDA devices); default: %(default)s",
        metavar="NAME,...",
    )
    output: Path = setting(Path("results"), "where result files go; default: %(default)s", metavar="FOLDER", parse=Path)
    keep_features: bool = setting(
        default=True,
        text="do not keep frozen features on disk ($FEWSHOT_BN_CACHE) for later runs",
        flag="--no-feature-cache",
    )
    keep_pixels: bool = setting(
        default=True,
        text="decode images whenever they are needed, instead of once into a store on disk ($FEWSHOT_BN_CACHE)",
        flag="--no-store",
    )

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            object.__setattr__(self, field.name, taken(field, getattr(self, field.name)))


@dataclass(frozen=True, slots=True, kw_only=True)
class FewShotConfig(SourceConfig):
    """Episodes, and the adapters that are run on them.

    `n_support` is one number of shots or several. `modes` are names of `ADAPTERS`, or adapters by a name of your own;
    they are compared with `baseline`, which is one of `modes` or a name of `ADAPTERS`. `n_episodes` of None is 600, or
    as many as there are of disjoint or listed ones.
    """

    n_way: int = setting(5, "classes per episode; default: %(default)s", metavar="N", least=2)
    n_support: Sequence[int] = setting(
        (5,), "support images per class (shots), one or several numbers; default: 5", metavar="N", least=1, several=True
    )
    n_query: int = setting(15, "query images per class; default: %(default)s", metavar="N", least=1)
    n_episodes: int | None = setting(
        None, "default: 600, or as many as there are of disjoint or listed ones", metavar="N", least=1
    )
    episodes: str = setting(
        "random",
        "random; disjoint (no image in two episodes: few exist, and the run says how many); meta-dataset (way and "
        "shot vary by that benchmark's rule); or a list that python -m fewshot_bn.data episodes wrote; default: "
        "%(default)s",
        metavar="KIND|FILE",
    )
    support_balance: str = setting(
        "balanced",
        "how classes share the support images: balanced; or, with the same total and at least 1 each, linear (1, 3, 5, "
        "7, 9 at 5-way 5-shot, in random order) or random; default: %(default)s",
        metavar="KIND",
    )
    query_alpha: float | None = setting(
        None,
        "shares of the classes in the queries, whose total stays, are drawn from a Dirichlet distribution with this "
        "parameter, such as 2; default: equal shares",
        metavar="ALPHA",
        parse=float,
    )
    by_group: bool = setting(
        default=False, text="no lesion or patient on both sides of an episode, and none twice where possible"
    )
    modes: "Sequence[str] | Mapping[str, Adapter]" = setting(
        ("bn",),
        "one or several of the modes below, or file.py:name of an adapter of your own; default: bn",
        flag="--mode",
        metavar="MODE",
        several=True,
    )
    baseline: str | None = setting(
        "lr", "the mode that the others are compared with, or none; default: %(default)s", metavar="MODE"
    )
    metrics: Sequence[str] = setting(
        ("accuracy",),
        "what the table compares, one or several: accuracy, mean-per-class (balanced accuracy), auc (a class against "
        "the rest), f1 (macro) or nll, as means over episodes, which weigh equally; default: accuracy",
        flag="--metric",
        metavar="METRIC",
        several=True,
    )
    chunk: int | None = setting(
        None,
        "episodes adapted at once: changes speed and memory, not the answer; default: by image size",
        metavar="N",
        least=1,
    )
    shard: str | None = setting(
        None,
        "only every K-th episode from the I-th on, for job arrays; the same command without it merges the shards",
        metavar="I/K",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ManyShotConfig(SourceConfig):
    """Training on all training images of a dataset.

    `modes` are names of `CLASSIFIERS` (evaluation/many_shot/modes.py), or their settings by such a name; they are
    compared with `baseline`, a name of `CLASSIFIERS`, on the same test images. `test_datasets` are names and paths as
    `dataset` is, or `Dataset`s. `grid` has, by mode, one or several lists of settings that are searched in turn:
    `{"ft": [[{"lr_body": 0.01}, {"lr_body": 0.1}]]}`. `split` of None is as the files say, or drawn.
    """

    modes: "Sequence[str] | Mapping[str, Classifier]" = setting(("lr",), "", flag="--mode", several=True)
    baseline: str | None = setting("lr", "", metavar="MODE")
    split: Path | None = setting(
        None,
        "which images are for train, val and test: a CSV table (path, split), as python -m fewshot_bn.data split writes"
        " it; default: as the files say, else drawn with --seed",
        metavar="FILE",
        parse=Path,
    )
    grid: "Mapping[str, Sequence[Points]] | None" = setting(
        None,
        "settings that are chosen on validation images: values, of one setting or of several that have the same, such "
        "as ft.lr_body+lr_head=1e-3,1e-2 ft.weight_decay=0,1e-4; or a named grid, ft=transfer or daft=in-turn",
        metavar="MODE.SETTING=VALUE,...",
        several=True,
    )
    budget: float = setting(
        10.0,
        "what the search of a grid may cost, in whole trainings: more points are first trained for a part of the steps "
        "(successive halving); default: %(default)s",
        metavar="TRAININGS",
        parse=float,
    )
    test_datasets: "Sequence[str | Dataset]" = setting(
        (),
        "other datasets, whose images the same classifiers are tested on: of the same classes by name",
        flag="--test-dataset",
        metavar="NAME|PATH",
        several=True,
        object=("Dataset", "open_dataset and dataset_of_files"),
    )
    shared_classes: bool = setting(
        default=False, text="leave out images of --test-dataset whose class the training data lack"
    )


Config = FewShotConfig | ManyShotConfig
