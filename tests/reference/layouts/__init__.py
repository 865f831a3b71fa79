"""Raw checkpoints as their publishers lay them out, made of the weights of a network, by the name of the card.

They are written from what is known of the publisher's files, never from the rules of the card. `FORMS` has other files
of the same network, by card and the name of the form.
"""

from reference.layouts import jax, resnets, toolboxes

LAYOUTS = {**resnets.LAYOUTS, **jax.LAYOUTS, **toolboxes.LAYOUTS}
FORMS = {**resnets.FORMS, **jax.FORMS, **toolboxes.FORMS}
