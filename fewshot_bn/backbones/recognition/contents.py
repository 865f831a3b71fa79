"""What lies in a checkpoint: entries, how many tensors and values, and the wrappings that tools leave on names."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from fewshot_bn.backbones.recognition.suggestion import mappings

AVERAGED = dict.fromkeys(
    ("ema", "model_ema", "state_dict_ema", "teacher"), "averaged weights, the ones that are mostly evaluated"
)
FOLLOWING = dict.fromkeys(
    (
        *("encoder_k", "key_encoder", "momentum_encoder", "momentum_backbone", "backbone_momentum"),
        *("target", "target_encoder", "target_network"),
    ),
    "follows the other one",
)
WRAPPINGS = {
    "module": "DataParallel",
    "_orig_mod": "torch.compile",
    "model": "a model within a trainer",
    "backbone": "a backbone beside heads",
    "encoder": "an encoder beside heads",
    "feature": "features beside a classifier",
    "trunk": "a trunk beside heads",
    "encoder_q": "query encoder of momentum contrast",
    "embedder": "a network of transformers; docs/cards.md has [keys] for its ResNets",
    "online_network": "the trained one of two",
    "student": "the trained one of two",
    **AVERAGED,
    **FOLLOWING,
}
DEEP = 4  # parts of a name in which wrappings are looked for
MOST_ENTRIES = 6


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry of a checkpoint that holds tensors; its path is "" where the file itself does."""

    path: str
    n_tensors: int
    n_values: int
    dtypes: tuple[str, ...]
    wrappings: tuple[str, ...]


def entries(content: Mapping[str, Any]) -> list[Entry]:
    """By path, outermost first; where there are many, as in trees of arrays, by the first part of the path."""
    found: dict[str, dict[str, Tensor]] = dict(mappings(content))
    if len(found) > MOST_ENTRIES:
        grouped: dict[str, dict[str, Tensor]] = {}
        for path, tensors in found.items():
            top, _, rest = path.partition(".")
            grouped.setdefault(top, {}).update({f"{rest}.{key}".strip("."): value for key, value in tensors.items()})
        found = grouped
    return [_entry(path, tensors) for path, tensors in found.items()]


def others(content: Mapping[str, Any]) -> list[str]:
    """The entries of the file that hold no tensors, such as the number of epochs."""
    holding = {path.partition(".")[0] for path, _ in mappings(content)}
    return [key for key, value in content.items() if not isinstance(value, Tensor) and key not in holding]


def _entry(path: str, tensors: Mapping[str, Tensor]) -> Entry:
    dtypes = Counter(str(value.dtype).removeprefix("torch.") for value in tensors.values())
    parts = {part: None for key in tensors for part in key.split(".")[:DEEP]}
    wrappings = [part for part in (*path.split("."), *parts) if part in WRAPPINGS]
    n_values = sum(value.numel() for value in tensors.values())
    names = tuple(name for name, _ in dtypes.most_common())
    return Entry(path, len(tensors), n_values, names, tuple(dict.fromkeys(wrappings)))


def described(entry: Entry) -> Iterator[str]:
    """As lines."""
    tensors = "tensor" if entry.n_tensors == 1 else "tensors"
    what = f"{entry.path or 'the file itself'}: {entry.n_tensors:,} {tensors} of {entry.n_values:,} values"
    yield f"{what}, {', '.join(entry.dtypes)}"
    for wrapping in entry.wrappings:
        yield f"  {wrapping}: {WRAPPINGS[wrapping]}"
