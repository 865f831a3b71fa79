"""BYOL's checkpoint as haiku and dill write it: parameters and states of two networks, nested, kernels [h w in out].

The state of the experiment is a tuple of five, whose parts a reader of pickles counts, or calls by their names.
"""

import io
import pickle
import sys
from collections import namedtuple
from types import ModuleType
from unittest import mock

import numpy as np
import torch
from reference.layouts.resnets import in_state_dict

PARTS = ("online_params", "target_params", "online_state", "target_state", "opt_state")
LEAVES = {"weight": "scale", "bias": "offset"}
AVERAGES = {"running_mean": "mean_ema", "running_var": "var_ema"}


def module_of(layer):
    """haiku's name of one of torchvision's layers, such as layer2.0.bn1 or layer1.0.downsample.0."""
    kind = "conv" if "conv" in layer or layer.endswith("downsample.0") else "batchnorm"
    if not layer.startswith("layer"):
        return f"res_net50/~/initial_{kind}"
    group, block, rest = layer.removeprefix("layer").split(".", 2)
    own = f"shortcut_{kind}" if "downsample" in rest else f"{kind}_{int(rest[-1]) - 1}"
    return f"res_net50/~/block_group_{int(group) - 1}/~/block_{block}/~/{own}"


def haiku(state):
    """Parameters and states as haiku keeps them, with projector, predictor and classifier."""
    params = {f"{part}/linear": {"w": torch.ones(2, 3), "b": torch.ones(3)} for part in ("projector", "predictor")}
    params["classifier"] = {"w": torch.ones(2, 3), "b": torch.ones(3)}
    params["projector/batch_norm"] = {"scale": torch.ones(1, 3), "offset": torch.ones(1, 3)}
    states = {"projector/batch_norm/~/mean_ema": averages(torch.ones(1, 3))}
    for key, value in state.items():
        layer, leaf = key.rsplit(".", 1)
        module = module_of(layer)
        if leaf in AVERAGES:
            states[f"{module}/~/{AVERAGES[leaf]}"] = averages(value.reshape(1, 1, 1, -1))
        elif value.ndim == 4:
            params[module] = {"w": value.permute(2, 3, 1, 0)}
        elif leaf in LEAVES:
            params.setdefault(module, {})[LEAVES[leaf]] = value.reshape(1, 1, 1, -1)
    return params, states


def averages(value):
    return {"average": value, "hidden": value * 0.9, "counter": torch.tensor(300)}


def others(modules):
    return {module: {key: value + 1 for key, value in leaves.items()} for module, leaves in modules.items()}


def byol(state, names=("0", "1", "2", "3", "4")):
    params, states = haiku(state)
    values = (params, others(params), states, others(states), {"0": others(params)})
    return {"experiment_state": dict(zip(names, values, strict=True)), "step": 300, "rng": torch.zeros(8, 2)}


def byol_named(state):
    return byol(state, PARTS)


LAYOUTS = {"byol": byol, "byol-same": byol}
FORMS = {(card, "named"): byol_named for card in LAYOUTS} | {(card, "converted"): in_state_dict for card in LAYOUTS}


def byol_pickle(state):
    """BYOL's file as `dill` writes it: a tuple of a class of its own, immutable mappings of haiku's, numpy's arrays."""
    content = byol(state)
    modules = {name: ModuleType(name) for name in ("byol", "byol.byol_experiment", "dill", "dill._dill", "haiku")}

    def _create_array(make, arguments, state, attributes):
        raise AssertionError("this runs only where the file is read with pickle")

    class FlatMapping(dict):
        def __reduce__(self):
            return FlatMapping, (dict(self),)

    experiment = namedtuple("_ByolExperimentState", PARTS)
    parts = [_frozen(content["experiment_state"][str(i)], FlatMapping) for i in range(len(PARTS))]

    class Pickler(pickle.Pickler):
        def reducer_override(self, value):
            if not isinstance(value, np.ndarray):
                return NotImplemented
            return _create_array, (*value.__reduce__(), None)

    for module, made in (("dill._dill", _create_array), ("haiku", FlatMapping), ("byol.byol_experiment", experiment)):
        made.__module__, made.__qualname__ = module, made.__name__
        setattr(modules[module], made.__name__, made)
    file = io.BytesIO()
    with mock.patch.dict(sys.modules, modules):
        Pickler(file, protocol=2).dump({**content, "experiment_state": experiment(*parts), "rng": np.zeros(8)})
    return file.getvalue()


def _frozen(value, mapping):
    if isinstance(value, dict):
        return mapping({key: _frozen(inner, mapping) for key, inner in value.items()})
    return value.numpy()
