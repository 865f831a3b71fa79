"""Scikit-learn's bundled handwritten digits: 1,797 real images of 8x8 pixels that need no download.

Source: Alpaydin and Kaynak 1998, "Optical recognition of handwritten digits", UCI machine learning repository.
"""

import io

import numpy as np

from fewshot_bn.datasets.card import DatasetCard
from fewshot_bn.datasets.dataset import Dataset
from fewshot_bn.errors import DataError
from fewshot_bn.files.atomic import digest


def open_digits(card: DatasetCard) -> Dataset:
    from PIL import Image
    from sklearn.datasets import load_digits

    bunch = load_digits()
    if len(card.classes) != len(bunch.target_names):
        raise DataError(f"{card.name}: the digits have 10 classes, this card {len(card.classes)}")
    order = np.argsort(bunch.target, kind="stable")
    pixels = np.rint(bunch.images[order] * (255 / 16)).astype(np.uint8)  # the scan has 17 grey levels, 0..16
    labels = bunch.target[order].astype(np.int64)

    def read(row: int) -> bytes:
        file = io.BytesIO()
        Image.fromarray(pixels[row]).save(file, "PNG")
        return file.getvalue()

    fingerprint = digest([*card.classes, labels.astype("<i8").tobytes(), pixels.tobytes()])
    return Dataset(
        name=card.name,
        class_names=tuple(card.classes),
        labels=labels,
        ids=tuple(f"{index:04d}" for index in order),
        read=read,
        fingerprint=fingerprint,
        stamp=fingerprint,
    )
