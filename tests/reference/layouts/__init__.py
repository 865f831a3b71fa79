"""Raw checkpoints as their publishers lay them out, made of the weights of a network, by the name of the card.

They are written from what is known of the publisher's files, never from the rules of the card.
"""

import numpy as np
import torch
from reference.layouts import others, resnets

LAYOUTS = {**resnets.LAYOUTS, **others.LAYOUTS}


def write(content, path):
    """As the ending of its name says."""
    if path.suffix == ".npz":
        np.savez(path, **{key: np.asfortranarray(value) for key, value in content.items()})
    else:
        torch.save(content, path)
