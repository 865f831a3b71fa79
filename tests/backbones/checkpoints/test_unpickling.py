"""Pickles of others: what they hold comes back, and whatever they ask for, nothing is run and nothing grows."""

import collections
import copy
import pickle
import struct
import subprocess
import sys
import time
import tracemalloc
import types
import zipfile

import numpy as np
import pytest
import torch

from fewshot_bn.backbones.cards.key_rules import KeyRules
from fewshot_bn.backbones.checkpoints.keys import tensors_of
from fewshot_bn.backbones.checkpoints.reading import read_checkpoint
from fewshot_bn.backbones.recognition.suggestion import suggestion
from fewshot_bn.errors import ModelError


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


def global_(name):
    module, _, last = name.rpartition(".")
    return f"c{module}\n{last}\n".encode()


def text(value):
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def entry(value):
    """A pickle of `{"x": value}`, which is given as the steps that make it."""
    return b"\x80\x02}" + text("x") + value + b"s."


def call(name, *arguments):
    return global_(name) + b"(" + b"".join(arguments) + b"tR"


NUMPY = "numpy.core.multiarray._reconstruct"
REST = b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0"  # of the state of a plain type
FLOAT = call("numpy.dtype", text("f4"), b"K\0", b"K\1") + b"(K\3" + text("<") + REST + b"tb"


def array(shape, content, dtype=FLOAT, state=None):
    state = state or b"(K\1" + shape + dtype + b"\x89" + content + b"t"
    return call(NUMPY, global_("numpy.ndarray"), b"K\0\x85", b"C\1b") + state + b"b"


def read(content, tmp_path):
    (tmp_path / "w.pkl").write_bytes(content)
    return read_checkpoint(tmp_path / "w.pkl")


@pytest.fixture(autouse=True)
def nothing_is_imported_or_run(monkeypatch, tmp_path):
    """Python's own unpickler is not reached, nothing is written, and no module appears."""
    monkeypatch.chdir(tmp_path)

    def reached(*_):
        pytest.fail("Python's own unpickler was reached")

    monkeypatch.setattr(pickle, "Unpickler", reached)
    monkeypatch.setattr(pickle._Unpickler, "find_class", reached)
    yield
    assert not {"this", "antigravity", "byol_experiment"} & set(sys.modules)
    assert {path.name for path in tmp_path.iterdir()} <= {"w.pkl", "w.pth", "b.pkl", "files"}


@pytest.mark.parametrize(
    ("name", "argument"),
    [
        ("os.system", text("touch evil")),
        ("posix.system", text("touch evil")),
        ("nt.system", text("touch evil")),
        ("subprocess.Popen", text("touch evil")),
        ("__builtin__.eval", text("1")),
        ("builtins.exec", text("1")),
        ("builtins.__import__", text("antigravity")),
        ("__builtin__.open", text("evil")),
        ("_io.open", text("evil")),
        ("importlib.import_module", text("antigravity")),
        ("pickle.loads", b"C\0"),
        ("torch.load", text("evil")),
        ("sys.modules", text("evil")),
        ("os.path.join", text("evil")),
        ("code.interact", text("evil")),
        ("commands.getoutput", text("touch evil")),
    ],
)
def test_what_runs_code_or_opens_files_is_refused_by_name(tmp_path, name, argument):
    last = name.rpartition(".")[2]
    with pytest.raises(ModelError, match=rf"asks for \w+(\.path)?\.{last}, which no weights need .*nothing was run"):
        read(entry(call(name, argument)), tmp_path)


def test_protocol_4_names_too(tmp_path):
    stacked = b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x0atouch evil\x85R."
    with pytest.raises(ModelError, match="asks for os.system"):
        read(stacked, tmp_path)
    with pytest.raises(ModelError, match="asks for os.system"):
        read(b"\x80\x02(" + text("touch evil") + b"ios\nsystem\n.", tmp_path)
    with pytest.raises(ModelError, match="asks for os.system"):
        read(b"\x80\x02(" + global_("os.system") + text("touch evil") + b"o.", tmp_path)


def test_a_folder_called_code_is_no_code(tmp_path):
    assert read(entry(call("code.models.ResNet", b"K\1")), tmp_path) == {"x": {"0": 1}}


