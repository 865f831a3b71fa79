"""The verbs of data.py that are about episodes: keep them in files, and look at one. Each returns its exit status."""

import io
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fewshot_bn.curation import WRONG, carded, open_named
from fewshot_bn.datasets import Dataset, DatasetCard
from fewshot_bn.episodes import (
    Episodes,
    EpisodeShape,
    Plan,
    frozen_list,
    make_plan,
    read_list,
    sample,
    sample_disjoint,
    write_list,
)
from fewshot_bn.episodes.lists import EpisodeList
from fewshot_bn.episodes.plan import N_EPISODES
from fewshot_bn.errors import DataError, ResultError, UsageError
from fewshot_bn.files import replace_file

if TYPE_CHECKING:
    from PIL.Image import Image

    from fewshot_bn.results import Result


def episodes(arguments: Namespace) -> int:
    if arguments.verify:
        return _verify(read_list(arguments.verify), open_named(arguments))
    shape, plan = _shape(arguments), _plan(arguments)
    drawn: dict[str, Any] = {
        "dataset": arguments.dataset,
        "seed": plan.seed,
        "kind": plan.kind,
        "by_group": plan.by_group,
    }
    if arguments.ranks:
        card = carded(arguments.dataset)
        found, classes, ids = _by_counts(card, plan, shape, arguments.n_episodes), card.classes, None
    else:
        dataset = open_named(arguments)
        found, ids = plan.draw(dataset, shape, arguments.n_episodes), dataset.ids
        classes = dict(zip(dataset.class_names, dataset.class_sizes, strict=True))
        drawn |= {"dataset": dataset.name, "fingerprint": dataset.fingerprint}
    shown = f"{shape.n_way}way_{shape.n_support}shot_{shape.n_query}query_seed{plan.seed}"
    path = arguments.output or Path(f"{drawn['dataset']}_{shown}.jsonl")
    write_list(path, found, classes, ids=ids, drawn=drawn)
    print(f"{len(found)} episodes are in {path}")
    return 0


def show(arguments: Namespace) -> int:
    from fewshot_bn.contact_sheet import draw_sheet

    dataset, number = open_named(arguments), arguments.episode
    predicted, title = None, f"{dataset.name}, episode {number}"
    if arguments.result:
        from fewshot_bn.results import read_to_go_on

        result = read_to_go_on(arguments.result)
        whole = _episodes_of(result, arguments, dataset)
        predicted = result.measures["predicted"][number] if 0 <= number < len(whole) else None
        title += f", {result.identity['adapter']['name']} on {result.identity['backbone']['name']}"
    else:
        whole = _plan(arguments).first(dataset, _shape(arguments), max(1, number + 1))
    if not 0 <= number < len(whole):
        raise UsageError(f"--episode is {number}; there are episodes 0 to {len(whole) - 1}")
    path = arguments.output or Path(f"{dataset.name}_episode{number}.png")
    _save(draw_sheet(dataset, whole[number : number + 1], title, predicted), path)
    print(f"episode {number} of {dataset.name} is in {path}")
    return 0


def _shape(arguments: Namespace) -> EpisodeShape:
    return EpisodeShape(arguments.n_way, arguments.n_support, arguments.n_query)


def _plan(arguments: Namespace) -> Plan:
    if getattr(arguments, "frozen", False):
        if arguments.episodes != "random" or arguments.by_group or arguments.ranks:
            raise UsageError("--frozen is a list of its own; it goes with none of --episodes, --by-group and --ranks")
        return Plan(kind="list", listed=frozen_list(arguments.dataset))
    return make_plan(arguments.episodes, seed=arguments.seed, by_group=arguments.by_group)


def _by_counts(card: DatasetCard, plan: Plan, shape: EpisodeShape, n_episodes: int | None) -> Episodes:
    """Episodes of a dataset that need not be there: its card says how many images each class has."""
    if not card.classes or plan.by_group or plan.kind == "list":
        why = "--ranks draws random or disjoint episodes" if card.classes else "its card does not say how many images"
        raise UsageError(f"{card.name}: {why}; leave --ranks out, and draw from the files")
    sizes, names = list(card.classes.values()), list(card.classes)
    if plan.kind == "disjoint":
        return sample_disjoint(sizes, shape, seed=plan.seed, n_episodes=n_episodes)
    return sample(sizes, shape, seed=plan.seed, n_episodes=n_episodes or N_EPISODES, class_names=names)


def _verify(listed: EpisodeList, dataset: Dataset) -> int:
    wrong = list(_wrong(listed, dataset))
    for text in wrong:
        print(f"wrong: {text}")
    if wrong:
        return WRONG
    shape = listed.shape
    print(
        f"{listed.path}: {len(listed.listed)} {shape.n_way}-way episodes of {shape.n_support} support and "
        f"{shape.n_query} query images of {dataset.name}: nothing is wrong"
    )
    return 0


def _wrong(listed: EpisodeList, dataset: Dataset) -> Iterator[str]:
    wrong = [*listed.problems(), *(f"not in the data: {image}" for image in listed.absent(dataset))]
    yield from wrong
    if wrong or listed.header.get("kind") not in ("random", "disjoint"):
        return
    plan = Plan(listed.header["seed"], listed.header["kind"], bool(listed.header["by_group"]))
    if listed.header.get("fingerprint") not in (None, dataset.fingerprint):
        yield "the list was drawn from other files (another fingerprint), so it cannot be drawn anew"
        return
    own, anew = listed.episodes(dataset), plan.first(dataset, listed.shape, len(listed.listed))
    same = (own.support == anew.support).all((1, 2)) & (own.query == anew.query).all((1, 2))
    if not same.all():
        yield f"episode {int(np.argmin(same))} is the first that is not as its header says: drawn with seed {plan.seed}"


def _episodes_of(result: "Result", arguments: Namespace, dataset: Dataset) -> Episodes:
    """Those that a result is of. Raises `ResultError` where the dataset is another."""
    path, identity = arguments.result, result.identity
    if "shard" in identity:
        raise ResultError(f"{path}: is a shard; run the same command without --shard, which merges them")
    kind = identity.get("episodes", {"kind": "random", "by_group": False})
    plan = _plan(arguments) if kind["kind"] == "list" else Plan(identity["seed"], kind["kind"], kind["by_group"])
    try:
        found = plan.first(dataset, EpisodeShape(**identity["shape"]), len(result))
    except DataError as problem:
        raise ResultError(f"{path}: is of other data: {problem}") from problem
    if found.fingerprint != result.episodes:
        raise ResultError(
            f"{path}: its episodes are not those of {dataset.name}; name its dataset, and its list if any"
        )
    return found


def _save(sheet: "Image", path: Path) -> None:
    file = io.BytesIO()
    sheet.save(file, "PNG")
    try:
        replace_file(path, file.getvalue())
    except OSError as problem:
        raise DataError(f"{path}: cannot be written: {problem.strerror}") from problem
