"""mmselfsup and VISSL: how toolboxes save the networks of many algorithms."""

import re
from functools import reduce

import torch
from reference.layouts.resnets import moved, with_front

MMSELFSUP = ("byol", "densecl", "moco-v2", "npid", "odc", "relative-loc", "rotation-pred", "simclr", "simsiam", "swav")


def mmselfsup(state):
    """Backbone, neck and head of one algorithm, both its encoders in full and its queue."""
    heads = {"neck.fc0.weight": torch.ones(2, 2), "head.fc_cls.bias": torch.ones(3), "queue": torch.ones(2)}
    encoders = {**with_front(state, "encoder_q.0."), **with_front(moved(state), "encoder_k.0.")}
    weights = {**with_front(state, "backbone."), **heads, **encoders, "queue_ptr": torch.zeros(1, dtype=torch.int64)}
    return {"meta": {"epoch": 200}, "state_dict": weights}


def extracted(state):
    """What mmselfsup's tool writes that takes the backbone out."""
    return {"state_dict": dict(state), "author": "MMSelfSup"}


def vissl_regnet(state):
    """A RegNet of ClassyVision in VISSL: stages are blocks of features, and a shortcut has no layer of its own."""
    renames = (
        (r"^stem\.", "_feature_blocks.conv1.stem."),
        (r"^trunk_output\.block(\d)\.", lambda found: f"_feature_blocks.res{int(found[1]) + 1}."),
        (r"\.proj\.0\.", ".proj."),
        (r"\.proj\.1\.", ".bn."),
        (r"\.f\.se\.fc1\.", ".f.se.excitation.0."),
        (r"\.f\.se\.fc2\.", ".f.se.excitation.2."),
        (r"\.f\.c\.0\.", ".f.c."),
        (r"\.f\.c\.1\.", ".f.final_bn."),
    )
    trunk = {}
    for key, value in state.items():
        trunk[reduce(lambda name, rename: re.sub(*rename, name), renames, key)] = value
    model = {"trunk": trunk, "heads": {"0.clf.0.weight": torch.ones(2, 2)}}
    classy = {"base_model": {"model": model, "meters": []}, "train": True}
    return {"phase_idx": 0, "iteration": 244000, "loss": {"buffer": torch.ones(2)}, "classy_state_dict": classy}


SEER = {f"seer-regnet-y-{size}gf": vissl_regnet for size in (32, 64, 128)}
LAYOUTS = {"mmselfsup-resnet50": mmselfsup, **{f"mmselfsup-{name}": mmselfsup for name in MMSELFSUP}, **SEER}
FORMS = {(card, "extracted"): extracted for card in LAYOUTS if card not in SEER}