class ConfigDict(dict):
    """As of mmengine: a dictionary that has attributes."""

    def __init__(self, content):
        super().__init__(content)
        self.name, self.frozen = "hidden", True


class Config:
    """As of mmengine: its state is a tuple."""

    def __init__(self, content):
        self.content = content

    def __getstate__(self):
        return (self.content, "config.py", "text")


class HistoryBuffer:
    def __init__(self):
        self._log_history, self._max_length, self.reducers = np.arange(3.0), 10, {"mean": np.mean}


class DictConfig:
    """As of omegaconf: attributes of which one leads back to the parent."""

    def __init__(self, content, parent=None):
        self._content, self._parent = content, parent


@pytest.mark.parametrize("zipped", [True, False])
def test_checkpoints_of_mmengine_and_lightning(tmp_path, module_of_others, zipped):
    forget = [
        module_of_others("mmengine_like", ConfigDict, Config, HistoryBuffer),
        module_of_others("omegaconf_like", DictConfig),
    ]
    hyper = DictConfig({})
    hyper._content["optimizer"] = DictConfig({"lr": 0.1}, parent=hyper)
    content = {
        "meta": {"cfg": Config(ConfigDict({"lr": 0.1})), "CLASSES": ("a", "b"), "best": np.float32(0.5)},
        "message_hub": {"log_scalars": {"train/loss": HistoryBuffer()}},
        "hyper_parameters": hyper,
        "callbacks": {"ModelCheckpoint{'monitor': None}": {"best_model_score": torch.tensor(0.5)}},
        "loops": collections.Counter({"fit": 3}),
        "state_dict": collections.OrderedDict({"backbone.weight": torch.arange(4.0)}),
    }
    torch.save(content, tmp_path / "w.pth", _use_new_zipfile_serialization=zipped)
    for gone in forget:
        gone()
    found = read_checkpoint(tmp_path / "w.pth")
    assert found["meta"]["cfg"] == {"0": {"lr": 0.1}, "1": "config.py", "2": "text"}
    assert found["meta"]["CLASSES"] == ("a", "b")
    assert found["meta"]["best"] == 0.5
    assert torch.equal(found["message_hub"]["log_scalars"]["train/loss"]["_log_history"], torch.arange(3.0).double())
    assert found["hyper_parameters"]["_content"]["optimizer"]["_content"] == {"lr": 0.1}
    assert found["hyper_parameters"]["_content"]["optimizer"]["_parent"] is None
    assert found["loops"] == {"fit": 3}
    tensors = tensors_of(found, KeyRules(unwrap="state_dict", prefix="backbone."), "here")
    assert torch.equal(tensors["weight"], torch.arange(4.0))


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (call("this.s"), {}),
        (call("antigravity.fly", text("a")), {"0": "a"}),
        (
            call("builtins.getattr", call("builtins.getattr", global_("json.decoder"), text("os")), text("system"))
            + b"("
            + text("touch evil")
            + b"tR",
            {"0": "touch evil"},
        ),
        (
            global_("builtins.object") + b")\x81}(" + text("__setstate__") + text("a") + text("__dict__") + b"}ub",
            {"__setstate__": "a", "__dict__": {}},
        ),
        (global_("pathlib.Path") + b")\x81}" + text("__class__") + global_("this.s") + b"sb", {"__class__": "this.s"}),
        (global_("a.B") + b")\x81}(" + text("a") + b"K\1ub", {"a": 1}),
        (global_("a.B") + b")\x81N}" + text("slot") + b"K\1s\x86b", {"slot": 1}),
        (global_("a.B") + b")\x81(K\1K\2K\3tb", {"0": 1, "1": 2, "2": 3}),
        (global_("a.B") + b")\x81K\7b", {"0": 7}),
        (global_("a.B") + b"K\1K\2\x86}" + text("n") + b"K\3s\x92", {"0": 1, "1": 2, "n": 3}),
        (global_("a.List") + b")\x81(K\1K\2e", [1, 2]),
        (global_("a.Dict") + b")\x81}" + text("hidden") + b"K\1sb(" + text("k") + b"K\2u", {"k": 2}),
        (global_("torch.float32"), "torch.float32"),
        (b"(K\1K\2\x91", [1, 2]),
        (b"\x8f(K\1K\2\x90", [1, 2]),
        (b"}(K\1K\2\x86K\3u", {"tuple 0": 3}),
        (b"}(" + global_("torch.float32") + b"K\3u", {"torch.float32": 3}),
        (b"U\2\xe9b", "\xe9b"),
        (b"I01\n", True),
        (b"L123L\n", 123),
    ],
)
def test_other_classes_become_what_they_hold(tmp_path, value, found):
    assert read(entry(value), tmp_path) == {"x": found}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (global_("builtins.object") + b"}" + text("a") + b"K\1sb", "put into something that has none"),
        (b"}" + b"}" + text("a") + b"K\1sb", "put into something that has none"),
        (b"\x82\1", "EXT1 is no step"),
        (b"\x83\1\1", "EXT2 is no step"),
        (b"\x84\1\1\1\1", "EXT4 is no step"),
        (b"\x97", "NEXT_BUFFER is no step"),
        (b"Pos.system\n", "refers to something outside of it"),
        (global_("a.B") + b"Q", "refers to something outside of it"),
        (b"(" + text("storage") + text("FloatStorage") + text("0") + text("cpu") + b"K\1tQ", "outside of it"),
        (b"K\1K\2R", "made by what is no class"),
        (text("os.system") + text("touch evil") + b"\x85R", "made by what is no class"),
        (b"K\1K\2\x93", "a name is no text"),
        (b"K\1K\2a", "no list"),
        (b"]K\1K\2s", "no dictionary"),
        (b"}(K\1u", "without values"),
        (b"h\7", "damaged: 7"),
        (b"000", "damaged: pop from empty list"),
        (b"\x87", "too short"),
        (b"\x8b\xff\xff\xff\x7f1", "not enough data"),
        (b"\x8b\x00\x00\x10\x00" + b"\x7f" * 2**20, "a number has 8,388,607 binary digits"),
        (b"L" + b"9" * 10**5 + b"L\n", "4300"),
        (b"\x8e" + struct.pack("<Q", 2**40) + b"1", r"1099511627776 bytes"),
        (b"\x8d" + struct.pack("<Q", 2**40) + b"1", r"1099511627776 bytes"),
        (b"\x96" + struct.pack("<Q", 2**40) + b"1", r"1099511627776 bytes"),
        (b"B\xff\xff\xff\x7f1", "2147483647 bytes"),
        (b"\x95" + struct.pack("<Q", 2**62) + b"\xff", "unknown|at position"),
    ],
)
def test_pickles_that_no_honest_file_holds(tmp_path, value, message):
    with pytest.raises(ModelError, match=f"cannot be read: the file is damaged, .*{message}.*get it again"):
        within(lambda: read(entry(value), tmp_path), most_bytes=8 * 2**20)


