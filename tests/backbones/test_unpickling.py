"""Pickles of others: what they hold comes back, and whatever they ask for, nothing is run and nothing grows."""

import collections
import pickle
import sys
import types

import numpy as np
import pytest
import torch

from fewshot_bn.backbones.checkpoints import read_checkpoint
from fewshot_bn.backbones.keys import KeyRules, tensors_of


@pytest.fixture
def module_of_others(monkeypatch):
    """A module that is there when a file is written and gone when it is read."""

    def define(name, *made):
        module = types.ModuleType(name)
        for thing in made:
            thing.__module__ = name
            thing.__qualname__ = thing.__name__
            setattr(module, thing.__name__, thing)
        monkeypatch.setitem(sys.modules, name, module)
        return lambda: monkeypatch.delitem(sys.modules, name)

    return define


class FrozenDict:
    """As haiku and flax have them: made of one dictionary."""

    def __init__(self, content):
        self.content = content

    def __reduce__(self):
        return type(self), (self.content,)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_a_checkpoint_of_byol(tmp_path, module_of_others, protocol):
    """`pretrain_res50x1.pkl` is a named tuple of dictionaries of dictionaries of numpy arrays."""
    fields = "online_params target_params online_state target_state opt_state"
    state = collections.namedtuple("_ByolExperimentState", fields)
    forget = module_of_others("byol_experiment", state, FrozenDict)
    kernel = np.random.default_rng(0).random((7, 7, 3, 8)).astype(np.float32)
    params = FrozenDict({"res_net50/~/initial_conv": FrozenDict({"w": kernel})})
    content = {
        "experiment_state": state(params, params, FrozenDict({}), {}, [np.int32(3)]),
        "step": np.int64(1000),
        "rng": np.arange(2, dtype=np.uint32),
    }
    (tmp_path / "b.pkl").write_bytes(pickle.dumps(content, protocol))
    forget()
    found = read_checkpoint(tmp_path / "b.pkl")
    assert found["step"] == 1000
    assert list(found["experiment_state"]) == list("01234")
    assert found["experiment_state"]["4"] == [3]
    rules = KeyRules(unwrap="experiment_state.0", nested=True, kernels="HWIO")
    tensors = tensors_of(found, rules, "here")
    assert torch.equal(tensors["res_net50/~/initial_conv.w"], torch.from_numpy(kernel.transpose(3, 2, 0, 1)))
    assert "byol_experiment" not in sys.modules


class Called:
    """An array as JAX and dill write it: a call of a function of theirs with a function of numpy and a state."""

    def __init__(self, array):
        self.array = array

    def __reduce__(self):
        reconstruct, arguments, state = self.array.__reduce__()
        return _reconstruct_array, (reconstruct, arguments, state, {})


def _reconstruct_array(reconstruct, arguments, state, more): ...


@pytest.mark.parametrize(
    ("module", "function"),
    [
        ("jax._src.array", "_reconstruct_array"),
        ("jax._src.device_array", "reconstruct_device_array"),
        ("dill._dill", "_create_array"),
    ],
)
def test_arrays_of_jax_and_dill(tmp_path, module, function):
    content = pickle.dumps({"w": Called(np.arange(6.0).reshape(2, 3))}, 2)
    named = content.replace(f"{__name__}\n_reconstruct_array".encode(), f"{module}\n{function}".encode())
    assert named != content
    (tmp_path / "w.pkl").write_bytes(named)
    assert torch.equal(read_checkpoint(tmp_path / "w.pkl")["w"], torch.arange(6.0).double().reshape(2, 3))
