"""A backbone as a file that the code of others reads: of torchvision, of timm, of detectron2.

`torchvision` and `timm` files are state dictionaries without the head. A `detectron2` file is a pickle
`{"model": {name: array}, "__author__": …, "matching_heuristics": True}`, whose names detectron2 makes of torchvision's:
`layer1.0.bn1` is `res2.0.conv1.norm`, `downsample.0` is `shortcut`, what lies outside of layers is in `stem`.

Raises: `ModelError` where a format has no such network, or a file is there already.
Source: detectron2, tools/convert-torchvision-to-d2.py (names, pickle, the lines of its config); the models of timm.
"""

import pickle
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from fewshot_bn.backbones.checkpoints.writing import write_whole
from fewshot_bn.backbones.libraries.torchvision import build_headless, family
from fewshot_bn.errors import ModelError, some, unknown
from fewshot_bn.preprocessing import Preprocessing

SAME_IN_TIMM = re.compile(
    r"resnet(18|34|50|101|152)|resnext(50_32x4d|101_32x8d|101_64x4d)|wide_resnet(50|101)_2|dense.*"
)
IN_DETECTRON2 = re.compile(r"(wide_)?resnex?t.*")
DEPTHS = {(2, 2, 2, 2): 18, (3, 4, 6, 3): 50, (3, 4, 23, 3): 101, (3, 8, 36, 3): 152}
RENAMES = (
    (r"^(?!layer)", "stem."),
    *((rf"\blayer{n}\b", f"res{n + 1}") for n in (1, 2, 3, 4)),
    (r"\bbn([123])\b", r"conv\1.norm"),
    (r"\bdownsample\.0\b", "shortcut"),
    (r"\bdownsample\.1\b", "shortcut.norm"),
)
TOLERANCE = 1e-4  # of the largest feature


def export(
    network: nn.Module, name: str, form: str, path: Path, *, preprocessing: Preprocessing | None = None
) -> list[str]:
    """Write `network` to `path` as `form` has it; says how to use the file, and in what it differs.

    `name` is what the network is called, best as torchvision does. `preprocessing` is what it was trained with.
    """
    if form not in FORMATS:
        raise unknown("format", form, FORMATS)
    if path.exists():
        raise ModelError(f"{path}: is there already and is not overwritten; name another file")
    official, reference = _official(network, name, form)
    notes = _differences(network, reference, f"{form}'s {official}")
    return [*FORMATS[form](network, official, path, preprocessing), *notes]


def _official(network: nn.Module, name: str, form: str) -> tuple[str, nn.Module]:
    """The network of torchvision that has the same weights by name and shape."""
    own = {key: value.shape for key, value in network.state_dict().items()}
    for official in family(network, name.rpartition(":")[2]):
        reference, _ = build_headless(official, {})
        if {key: value.shape for key, value in reference.state_dict().items()} == own:
            return official, reference
    raise ModelError(
        f"{name}: {form} has no network of these layers ({some(list(own))}); what can be exported are those of "
        "torchvision, with any weights"
    )


def _differences(network: nn.Module, reference: nn.Module, whose: str) -> list[str]:
    """Padding and epsilons are no weights: whether the features come out the same is tried."""
    reference.load_state_dict(network.state_dict())
    x = torch.linspace(0, 1000, 3 * 224 * 224).sin().reshape(1, 3, 224, 224)
    was_training = network.training
    with torch.no_grad():
        z, expected = network.eval()(x), reference.eval()(x)
    network.train(was_training)
    if z.shape == expected.shape and bool((z - expected).abs().max() <= TOLERANCE * expected.abs().max()):
        return []
    return [
        f"note: with these weights {whose} gives other features than this network: its padding, its "
        "epsilons or what it does with its input differ; set them there as well"
    ]


def _torchvision(network: nn.Module, official: str, path: Path, _: Preprocessing | None) -> list[str]:
    _write_state(network, path)
    load = _how_to_load(path, "torchvision")
    return [
        f"{path}: the weights of torchvision's {official}, without its head",
        f"load: {load[0]}; network = torchvision.models.{official}(); network.load_state_dict({load[1]}, strict=False)",
    ]


