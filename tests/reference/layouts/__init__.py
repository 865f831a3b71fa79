"""Raw checkpoints as their publishers lay them out, made of the weights of a network, by the name of the card.

They are written from what is known of the publisher's files, never from the rules of the card.
"""

from reference.layouts import resnets

LAYOUTS = {**resnets.LAYOUTS}
