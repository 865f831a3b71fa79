"""Networks of one's own names: CLIP, BiT, DINO, few-shot work, CIFAR, MobileNets. From the state of our network."""

import argparse

import torch

TEXT = {
    "positional_embedding": torch.ones(77, 8),
    "text_projection": torch.ones(8, 4),
    "logit_scale": torch.tensor(4.6),
    "token_embedding.weight": torch.ones(9, 8),
    "transformer.resblocks.0.attn.in_proj_weight": torch.ones(24, 8),
    "ln_final.bias": torch.ones(8),
}
SIZES = {name: torch.tensor(n) for name, n in (("input_resolution", 224), ("context_length", 77), ("vocab_size", 9))}
POOL = {f"attnpool.{part}": torch.ones(4, 4) for part in ("positional_embedding", "q_proj.weight", "c_proj.weight")}
LETTERS = {"1": "a", "2": "b", "3": "c"}


def with_front(state, front):
    return {front + key: value for key, value in state.items()}


def clip(state):
    """The whole of CLIP, as `torch.jit.load("RN50.pt").state_dict()` has it: both towers, sizes as tensors."""
    return {**with_front(state, "visual."), **TEXT, **SIZES}


def clip_before_pooling(state):
    return clip({**state, **POOL})


def tower(state):
    """What `model.visual.state_dict()` gives."""
    return {**state, **POOL} if "attnpool.q_proj.weight" not in state else dict(state)


def bit(state):
    """TensorFlow's names and its order of kernels: height, width, in, out."""
    arrays = {}
    for key, value in state.items():
        parts = key.split(".")
        ending = {"weight": "gamma" if value.ndim == 1 else "kernel", "bias": "beta"}[parts[-1]]
        if parts[0] == "root":
            path = "root_block/standardized_conv2d"
        elif parts[0] == "head":
            path = "group_norm"
        else:
            _, block, unit, layer, _ = parts
            letter = "a/proj" if layer == "downsample" else LETTERS[layer[-1]]
            path = f"{block}/{unit}/{letter}/" + ("group_norm" if layer.startswith("gn") else "standardized_conv2d")
        arrays[f"resnet/{path}/{ending}"] = value.permute(2, 3, 1, 0) if value.ndim == 4 else value
    return {**arrays, "resnet/head/conv2d/kernel": torch.ones(1, 1, 8, 3), "resnet/head/conv2d/bias": torch.ones(3)}


def cdfsl(state):
    heads = {"classifier.weight": torch.ones(64, 512), "classifier.bias": torch.ones(64)}
    return {"epoch": 399, "state": {**with_front(state, "feature."), **heads}}


def rfs(state):
    heads = {"classifier.weight": torch.ones(64, 640), "classifier.bias": torch.ones(64)}
    options = argparse.Namespace(model="resnet12", learning_rate=0.05, lr_decay_epochs=[60, 80], n_gpu=1)
    return {"opt": options, "model": {**state, **heads}}


def metaoptnet(state):
    return {"embedding": state, "head": {"scale": torch.ones(1)}}


def s2m2(state):
    """Of several GPUs; the classifier by cosines has a norm beside its weights, and rotations a classifier too."""
    heads = {"module.linear.L.weight_g": torch.ones(200, 1), "module.linear.L.weight_v": torch.ones(200, 640)}
    rotations = {"0.weight": torch.ones(4, 640), "0.bias": torch.ones(4)}
    return {"epoch": 99, "state": {**with_front(state, "module."), **heads}, "rotate": rotations}


def s2m2_of_one_gpu(state):
    return {"epoch": 99, "state": {**state, "linear.L.weight_g": torch.ones(200, 1)}}


def cifar(state):
    """From before counters of batches were kept."""
    kept = {key: value for key, value in state.items() if not key.endswith("num_batches_tracked")}
    heads = {"module.linear.weight": torch.ones(10, 64), "module.linear.bias": torch.ones(10)}
    return {"state_dict": {**with_front(kept, "module."), **heads}, "best_prec1": 92.6}


def mobilenet_v1(state):
    heads = {"module.fc.weight": torch.ones(1000, 256), "module.fc.bias": torch.ones(1000)}
    optimizer = {"state": {0: {"momentum_buffer": torch.ones(2)}}, "param_groups": [{"lr": 0.1, "params": [0]}]}
    weights = {"state_dict": {**with_front(state, "module."), **heads}, "optimizer": optimizer}
    return {"epoch": 24, "arch": "resnet18", "best_acc1": torch.tensor(46.6), **weights}


def dino_full_checkpoint(state):
    """Student and teacher with their heads; only the student was trained on several GPUs."""
    teacher = {**with_front(state, "backbone."), "head.mlp.0.weight": torch.ones(2, 384)}
    student = {key: value + 1 for key, value in with_front(teacher, "module.").items()}
    return {"student": student, "teacher": teacher, "epoch": 800, "args": argparse.Namespace(arch="vit_small")}


LAYOUTS = {
    "clip-rn50": clip,
    "clip-rn50-pooled": clip_before_pooling,
    "cdfsl-resnet10": cdfsl,
    "conv4-protonet-miniimagenet": dict,
    "resnet12-miniimagenet": rfs,
    "wrn28-10-miniimagenet": s2m2,
    "cifar-resnet20": cifar,
    "cifar-resnet32": cifar,
    "cifar-resnet44": cifar,
    "cifar-resnet56": cifar,
    "mobilenet-v1-025": mobilenet_v1,
    "mobilenet-v2-035": dict,
    "mobilenet-v2-035-plain": dict,
    "bit-m-r50x1": bit,
    "bit-m-r101x1": bit,
    "dino-vits16": dict,
}
FORMS = {
    ("clip-rn50", "tower"): tower,
    ("clip-rn50-pooled", "tower"): tower,
    ("resnet12-miniimagenet", "metaoptnet"): metaoptnet,
    ("wrn28-10-miniimagenet", "one-gpu"): s2m2_of_one_gpu,
    ("dino-vits16", "full-checkpoint"): dino_full_checkpoint,
}
