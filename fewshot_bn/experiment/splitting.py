"""What is to be said of the split of a many-shot run before it begins."""

from collections.abc import Iterator

from fewshot_bn.config import ManyShotConfig
from fewshot_bn.datasets import Dataset, copies, splits
from fewshot_bn.datasets.splits import Split
from fewshot_bn.errors import DataError
from fewshot_bn.files import paths


def notes_on_split(dataset: Dataset, split: Split, config: ManyShotConfig) -> Iterator[str]:
    """Images that take no part, classes that are not tested, and images that are on both sides of it.

    With `config.strict` the last is a `DataError`.
    """
    yield from map(str, splits.findings(dataset, split))
    keeps = config.keep_features or config.keep_pixels
    sets = copies.sets_of_copies(dataset, paths.cache_root() if keeps else None)
    if sets is None:
        yield f"{dataset.name}: copies of images in two splits were not looked for among so much data; data verify does"
    for finding in copies.findings(dataset, split, sets or []):
        if config.strict:
            raise DataError(f"{finding}; --strict takes only splits that share no image")
        yield str(finding)