def within(do, *, most_bytes, most_s=5.0):
    """`do`, in no more memory and time."""
    tracemalloc.start()
    began = time.monotonic()
    try:
        return do()
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < most_bytes
        assert time.monotonic() - began < most_s


LARGE = b"\x8a\6" + (2**40).to_bytes(6, "little")
CONTENT = b"C\x04\0\0\x80?"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (array(LARGE + b"\x85", CONTENT), r"an array of shape \(1099511627776,\) has 4 bytes"),
        (array(LARGE + LARGE + b"\x86", CONTENT), "has 4 bytes"),
        (array(b"J\xff\xff\xff\xff\x85", CONTENT), "an impossible shape"),
        (array(b"(" + b"K\1" * 65 + b"t", CONTENT), "an impossible shape"),
        (array(text("a"), CONTENT), "an impossible shape"),
        (array(b"\x88\x85", CONTENT), "an impossible shape"),
        (array(b"", b"", state=b"K\1\x85"), "no shape, type and bytes"),
        (array(b"", b"", state=text("abc")), "no shape, type and bytes"),
        (array(b"K\1\x85", CONTENT[:1] + b"\3abc"), "has 3 bytes"),
    ],
)
def test_arrays_that_claim_what_is_not_there(tmp_path, value, message):
    with pytest.raises(ModelError, match=f"cannot be read: .*{message}"):
        within(lambda: read(entry(value), tmp_path), most_bytes=2**20)


