"""Pickles of others: what they hold comes back, and whatever they ask for, nothing is run and nothing grows."""

import collections
import pickle
import struct
import subprocess
import sys
import time
import tracemalloc
import types

import numpy as np
import pytest
import torch

from fewshot_bn.backbones.checkpoints import read_checkpoint
from fewshot_bn.backbones.keys import KeyRules, tensors_of
from fewshot_bn.backbones.suggestion import suggestion
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
    """Neither Python's own unpickler nor an import is reached, nothing is written, and no module appears."""
    monkeypatch.chdir(tmp_path)

    def reached(*_):
        pytest.fail("Python's own unpickler was reached")

    monkeypatch.setattr(pickle, "Unpickler", reached)
    monkeypatch.setattr(pickle._Unpickler, "find_class", reached)
    before = set(sys.modules)
    yield
    assert {name for name in set(sys.modules) - before if not name.startswith(("torch", "numpy"))} == set()
    assert {path.name for path in tmp_path.iterdir()} <= {"w.pkl", "w.pth", "b.pkl", "here.pth"}


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


def test_what_is_shared_a_few_times_is_not(tmp_path):
    shared = {"w": np.ones(2)}
    found = read(pickle.dumps({"a": shared, "b": shared, "c": [shared] * 100}), tmp_path)
    assert found["a"] is found["b"]
    assert suggestion(found, torch.nn.Linear(2, 2), ()) == ""


@pytest.mark.parametrize("step", [b"]", b"N", b")", b"(", b"\x94", b"}", b"2"])
def test_pickles_without_an_end(tmp_path, step):
    with pytest.raises(ModelError, match="pickle exhausted before seeing STOP"):
        read(b"\x80\x02N" + step * 1000, tmp_path)


READ_ALL = """
import resource, sys, time
from pathlib import Path
from fewshot_bn.backbones.checkpoints import read_checkpoint
from fewshot_bn.errors import ModelError
for name in sys.argv[1:]:
    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    try:
        print(name, "read", sorted(read_checkpoint(Path(name))), end=" ")
    except ModelError as problem:
        print(problem, end=" ")
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, time.process_time() - began)
"""


def read_in_child(tmp_path, content, *, most_kib, most_s):
    """What a process of its own, in which types are not checked at run time, says of a file."""
    (tmp_path / "w.pkl").write_bytes(content)
    ran = subprocess.run([sys.executable, "-c", READ_ALL, "w.pkl"], capture_output=True, text=True, check=True)
    *told, kib, seconds = ran.stdout.split()
    assert float(kib) < most_kib
    assert float(seconds) < most_s
    return " ".join(told)


N = 10**5


@pytest.mark.full
@pytest.mark.parametrize(
    "deep",
    [
        b"]" * N + b"a" * (N - 1),
        b"(" * N + b"t" * N,
        (b"}" + text("a")) * N + b"N" + b"s" * N,
        b"N" + (b"q\0" + b"0" + global_("a.B") + b"h\0\x85R") * N,
    ],
    ids=["lists", "tuples", "dictionaries", "objects"],
)
def test_deep_nesting_is_no_recursion(tmp_path, deep):
    assert read_in_child(tmp_path, entry(deep), most_kib=300_000, most_s=20) == "w.pkl read ['x']"


COPIED = {
    "dictionary": b"}(" + b"".join(text(str(n)) + b"N" for n in range(3000)) + b"u",
    "text": text("a" * 30_000),
    "bytes": b"B" + struct.pack("<I", 30_000) + bytes(30_000),
}
TURNED = dtype("f4", b"K\3", text(">"), REST)
COPY = {
    "made of it": lambda: global_("a.B") + b"h\0\x85R",
    "its state": lambda: global_("a.B") + b")\x81h\0b",
    "encoded": lambda: call("_codecs.encode", b"h\0", text("latin1")),
    "turned round": lambda: array(
        b"M" + struct.pack("<H", 7500) + b"\x85", b"h\0", dtype("f4", b"K\3", text(">"), REST)
    ),
}


@pytest.mark.full
@pytest.mark.parametrize("copied", COPIED)
@pytest.mark.parametrize("how", COPY)
def test_what_is_shared_is_not_copied_again_and_again(tmp_path, copied, how):
    """30 kB that are used 10,000 times are 300 MB."""
    content = entry(b"(" + COPIED[copied] + b"q\0" + COPY[how]() * 10_000 + b"l")
    told = read_in_child(tmp_path, content, most_kib=200_000, most_s=20)
    assert "copied more often than in any checkpoint" in told or "would be met more than" in told


@pytest.mark.full
@pytest.mark.parametrize("step", [b"]", b"N", b"}", b"\x94", b"("])
def test_pickles_of_many_steps_are_given_up(tmp_path, step):
    told = read_in_child(tmp_path, b"\x80\x02N" + step * 6_000_000 + b".", most_kib=600_000, most_s=60)
    assert "holds more than 2,000,000 lists or 5,000,000 values" in told


@pytest.mark.full
def test_a_plain_pickle_takes_twice_the_memory_of_its_arrays_at_most(tmp_path):
    content = pickle.dumps({str(n): np.full(10**6, n, np.float32) for n in range(25)})
    told = read_in_child(tmp_path, content, most_kib=2 * len(content) / 1024, most_s=20)
    assert told.startswith("w.pkl read ['0',")
