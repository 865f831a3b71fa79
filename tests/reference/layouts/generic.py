"""How tools lay out the weights of any network. Each function takes its state, which is the first choice of guess."""

import torch


def with_front(state, front):
    return {front + key: value for key, value in state.items()}


def moved(state):
    """Another part of the same shapes."""
    return {key: value + 1 for key, value in state.items()}


def sequential(state):
    """As `nn.Sequential(*network.children())` has them, which knows no names; all children hold tensors here."""
    names = list(dict.fromkeys(key.partition(".")[0] for key in state))
    return {f"{names.index(key.partition('.')[0])}.{key.partition('.')[2]}": value for key, value in state.items()}


LAYOUTS = {
    "plain": lambda s: s,
    "head": lambda s: {**s, "linear.weight": torch.ones(10, 16), "linear.bias": torch.ones(10)},
    "DataParallel": lambda s: {"epoch": 3, "best_acc1": 0.5, "state_dict": with_front(s, "module.")},
    "compiled and parallel": lambda s: {"model": with_front(s, "_orig_mod.module.")},
    "Lightning": lambda s: {
        "state_dict": {**with_front(s, "backbone."), "projection_head.layers.0.weight": torch.ones(4, 16)},
        "hyper_parameters": {"lr": 0.1},
    },
    "MoCo": lambda s: {
        "state_dict": {
            **with_front(moved(s), "module.encoder_k."),
            **with_front(s, "module.encoder_q."),
            "module.encoder_q.fc.0.weight": torch.ones(16, 16),
            "module.queue": torch.ones(4, 5),
        }
    },
    "student and teacher": lambda s: {
        "student": with_front(moved(s), "module.backbone."),
        "teacher": with_front(s, "backbone."),
    },
    "averaged": lambda s: {"state_dict": moved(s), "state_dict_ema": s},
    "momentum encoder": lambda s: {**with_front(moved(s), "momentum_encoder."), **with_front(s, "encoder.")},
    "momentum backbone": lambda s: {
        "state_dict": {**with_front(moved(s), "momentum_backbone."), **with_front(s, "backbone.")}
    },
    "children of a Sequential": sequential,
    "VISSL": lambda s: {
        "classy_state_dict": {"base_model": {"model": {"trunk": with_front(s, "_feature_blocks."), "heads": {}}}}
    },
    "half precision": lambda s: {k: v.half() if v.is_floating_point() else v for k, v in s.items()},
}


def hwio(state):
    """Arrays in a tree without the names of the network, kernels as JAX has them, no counters."""
    tree = {}
    for i, value in enumerate(v for k, v in state.items() if "num_batches" not in k):
        turned = value.permute(2, 3, 1, 0).contiguous() if value.ndim == 4 else value
        tree.setdefault(f"layer{i // 5:02}", {})[f"array{i:03}"] = turned
    return {"params": tree, "step": 3}


def in_order(state):
    """Names that say nothing, and two more tensors at the end."""
    found = {f"tensor{i:03}": value for i, (key, value) in enumerate(state.items()) if "num_batches" not in key}
    return {**found, "tensor998": torch.ones(10, 16), "tensor999": torch.ones(10)}


ORDERS = {"HWIO": hwio, "in order": in_order}
