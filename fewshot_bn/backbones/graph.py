"""The forward pass of a network as a graph of calls, so that it can be cut at a layer.

Norm layers stay single calls, and so does every module that holds none.
"""

import threading
from collections.abc import Callable
from typing import Any

from torch import fx, nn

from fewshot_bn.backbones.norms import NORMS

_one_at_a_time = threading.Lock()


class _Tracer(fx.Tracer):
    """Tracing changes `nn.Module` for the whole process while it lasts; calls of other threads go on as ever."""

    def __init__(self) -> None:
        super().__init__()
        self._thread = threading.get_ident()

    def call_module(
        self, m: nn.Module, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        if threading.get_ident() != self._thread:
            return forward(*args, **kwargs)
        return super().call_module(m, forward, args, kwargs)

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, Any]) -> Any:
        if threading.get_ident() != self._thread:
            return attr_val
        return super().getattr(attr, attr_val, parameter_proxy_cache)

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        del module_qualified_name
        norms = tuple(norm.layer for norm in NORMS.values())
        return isinstance(m, norms) or not any(isinstance(inner, norms) for inner in m.modules())


def trace(network: nn.Module) -> fx.Graph | None:
    """The graph of `network`, or None where its code cannot be traced, as when it decides on values."""
    try:
        with _one_at_a_time:
            return _Tracer().trace(network)
    except Exception:  # it runs the network's own code, which may raise anything
        return None


def cut(network: nn.Module, graph: fx.Graph, differs: Callable[[fx.Node], bool]) -> tuple[nn.Module, nn.Module] | None:
    """`network` as two: what comes before the first call that `differs`, and the rest as a function of its values."""
    nodes = list(graph.nodes)
    first = next((place for place, node in enumerate(nodes) if differs(node)), None)
    if first is None:
        return None
    rest = set(nodes[first:])
    constants = [node for node in nodes[:first] if node.op == "get_attr"]
    between = [node for node in nodes[:first] if node not in constants and not rest.isdisjoint(node.users)]
    before, after = fx.Graph(), fx.Graph()
    copies: dict[fx.Node, fx.Node] = {}
    for node in nodes[:first]:
        copies[node] = before.node_copy(node, copies.__getitem__)
    before.output(tuple(copies[node] for node in between))
    copies = {node: after.placeholder(node.name) for node in between}
    for node in [*constants, *nodes[first:]]:
        copies[node] = after.node_copy(node, copies.__getitem__)
    return _module(network, before), _module(network, after)


def _module(network: nn.Module, graph: fx.Graph) -> fx.GraphModule:
    """The module that runs the graph. It goes as soon as nothing refers to it, with its weights: the graph does not."""
    module = fx.GraphModule(network, graph)
    module.graph.owning_module = None
    return module
