"""The forward pass as a graph, and the graph in two."""

import threading

import torch
from reference.networks import SmallNet
from torch import nn

from fewshot_bn.backbones.graph import cut, trace


def test_norm_layers_and_what_holds_none_are_single_calls():
    block = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU())
    graph = trace(nn.Sequential(block, nn.Sequential(nn.BatchNorm2d(4), nn.Flatten())))
    assert [node.target for node in graph.nodes if node.op == "call_module"] == ["0", "1.0", "1.1"]


def test_code_that_decides_on_values_has_no_graph():
    class Decides(nn.Module):
        def forward(self, x):
            return x if x.sum() > 0 else -x

    assert trace(Decides()) is None


def test_the_two_parts_together_are_the_network():
    network, x = SmallNet().eval(), torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    before, after = cut(network, trace(network), lambda node: node.target in ("bn2", "bn3"))
    between = before(x)  # the input of bn2, and the shortcut around it
    assert [tuple(value.shape) for value in between] == [(4, 8, 4, 4)] * 2
    assert torch.equal(after(*between), network(x))


def test_there_is_nothing_to_cut_at_a_layer_that_is_not_called():
    network = SmallNet()
    assert cut(network, trace(network), lambda node: node.target == "bn9") is None


def test_other_threads_may_run_networks_while_one_is_traced():
    inside, done = threading.Event(), threading.Event()

    class Waits(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = nn.BatchNorm2d(3)

        def forward(self, x):
            inside.set()
            done.wait(10)
            return self.norm(x)

    network, x = SmallNet().eval(), torch.ones(2, 3, 8, 8)
    expected, graphs, call = network(x), [], nn.Module.__call__
    threads = [threading.Thread(target=lambda: graphs.append(trace(Waits()))) for _ in range(2)]
    for thread in threads:
        thread.start()
    assert inside.wait(10)
    try:
        assert nn.Module.__call__ is not call
        assert torch.equal(network(x), expected)
    finally:
        done.set()
        for thread in threads:
            thread.join()
    assert nn.Module.__call__ is call
    assert [[node.target for node in graph.nodes if node.op == "call_module"] for graph in graphs] == [["norm"]] * 2