def dtype(name, *state):
    more = b"(" + b"".join(state) + b"tb" if state else b""
    return call("numpy.dtype", text(name), b"K\0", b"K\1") + more


@pytest.mark.parametrize(
    "kind",
    [
        dtype("O8", b"K\3", text("|"), b"NNNK\0K\0K\0"),
        dtype("V4", b"K\3", text("|"), b"N", text("a") + b"\x85", b"}", b"K\4K\1K\0"),
        dtype("f4", b"K\3", text("<"), FLOAT + b"K\2\x86", b"NNK\0K\0K\0"),
        dtype("U1"),
        dtype("f16"),
        dtype("M8"),
        dtype("a" * 1000),
        text("f4") + b"]\x86",
        b"]",
        global_("os_path.evil"),
    ],
)
def test_arrays_of_objects_and_of_parts_are_no_tensors(tmp_path, kind):
    found = read(entry(array(b"K\1\x85", CONTENT, kind)), tmp_path)["x"]
    assert set(found) == {"shape", "dtype", "content"}
    objects = array(b"K\1\x85", b"]" + call("antigravity.fly") + b"a", dtype("O8"))
    assert read(entry(objects), tmp_path)["x"]["content"] == [{}]


@pytest.mark.parametrize("code", ["f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "b1", "c8", "c16"])
@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("fortran", [False, True])
def test_arrays_of_numbers_are_the_same_numbers(tmp_path, code, order, fortran):
    right = np.arange(6).reshape(2, 3).astype(order + code)
    right = np.asfortranarray(right) if fortran else right
    empty, scalar = np.zeros((0, 3), order + code), right[1, 1]
    for protocol in (2, 4, 5):
        found = read(pickle.dumps({"x": right, "e": empty, "s": scalar}, protocol), tmp_path)
        native = np.ascontiguousarray(right, right.dtype.newbyteorder("="))
        assert torch.equal(found["x"], torch.from_numpy(native))
        assert found["e"].shape == (0, 3)
        assert found["s"] == scalar.item()


@pytest.mark.parametrize("name", ["ml_dtypes.bfloat16", "jaxlib.xla_extension.bfloat16"])
def test_bfloat16_of_jax(tmp_path, name):
    kind = call("numpy.dtype", global_(name), b"\x89\x88")
    right = torch.tensor([1.0, -2.5, 1e30]).bfloat16()
    content = right.view(torch.uint8).numpy().tobytes()
    value = array(b"K\3\x85", b"C\6" + content, kind)
    assert torch.equal(read(entry(value), tmp_path)["x"], right)


def test_pickles_of_python_2(tmp_path):
    """Texts are latin-1 bytes there, as in the model zoo of detectron."""
    content = np.array([1.5, -2], np.float32).tobytes()
    kind = call("numpy.dtype", b"U\2f4", b"K\0", b"K\1") + b"(K\3U\1<" + REST + b"tb"
    value = array(b"K\2\x85", b"U\x08" + content, kind)
    pairs = b"]](U\4a\xe9_wK\1ea\x85"
    ordered = global_("collections.OrderedDict") + pairs + b"R"
    found = read(b"\x80\x02}(U\6conv_w" + value + b"U\1o" + ordered + b"u.", tmp_path)
    assert torch.equal(found["conv_w"], torch.tensor([1.5, -2]))
    assert found["o"] == {"a\xe9_w": 1}


def test_what_holds_itself_ends(tmp_path):
    loop = []
    loop.append(loop)
    mapping = {}
    mapping["self"] = mapping
    found = read(pickle.dumps({"loop": loop, "mapping": mapping, "w": np.ones(2)}), tmp_path)
    assert found["loop"] == [None]
    assert found["mapping"] == {"self": None}
    assert torch.equal(found["w"], torch.ones(2).double())


def doubled(empty, double, times):
    return b"".join([empty, *[b"q" + bytes([n]) + double(b"h" + bytes([n])) for n in range(times)]])


@pytest.mark.parametrize(
    "bomb",
    [
        doubled(b"]K\1a", lambda last: b"0](" + last + last + b"e", 60),
        doubled(b"]K\1a", lambda last: b"0(" + last * 2 + b"t", 60),
        doubled(b"}", lambda last: b"0}(" + b"".join(text(str(n)) + last for n in range(100)) + b"u", 8),
        doubled(b"}", lambda last: b"0" + global_("a.B") + b"(" + last * 3 + b"tR", 60),
        doubled(
            b"}" + text("w") + array(b"K\1\x85", CONTENT) + b"s",
            lambda last: (
                b"0"
                + global_("torch.nn.modules.container.Sequential")
                + b")\x81}("
                + text("_parameters")
                + b"}"
                + text("_buffers")
                + b"}"
                + text("_modules")
                + b"}("
                + b"".join(text(str(n)) + last for n in range(100))
                + b"uub"
            ),
            8,
        ),
    ],
)
def test_what_is_shared_a_million_times_is_refused(tmp_path, bomb):
    with pytest.raises(ModelError, match="what it shares would be met more than"):
        within(lambda: read(entry(bomb), tmp_path), most_bytes=8 * 2**20)


@pytest.mark.parametrize("zipped", [True, False])
def test_what_is_shared_is_counted_in_files_of_tensors_too(tmp_path, zipped):
    content = {"w": torch.ones(2)}
    for _ in range(9):
        content = {str(n): content for n in range(100)}
    torch.save(content, tmp_path / "w.pth", _use_new_zipfile_serialization=zipped)
    with pytest.raises(ModelError, match="what it shares would be met more than"):
        within(lambda: read_checkpoint(tmp_path / "w.pth"), most_bytes=8 * 2**20)


def test_what_is_shared_a_few_times_is_not(tmp_path):
    shared = {"w": np.ones(2)}
    found = read(pickle.dumps({"a": shared, "b": shared, "c": [shared] * 100}), tmp_path)
    assert found["a"] is found["b"]
    assert suggestion(found, torch.nn.Linear(2, 2), ()) == ""


def test_keys_of_tuples_within_tuples_are_not_hashed_by_torch_either(tmp_path):
    key = doubled(b")", lambda last: b"0" + last * 2 + b"\x86", 60)
    with zipfile.ZipFile(tmp_path / "w.pth", "w") as archive:
        archive.writestr("w/data.pkl", b"\x80\x02}" + key + b"Ns.")
    assert list(within(lambda: read_checkpoint(tmp_path / "w.pth"), most_bytes=2**20)) == ["tuple 0"]


def test_names_do_not_grow(tmp_path):
    made = b"(" + global_("a.B") + b")R" + b"2)R" * 3000 + b"l"
    assert len(within(lambda: read(entry(made), tmp_path), most_bytes=4 * 2**20)["x"]) == 3001
    names = b"(" + text("a" * 1000) + b"q\0" + b"h\0h\0\x93" * 1000 + b"l"
    with pytest.raises(ModelError, match="a name of 2,000 letters"):
        read(entry(names), tmp_path)


@pytest.mark.parametrize("step", [b"]", b"N", b")", b"(", b"\x94", b"}", b"2"])
def test_pickles_without_an_end(tmp_path, step):
    with pytest.raises(ModelError, match="pickle exhausted before seeing STOP"):
        read(b"\x80\x02N" + step * 1000, tmp_path)


READ_ALL = """
import os, sys
from pathlib import Path
from fewshot_bn.backbones.checkpoints.reading import read_checkpoint
from fewshot_bn.errors import ModelError
for name in sys.argv[1:]:
    before = int(Path("/proc/self/statm").read_text().split()[1]) * 4
    sys.stdout.flush()
    child = os.fork()
    if not child:
        try:
            print(name, "read", sorted(read_checkpoint(Path(name))), end=" ", flush=True)
        except ModelError as problem:
            print(problem, end=" ", flush=True)
        os._exit(0)
    _, status, used = os.wait4(child, 0)
    print(used.ru_maxrss - before, used.ru_utime + used.ru_stime, status)
"""


def read_in_children(tmp_path, contents, *, most_kib, most_s):
    """What processes of their own, in which types are not checked at run time, say of files: by their names."""
    (tmp_path / "files").mkdir()
    for name, content in contents.items():
        (tmp_path / "files" / name).write_bytes(content)
    ran = subprocess.run(
        [sys.executable, "-c", READ_ALL, *contents], cwd=tmp_path / "files", capture_output=True, text=True, check=True
    )
    told = {}
    for name, line in zip(contents, ran.stdout.splitlines(), strict=True):
        *words, kib, seconds, status = line.split()
        told[name] = " ".join(words)
        assert int(status) == 0, name
        assert float(kib) < most_kib, name
        assert float(seconds) < most_s, name
    return told


N = 10**5
DEEP = {
    "lists": b"]" * N + b"a" * (N - 1),
    "tuples": b"(" * N + b"t" * N,
    "dictionaries": (b"}" + text("a")) * N + b"N" + b"s" * N,
    "objects": b"N" + (b"q\0" + b"0" + global_("a.B") + b"h\0\x85R") * N,
}


@pytest.mark.full
def test_deep_nesting_is_no_recursion(tmp_path):
    contents = {name: entry(steps) for name, steps in DEEP.items()}
    told = read_in_children(tmp_path, contents, most_kib=300_000, most_s=20)
    assert set(told.values()) == {f"{name} read ['x']" for name in DEEP}


COPIED = {
    "dictionary": b"}(" + b"".join(text(str(n)) + b"N" for n in range(3000)) + b"u",
    "text": text("a" * 30_000),
    "bytes": b"B" + struct.pack("<I", 30_000) + bytes(30_000),
}
TURNED = dtype("f4", b"K\3", text(">"), REST)
COPY = {
    "made-of-it": lambda: global_("a.B") + b"h\0\x85R",
    "its-state": lambda: global_("a.B") + b")\x81h\0b",
    "encoded": lambda: call("_codecs.encode", b"h\0", text("latin1")),
    "turned": lambda: array(b"M" + struct.pack("<H", 7500) + b"\x85", b"h\0", TURNED),
}


@pytest.mark.full
def test_what_is_shared_is_not_copied_again_and_again(tmp_path):
    """30 kB that are used 10,000 times are 300 MB."""
    contents = {
        f"{how}-{what}": entry(b"(" + COPIED[what] + b"q\0" + COPY[how]() * 10_000 + b"l")
        for how in COPY
        for what in COPIED
    }
    modules = text("_parameters") + b"h\0" + text("_buffers") + b"}" + text("_modules") + b"}"
    module = global_("torch.nn.modules.linear.Linear") + b")\x81}(" + modules + b"ub"
    contents["parameters"] = entry(b"(" + COPIED["dictionary"] + b"q\0" + module * 10_000 + b"l")
    told = read_in_children(tmp_path, contents, most_kib=200_000, most_s=20)
    for line in told.values():
        assert "copied more often than in any checkpoint" in line or "would be met more than" in line


@pytest.mark.full
def test_pickles_of_many_steps_are_given_up(tmp_path):
    steps = {"lists": b"]", "nothing": b"N", "references": b"\x94"}
    contents = {name: b"\x80\x02N" + step * 6_000_000 + b"." for name, step in steps.items()}
    told = read_in_children(tmp_path, contents, most_kib=600_000, most_s=60)
    assert all("holds more than 2,000,000 lists or 5,000,000 values" in line for line in told.values())


@pytest.mark.full
def test_a_plain_pickle_takes_twice_the_memory_of_its_arrays_at_most(tmp_path):
    content = pickle.dumps({str(n): np.full(10**6, n, np.float32) for n in range(25)})
    told = read_in_children(tmp_path, {"w": content}, most_kib=2 * len(content) / 1024, most_s=20)
    assert told["w"].startswith("w read ['0',")


KEY = text("0")


def stored(key=KEY, kind="torch.FloatStorage", n=b"K\4"):
    return b"(" + text("storage") + global_(kind) + key + text("cpu") + n + b"tQ"


def tensor(storage, offset=b"K\0", shape=b"K\4\x85", strides=b"K\1\x85"):
    return call("torch._utils._rebuild_tensor_v2", storage, offset, shape, strides, b"\x89", b"}")


def read_zip(value, tmp_path, **records):
    """A file of torch.save of `{"x": value, "other": …}`, its storage 0 the numbers 0 to 3."""
    pickled = b"\x80\x02}(" + text("x") + value + text("other") + call("a.B") + b"u."
    with zipfile.ZipFile(tmp_path / "w.pth", "w") as archive:
        archive.writestr("w/data.pkl", pickled)
        archive.writestr("w/data/0", struct.pack("<4f", 0, 1, 2, 3))
        for name, content in records.items():
            archive.writestr(f"w/{name}", content)
    return read_checkpoint(tmp_path / "w.pth")


MINUS = b"J\xff\xff\xff\xff"


def power(n):
    return b"\x8a\x09" + (2**n).to_bytes(9, "little")


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (tensor(stored()), torch.arange(4.0)),
        (tensor(stored(), b"K\1", b"K\3\x85"), torch.arange(1.0, 4)),
        (tensor(stored(), b"K\1", b"K\2K\2\x86", b"K\1K\1\x86"), torch.tensor([[1.0, 2], [2, 3]])),
        (tensor(stored(n=b"K\2"), b"K\0", b"K\2\x85"), torch.arange(2.0)),
        (tensor(stored(), b"K\3", b")", b")"), torch.tensor(3.0)),
        (tensor(stored(), b"K\0", b"K\0\x85"), torch.empty(0)),
        (tensor(stored(kind="torch.cuda.FloatStorage")), torch.arange(4.0)),
        (tensor(stored(kind="torch.ByteStorage"), b"K\7", b"K\1\x85"), torch.tensor([63], dtype=torch.uint8)),
        (call("torch._utils._rebuild_parameter", tensor(stored()), b"\x88", b"}"), torch.arange(4.0)),
    ],
)
def test_tensors_lie_where_the_pickle_says(tmp_path, value, found):
    if found.dtype == torch.uint8:
        value = value.replace(b"K\4tQ", b"K\x10tQ")
    expected = read_zip(value, tmp_path)["x"]
    assert expected.dtype == found.dtype
    assert torch.equal(expected, found)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (tensor(stored(n=power(40))), "a storage has 16 bytes instead of 4,398,046,511,104"),
        (tensor(stored(), shape=b"K\5\x85"), "reaches outside of its 4 numbers"),
        (tensor(stored(), offset=b"K\1"), "reaches outside of its 4 numbers"),
        (tensor(stored(), strides=b"K\2\x85"), "reaches outside of its 4 numbers"),
        (tensor(stored(), shape=power(33) + b"\x85", strides=power(31) + b"\x85"), "reaches outside"),
        (tensor(stored(), shape=power(33) + power(33) + b"\x86", strides=b"K\0K\0\x86"), "reaches outside"),
        (tensor(stored(), shape=power(64) + b"\x85"), "impossible shape"),
        (tensor(stored(), strides=MINUS + b"\x85"), "impossible shape"),
        (tensor(stored(), offset=MINUS), "impossible shape"),
        (tensor(stored(), shape=MINUS + b"\x85"), "impossible shape"),
        (tensor(stored(), shape=b"K\4"), "impossible shape"),
        (tensor(stored(), offset=b"G?\xf0\0\0\0\0\0\0"), "impossible shape"),
        (tensor(stored(), strides=b"K\1K\1\x86"), "impossible shape"),
        (call("torch._utils._rebuild_tensor_v2", stored()), "4 values are needed"),
        (tensor(stored(text("1"))), "no item named"),
        (tensor(stored(text("../data.pkl"))), "no item named"),
        (tensor(stored(b"K\0")), "no storage"),
        (tensor(stored(n=MINUS)), "no storage"),
        (tensor(stored(n=text("a"))), "no storage"),
        (tensor(b"(" + text("module") + text("os") + b"tQ"), "no storage"),
    ],
)
def test_tensors_that_reach_outside_are_refused(tmp_path, value, message):
    with pytest.raises(ModelError, match=f"cannot be read: .*{message}"):
        within(lambda: read_zip(value, tmp_path), most_bytes=4 * 2**20)


