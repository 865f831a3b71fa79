"""ResNets of self-supervised learning. Each function takes the state of torchvision's network without its head."""

import torch


def with_front(state, front):
    return {front + key: value for key, value in state.items()}


def moco(state):
    """Query and key encoder with their projections, the queue, and the optimiser beside them."""
    heads = {"fc.0.weight": torch.ones(2048, 2048), "fc.2.bias": torch.ones(128)}
    encoder = {**state, **heads}
    both = {**with_front(encoder, "module.encoder_q."), **with_front(encoder, "module.encoder_k.")}
    moved = {key: value + 1 if "encoder_k" in key else value for key, value in both.items()}
    queue = {"module.queue": torch.ones(128, 4), "module.queue_ptr": torch.zeros(1, dtype=torch.int64)}
    optimizer = {"state": {0: {"momentum_buffer": torch.ones(2)}}, "param_groups": [{"lr": 0.03}]}
    return {"epoch": 800, "arch": "resnet50", "state_dict": {**moved, **queue}, "optimizer": optimizer}


def supervised(state):
    return {**state, "fc.weight": torch.ones(1000, 2048), "fc.bias": torch.ones(1000)}


def mmselfsup(state):
    """What every network of that toolbox is saved as: backbone, neck and head of one algorithm."""
    heads = {"neck.fc0.weight": torch.ones(2, 2), "head.fc_cls.bias": torch.ones(3)}
    return {"meta": {"epoch": 200}, "state_dict": {**with_front(state, "backbone."), **heads}}


LAYOUTS = {"moco-v2": moco, "supervised": supervised}
