"""Other datasets that a many-shot run tests its classifiers on, opened and with the classes of the training data."""

import itertools
from collections.abc import Iterator, Sequence

from fewshot_bn.config import ManyShotConfig
from fewshot_bn.datasets import Dataset
from fewshot_bn.datasets.shared_classes import shared
from fewshot_bn.errors import UsageError
from fewshot_bn.evaluation.many_shot.other_tests import OtherTest
from fewshot_bn.events import Note, Progress
from fewshot_bn.experiment.source import dataset_of, source_of
from fewshot_bn.inputs.source import Source, check_input, compute_features, decode_images


def open_others(config: ManyShotConfig, source: Source) -> tuple[list[OtherTest], list[str]]:
    """The images that `--test-dataset` names, under the backbone of `source`, and what is to be said of them.

    Raises `DataError` where classes do not fit, and `UsageError` for images that are named twice.
    """
    if config.shared_classes and not config.test_datasets:
        raise UsageError("--shared-classes is about --test-dataset, which is not given")
    training = source.images.dataset
    others: list[OtherTest] = []
    notes: list[str] = []
    for wanted in config.test_datasets:
        dataset = dataset_of(config, wanted)
        _check_new(dataset, training, [other.source.images.dataset for other in others])
        found = shared(dataset, training, only_shared=config.shared_classes)
        images = source_of(config, dataset, source.backbone, source.device)
        others.append(OtherTest(_name(dataset, others), images, found.rows, found.labels))
        notes += [*map(str, dataset.notices), *found.notes]
    return others, notes


def prepared(other: OtherTest, *, features: bool) -> Iterator[Progress | Note]:
    """Have the images decoded, or their features computed; a note says which dataset it is about."""
    source, rows = other.source, other.rows
    if features:
        work = compute_features(source, rows)
    else:
        work = itertools.chain(decode_images(source, rows, [source.device]), check_input(source, rows))
    about = f"{source.images.dataset.name}: "
    for event in work:
        yield Note(about + event.text) if isinstance(event, Note) and not event.text.startswith(about) else event
    if not features:
        source.features.release()


def _check_new(dataset: Dataset, training: Dataset, before: Sequence[Dataset]) -> None:
    if _is_same(dataset, training):
        raise UsageError(
            f"--test-dataset {dataset.name}: these are the images of --dataset, whose test images are classified anyway"
        )
    if any(_is_same(dataset, other) for other in before):
        raise UsageError(f"--test-dataset {dataset.name}: these images are named twice; name them once")


def _is_same(one: Dataset, other: Dataset) -> bool:
    """Whether the images are the same, in the same classes; fingerprints hold no pixels, so some are looked at."""
    rows = {0, len(one) // 2, len(one) - 1}
    return one.fingerprint == other.fingerprint and all(one.read(row) == other.read(row) for row in rows)


def _name(dataset: Dataset, others: Sequence[OtherTest]) -> str:
    """That of the dataset, with a number where there are several of that name."""
    taken = {other.name for other in others}
    numbered = (f"{dataset.name} ({n})" for n in itertools.count(2))
    return dataset.name if dataset.name not in taken else next(name for name in numbered if name not in taken)
