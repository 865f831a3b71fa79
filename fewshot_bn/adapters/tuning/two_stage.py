"""Networks side by side (`a+b`), each tuned by itself before all of them classify together.

First stage: every member is tuned with the same settings on the same support set, on the images as it takes them, as if
it were alone. Second stage: in each view a probe is solved on the tuned features of all members, side by side; or the
trained heads are averaged: on features side by side, the heads of n members with weights and bias divided by n are one
head that gives the mean of their scores.

Members come one after the other, so there is memory for the largest of them, and time for the sum.

A scope of patterns names layers or parameters with the place of the member in front (`0.layer4.*,1.*`) and has to name
some of every member.

Shapes: x_s [e n 3 h w], y_s [e n], x_q [e q 3 h w]; features of a member [e b d].
Source: two-stage fine-tuning of concatenated networks: Zhang and Bottou 2023, arXiv:2212.07346.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from fewshot_bn.adapters.contract import Fit
from fewshot_bn.adapters.tuning.adapted import Adapted, Episodes, fit_of
from fewshot_bn.adapters.tuning.readout import mean_probabilities, read_out
from fewshot_bn.backbones.backbone import Backbone
from fewshot_bn.backbones.concatenation import SideBySide, check_one_geometry
from fewshot_bn.errors import UsageError


@dataclass(frozen=True, slots=True)
class Chosen:
    """A backbone that is tuned, and the names of what is changed of it."""

    backbone: Backbone
    names: Sequence[str]


def member_stages(backbone: Backbone, names: Sequence[str]) -> list[Chosen]:
    """The members, and which of the `names` are theirs, as they name them.

    Raises `UsageError` where there are no members or where nothing of one is named, and `ModelError` where they see
    images of different geometry.
    """
    check_one_geometry(backbone)
    if not backbone.members:
        raise UsageError(
            f"{backbone.name}: members=two-stage, but it is a single network; name several with a plus between them "
            "(--model a+b), or take members=joint"
        )
    stages = []
    for place, (member, network) in enumerate(zip(backbone.members, _side_by_side(backbone), strict=True)):
        own = [name.removeprefix(f"{place}.") for name in names if name.startswith(f"{place}.")]
        if not own:
            raise UsageError(
                f"{backbone.name}: members=two-stage, but scope names nothing of member {place} ({member.name}); add a "
                f"pattern that does, such as {place}.*, or take members=joint"
            )
        stages.append(Chosen(replace(member, module=network), own))  # that of `backbone` may be on another device
    return stages


def seen_by_members(backbone: Backbone, episodes: Episodes) -> Iterator[Episodes]:
    """The same episodes with the images as each member takes them."""
    whole = _side_by_side(backbone)
    for place in range(len(whole)):
        yield replace(episodes, x_s=whole.seen_by(place, episodes.x_s), x_q=whole.seen_by(place, episodes.x_q))


def classify_by_all(
    adapt: Callable[[Backbone, Sequence[str], Episodes], Adapted],
    stages: Sequence[Chosen],
    episodes: Iterator[Episodes],
) -> Fit:
    """The scores of the queries by all members together, each adapted when its turn comes, to its own images.

    Steps are those of all members. An episode has converged if the readout is solved and its scores are finite.
    """
    scores: list[list[Tensor]] = []
    features: list[list[tuple[Tensor, Tensor]]] = []
    steps = []
    for stage, seen in zip(stages, episodes, strict=True):
        member = adapt(stage.backbone, stage.names, seen)
        steps.append(member.steps)
        settings, y_s = member.settings, member.support.y
        with torch.no_grad():
            if settings.readout == "head":
                scores.append(list(member.head_scores(seen.x_q)))
            else:
                features.append(list(member.views(seen.x_q)))
        del member  # before the next one is adapted
    total = torch.stack(steps).sum(0)
    if scores:
        means = [torch.stack(view).mean(0) for view in zip(*scores, strict=True)]
        return fit_of(mean_probabilities(means), total)
    views = (
        (torch.cat([z_s for z_s, _ in view], -1), torch.cat([z_q for _, z_q in view], -1))
        for view in zip(*features, strict=True)
    )
    with torch.no_grad():
        logits, solved = read_out(settings.readout, views, y_s)
    return fit_of(logits, total, solved)


def _side_by_side(backbone: Backbone) -> SideBySide:
    if not isinstance(backbone.module, SideBySide):
        raise UsageError(f"{backbone.name}: is no concatenation of networks, so it cannot be tuned in two stages")
    return backbone.module
