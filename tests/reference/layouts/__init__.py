"""Raw checkpoints as their publishers lay them out, made of the weights of a network, by the name of the card.

They are written from what is known of the publisher's files, never from the rules of the card. `FORMS` has other files
of the same network, by card and the name of the form.
"""

import numpy as np
import torch
from reference.layouts import jax, others, resnets, toolboxes

LAYOUTS = {**resnets.LAYOUTS, **jax.LAYOUTS, **toolboxes.LAYOUTS, **others.LAYOUTS}
FORMS = {**resnets.FORMS, **jax.FORMS, **toolboxes.FORMS, **others.FORMS}


def write(content, path):
    """As the ending of its name says; bytes as they are."""
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif path.suffix == ".npz":
        np.savez(path, **{key: np.asfortranarray(value) for key, value in content.items()})
    else:
        torch.save(content, path)
