"""Random episodes of images for tuners, and what of a backbone they must leave as it was."""

import torch

SEEDS = [11, 5, 2**62]


def problem(n_episodes=3, *, side=8, dtype=torch.float64, seed=0):
    """Six support images of three classes, and five queries."""
    generator = torch.Generator().manual_seed(seed)
    x_s, x_q = (torch.randn(n_episodes, n, 3, side, side, generator=generator, dtype=dtype) for n in (6, 5))
    y_s = torch.tensor([0, 0, 1, 1, 2, 2]).expand(n_episodes, -1).contiguous()
    return x_s, y_s, x_q


def state_of(backbone):
    module = backbone.module
    return (
        {k: v.clone() for k, v in module.state_dict().items()},
        [m.training for m in module.modules()],
        [p.requires_grad for p in module.parameters()],
        [id(m) for m in module.modules()],
        [p.grad for p in module.parameters()],
    )


def assert_same_state(before, after):
    assert all(torch.equal(before[0][k], after[0][k]) for k in before[0])
    assert before[1:] == after[1:]