def _timm(network: nn.Module, official: str, path: Path, _: Preprocessing | None) -> list[str]:
    if not SAME_IN_TIMM.fullmatch(official):
        raise ModelError(f"{official}: timm gives the layers of this network other names; export it as torchvision")
    _write_state(network, path)
    load = _how_to_load(path, "timm")
    return [
        f"{path}: the weights of timm's {official}, without its head",
        f"load: {load[0]}; network = timm.create_model({official!r}, num_classes=0); "
        f"network.load_state_dict({load[1]})",
    ]


def _detectron2(network: Any, official: str, path: Path, preprocessing: Preprocessing | None) -> list[str]:
    if not IN_DETECTRON2.fullmatch(official):
        raise ModelError(f"{official}: detectron2 has backbones of this kind for ResNets only")
    if path.suffix != ".pkl":
        raise ModelError(f"{path}: detectron2 tells files by their ending; name it .pkl")
    arrays = {_in_detectron2(key): _array(value) for key, value in network.state_dict().items()}
    content = {"model": arrays, "__author__": f"torchvision {official}", "matching_heuristics": True}
    pickled = pickle.dumps(content, protocol=3)  # 4 and later count the bytes of names
    older = pickled.replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n", 1)  # detectron2 is of numpy 1
    write_whole(path, lambda file: file.write_bytes(older))
    return [f"{path}: the weights of {official} for detectron2; its config needs", *_config(network, preprocessing)]


def _config(network: Any, preprocessing: Preprocessing | None) -> list[str]:
    blocks = [network.layer1, network.layer2, network.layer3, network.layer4]
    basic = not hasattr(blocks[0][0], "conv3")
    depth = 34 if basic and len(blocks[1]) == 4 else DEPTHS[tuple(map(len, blocks))]  # type: ignore[index]
    numbers = [
        ("PIXEL_MEAN", [round(255 * mean, 3) for mean in preprocessing.mean] if preprocessing else None),
        ("PIXEL_STD", [round(255 * std, 3) for std in preprocessing.std] if preprocessing else None),
        ("RESNETS.DEPTH", depth),
        ("RESNETS.STRIDE_IN_1X1", False),
        ("RESNETS.NUM_GROUPS", network.groups),
        ("RESNETS.WIDTH_PER_GROUP", network.base_width),
        *([("RESNETS.RES2_OUT_CHANNELS", 64)] if basic else []),
    ]
    unset = "255 times the mean and deviation that the network was trained with"
    return ["INPUT.FORMAT: RGB", *(f"MODEL.{name}: {unset if value is None else value}" for name, value in numbers)]


def _in_detectron2(key: str) -> str:
    for old, new in RENAMES:
        key = re.sub(old, new, key)
    return key


def _array(value: Tensor) -> Any:
    return (value.float() if value.is_floating_point() else value).detach().cpu().contiguous().numpy()


def _write_state(network: nn.Module, path: Path) -> None:
    state: Mapping[str, Tensor] = {k: v.detach().cpu().contiguous() for k, v in network.state_dict().items()}
    if path.suffix == ".safetensors":
        write_whole(path, lambda file: save_file(dict(state), file))
    elif path.suffix in (".pth", ".pt"):
        write_whole(path, lambda file: torch.save(dict(state), file))
    else:
        raise ModelError(f"{path}: name the file .safetensors or .pth")


def _how_to_load(path: Path, library: str) -> tuple[str, str]:
    if path.suffix == ".safetensors":
        return f"import {library}, safetensors.torch", f"safetensors.torch.load_file({str(path)!r})"
    return f"import torch, {library}", f"torch.load({str(path)!r})"


FORMATS: dict[str, Callable[[nn.Module, str, Path, Preprocessing | None], list[str]]] = {
    "torchvision": _torchvision,
    "timm": _timm,
    "detectron2": _detectron2,
}