@pytest.mark.parametrize(
    "value", [tensor(stored(kind="torch.QInt8Storage")), tensor(text("a")), tensor(tensor(stored(), shape=b")"))]
)
def test_tensors_of_other_kinds_are_no_tensors(tmp_path, value):
    if b"shape" not in value and value.count(b"_rebuild_tensor_v2") > 1:
        value = tensor(tensor(stored(), b"K\0", b"K\2K\2\x86", b"K\2K\1\x86"))
    assert isinstance(read_zip(value, tmp_path)["x"], dict)


def test_a_tensor_of_a_million_million_equal_values_takes_no_room(tmp_path):
    value = tensor(stored(), shape=power(40) + b"\x85", strides=b"K\0\x85")
    found = within(lambda: read_zip(value, tmp_path), most_bytes=4 * 2**20)["x"]
    assert found.shape == (2**40,)
    assert found.untyped_storage().nbytes() == 16


def test_bytes_of_another_machine_are_refused(tmp_path):
    assert torch.equal(read_zip(tensor(stored()), tmp_path, byteorder="little")["x"], torch.arange(4.0))
    with pytest.raises(ModelError, match="not read: its bytes are in the order of another kind of machine"):
        read_zip(tensor(stored()), tmp_path, byteorder="big")


def test_entries_that_lie_over_each_other_are_no_bomb(tmp_path):
    """A hundred entries of the same bytes claim a hundred times what the file has."""
    content = bytes(10**6)
    read_zip(tensor(stored()), tmp_path, **{"data/1": content})
    with zipfile.ZipFile(tmp_path / "w.pth", "a") as archive:
        info = archive.getinfo("w/data/1")
        for n in range(2, 102):
            twin = copy.copy(info)
            twin.filename = twin.orig_filename = f"w/data/{n}"
            archive.filelist.append(twin)
        archive._didModify = True
    with pytest.raises(ModelError, match="it is compressed: .* bytes claim to be 101,"):
        read_checkpoint(tmp_path / "w.pth")


