import torch

from fewshot_bn.adapters import make_adapter


def test_distances_equal_a_plain_loop_far_from_the_origin():
    generator = torch.Generator().manual_seed(0)
    z_s, z_q = (torch.randn(3, n, 10, generator=generator, dtype=torch.float64) + 1e4 for n in (7, 4))
    y_s = torch.tensor([[0, 1, 1, 2, 2, 2, 0], [2, 1, 0, 1, 0, 2, 1], [0, 0, 0, 0, 0, 1, 2]])
    logits = make_adapter("proto")(z_s, y_s, z_q).logits
    for e in range(3):
        for q in range(4):
            for k in range(3):
                prototype = z_s[e][y_s[e] == k].mean(0)
                assert torch.isclose(-((z_q[e, q] - prototype) ** 2).sum(), logits[e, q, k], rtol=1e-8)
