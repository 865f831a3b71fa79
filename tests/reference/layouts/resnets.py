"""ResNets of self-supervised and supervised learning. Each function takes the state of a network without its head."""

from argparse import Namespace

import torch

STAGES = range(1, 5)


def with_front(state, front):
    return {front + key: value for key, value in state.items()}


def moved(state):
    """Another network of the same shape, which must not be taken for the one that is wanted."""
    return {key: value + 1 for key, value in state.items()}


OPTIMIZER = {"state": {0: {"momentum_buffer": torch.ones(2)}}, "param_groups": [{"lr": 0.03}]}


def moco(state):
    """Query and key encoder with their projections, the queue, and the optimiser beside them. PCL has the same."""
    heads = {"fc.0.weight": torch.ones(2, 2), "fc.0.bias": torch.ones(2), "fc.2.bias": torch.ones(2)}
    query, key = {**state, **heads}, {**moved(state), **heads}
    encoders = {**with_front(query, "module.encoder_q."), **with_front(key, "module.encoder_k.")}
    queue = {"module.queue": torch.ones(128, 4), "module.queue_ptr": torch.zeros(1, dtype=torch.int64)}
    return {"epoch": 800, "arch": "resnet50", "state_dict": {**encoders, **queue}, "optimizer": OPTIMIZER}


def moco_v1(state):
    content = moco(state)
    for encoder in ("module.encoder_q", "module.encoder_k"):
        for key in ("fc.0.weight", "fc.0.bias", "fc.2.bias"):
            del content["state_dict"][f"{encoder}.{key}"]
        content["state_dict"] |= {f"{encoder}.fc.weight": torch.ones(2, 2), f"{encoder}.fc.bias": torch.ones(2)}
    return content


def pycontrast(state):
    """The options of the run, the encoder and its head, and a bank of memory beside them."""
    heads = {"module.head.0.weight": torch.ones(2, 2), "module.head.0.bias": torch.ones(2)}
    model = {**with_front(state, "module.encoder."), **heads}
    return {"opt": Namespace(arch="resnet50"), "model": model, "contrast": {"memory": torch.ones(3)}, "epoch": 200}


def pycontrast_jigsaw(state):
    """The same with heads of two layers, those of the jigsaw stream, and an average of the weights."""
    content = pycontrast(state)
    jigsaw = ("fc1.0.weight", "fc1.2.bias", "fc2.weight", "fc2.bias")
    content["model"] |= {f"module.head_jig.{key}": torch.ones(2) for key in jigsaw}
    content["model"]["module.head.2.weight"] = torch.ones(2, 2)
    return {**content, "model_ema": with_front(moved(state), "encoder.")}


def swav(state):
    """Nothing but the network, its projection and its prototypes."""
    layers = ("0.weight", "0.bias", "1.weight", "1.running_var", "3.weight")
    projection = {f"module.projection_head.{key}": torch.ones(2) for key in layers}
    return {**with_front(state, "module."), **projection, "module.prototypes.weight": torch.ones(3, 2)}


def deepcluster(state):
    content = swav(state)
    del content["module.prototypes.weight"]
    return {**content, **{f"module.prototypes.prototypes{i}.weight": torch.ones(3, 2) for i in range(3)}}


def with_classifier(state):
    return {**state, "fc.weight": torch.ones(10, 2), "fc.bias": torch.ones(10)}


def in_state_dict(state):
    return {"state_dict": with_classifier(state)}


def simclr_v2(state):
    """The network of the converter: `net` is the stem and four stages of blocks, each with a `net` of its own."""
    parts = {"conv1": "net.0", "bn1": "net.1.0", "conv2": "net.2", "bn2": "net.3.0", "conv3": "net.4", "bn3": "net.5.0"}
    shortcut = {"downsample.0": "projection.shortcut", "downsample.1": "projection.bn.0"}
    network = {}
    for key, value in state.items():
        name = key.replace("conv1.", "net.0.0.") if key.startswith("conv1.") else key.replace("bn1.", "net.0.1.0.")
        if key.startswith("layer"):
            layer, block, rest = key.split(".", 2)
            old = next(part for part in {**parts, **shortcut} if rest.startswith(part))
            name = f"net.{layer[-1]}.blocks.{block}.{ {**parts, **shortcut}[old] }{rest.removeprefix(old)}"
        network[name] = value
    head = {"layers.0.weight": torch.ones(2, 2), "layers.1.running_mean": torch.ones(2)}
    return {"resnet": with_classifier(network), "head": head}


def as_it_is(state):
    return dict(state)


def siamese(state):
    """Barlow Twins and VICReg while they train: backbone, projector, normalisation of the embeddings, optimiser."""
    others = {"module.projector.0.weight": torch.ones(2, 2), "module.projector.1.running_mean": torch.ones(2)}
    return {"epoch": 1000, "model": {**with_front(state, "module.backbone."), **others}, "optimizer": OPTIMIZER}


def barlow_full(state):
    content = siamese(state)
    content["model"] |= {"module.bn.running_mean": torch.ones(2), "module.bn.running_var": torch.ones(2)}
    return content


def rich(state):
    """A network in a list of one, its classifier beside it, both in a parallel wrapper."""
    classifier = {f"module.classifier.linear.{key}": torch.ones(2) for key in ("weight", "bias")}
    scheduler = {"milestones": {30: 1, 60: 1}, "last_epoch": 90}
    weights = {**with_front(state, "module.model0."), **classifier}
    return {"epoch": 90, "state_dict": weights, "optimizer": OPTIMIZER, "scheduler": scheduler, "best_acc": 77.1}


def rich_plain(state):
    return {"epoch": 90, "state_dict": with_front(with_classifier(state), "module.")}


LAYOUTS = {
    "insdis": pycontrast,
    "pirl": pycontrast_jigsaw,
    "infomin": pycontrast_jigsaw,
    "moco-v1": moco_v1,
    "moco-v2": moco,
    "pcl-v1": moco_v1,
    "pcl-v2": moco,
    "sela-v2": deepcluster,
    "deepcluster-v2": deepcluster,
    "swav": swav,
    "swav-w2": swav,
    "swav-w4": swav,
    "swav-w5": swav,
    "simclr-v1": in_state_dict,
    "simclr-v2": simclr_v2,
    "supervised": with_classifier,
    "barlow-twins": as_it_is,
    "vicreg": as_it_is,
    "vicreg-w2": as_it_is,
    "vicreg-200-w2": as_it_is,
    "dino-resnet50": as_it_is,
    "rich-w2": rich,
    "rich-w4": rich,
    "rich-2x": rich,
    "rich-4x": rich,
    "rich-resnet50": rich,
    "rich-distill5": rich,
}

FORMS = {
    ("barlow-twins", "full"): barlow_full,
    ("vicreg", "full"): siamese,
    ("vicreg-w2", "full"): siamese,
    ("vicreg-200-w2", "full"): siamese,
    ("rich-resnet50", "plain"): rich_plain,
    ("rich-distill5", "plain"): rich_plain,
}