@pytest.mark.parametrize("zipped", [True, False])
def test_truncated_training_checkpoints(tmp_path, zipped):
    content = {"w": torch.ones(1000), "args": types.SimpleNamespace(lr=0.1)}
    torch.save(content, tmp_path / "w.pth", _use_new_zipfile_serialization=zipped)
    whole = (tmp_path / "w.pth").read_bytes()
    assert read_checkpoint(tmp_path / "w.pth")["args"] == {"lr": 0.1}
    for share in range(1, 20):
        (tmp_path / "w.pth").write_bytes(whole[: len(whole) * share // 20])
        with pytest.raises(ModelError, match="cannot be read: the file is damaged"):
            read_checkpoint(tmp_path / "w.pth")


def test_an_old_file_that_claims_a_large_storage(tmp_path):
    content = {"w": torch.ones(1000), "args": types.SimpleNamespace(lr=0.1)}
    torch.save(content, tmp_path / "w.pth", _use_new_zipfile_serialization=False)
    whole = (tmp_path / "w.pth").read_bytes()
    claims = whole.replace(struct.pack("<q", 1000), struct.pack("<q", 2**60))
    assert claims != whole
    (tmp_path / "w.pth").write_bytes(claims)
    with pytest.raises(ModelError, match="bytes are needed and 4,000 are left"):
        within(lambda: read_checkpoint(tmp_path / "w.pth"), most_bytes=4 * 2**20)


def test_tensors_in_a_plain_pickle_and_no_deeper(tmp_path):
    right = torch.arange(6.0).reshape(2, 3).T
    whole = pickle.dumps({"w": right, "b": torch.ones(2).bfloat16()})
    found = read(whole, tmp_path)
    assert torch.equal(found["w"], right)
    assert torch.equal(found["b"], torch.ones(2).bfloat16())
    with pytest.raises(ModelError, match="the bytes of a storage are none"):
        read(entry(call("torch.storage._load_from_bytes", b"C\3abc")), tmp_path)
    with pytest.raises(ModelError, match="cannot be read"):
        read(entry(call("torch.storage._load_from_bytes", b"]")), tmp_path)
