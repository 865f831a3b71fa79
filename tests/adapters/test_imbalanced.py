"""Every adapter on episodes whose classes have unequal numbers of support images, other ones in each episode."""

import pytest
import torch
from reference.problems import adapter_problem

from fewshot_bn.adapters import ADAPTERS, make_adapter
from fewshot_bn.adapters.checks import Problem, answers_in_shape, is_inductive_unless_it_says_so, treats_episodes_alone

Y_S = torch.tensor([[0] * 10 + [1, 2], [0] * 4 + [1] * 4 + [2] * 4, [0, 0, 1] + [2] * 9, [0] + [1] * 6 + [2] * 5])
SLOW = {name for name, adapter in ADAPTERS.items() if adapter.takes == "images"} - {"bn"}
every_adapter = pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.full] * (name in SLOW)) for name in ADAPTERS]
)


@every_adapter
def test_episodes_of_unequal_balance_share_a_batch(name):
    """Those that the balance of another episode would change are told from a batch of one."""
    *backbone, x_s, _, x_q = adapter_problem(name, n_episodes=4, n_support=4, n_query=3)
    means = torch.stack([x_s.unflatten(1, (3, 4)).mean(2)[e, Y_S[e]] for e in range(4)])
    noise = torch.randn(x_s.shape, generator=torch.Generator().manual_seed(5))
    problem = Problem(means + 0.5 * noise, Y_S, x_q, *backbone)
    adapter = make_adapter(name, **({"epochs": 2} if backbone else {}))
    for check in (answers_in_shape, treats_episodes_alone, is_inductive_unless_it_says_so):
        check(adapter, problem)


@pytest.mark.parametrize("name", [name for name, adapter in ADAPTERS.items() if adapter.takes == "features"])
def test_a_class_of_one_image_is_not_given_up(name):
    """Far apart, all queries are right whatever the balance."""
    generator = torch.Generator().manual_seed(3)
    centres = 10 * torch.eye(3, 6)
    y_s, y_q = Y_S, torch.arange(3).repeat_interleave(5).expand(4, -1)
    z_s, z_q = (centres[y] + 0.3 * torch.randn(*y.shape, 6, generator=generator) for y in (y_s, y_q))
    adapter = make_adapter(name, k=1) if name == "knn" else make_adapter(name)
    assert torch.equal(adapter(z_s, y_s, z_q).logits.argmax(-1), y_q)
