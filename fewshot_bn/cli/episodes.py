"""The verbs of data.py that are about episodes: keep them in files, and look at one. Each returns its exit status."""

import io
import re
import shlex
from argparse import Namespace
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from fewshot_bn.cli.datasets import WRONG, carded, open_named
from fewshot_bn.datasets import Dataset, DatasetCard
from fewshot_bn.episodes import Episodes, EpisodeShape, Plan, frozen_list, make_plan, read_list, write_list
from fewshot_bn.episodes.imbalanced import Sharing
from fewshot_bn.episodes.lists import EpisodeList
from fewshot_bn.episodes.plan import KINDS, N_EPISODES, plan_of, sharing_parts
from fewshot_bn.errors import DataError, FewshotError, ResultError, UsageError
from fewshot_bn.files.atomic import replace_file

if TYPE_CHECKING:
    from PIL.Image import Image

    from fewshot_bn.results.result import Result


def episodes(arguments: Namespace) -> int:
    if arguments.verify:
        if arguments.frozen or arguments.ranks or arguments.output:
            raise UsageError("--verify writes no list; leave --frozen, --ranks and --output out")
        return _verify(read_list(arguments.verify), open_named(arguments))
    plan = _plan(arguments)
    shape = _shape(arguments, plan)
    drawn: dict[str, Any] = {"seed": plan.seed, "kind": plan.kind, "by_group": plan.by_group}
    if plan.shared and shape:
        drawn |= {**plan.shared, "shape": asdict(shape)}
    if arguments.ranks:
        card = carded(arguments.dataset)
        found, classes, ids = _by_counts(card, plan, shape, arguments.n_episodes), card.classes, None
        drawn = {"dataset": card.name, **drawn}
    else:
        dataset = open_named(arguments)
        found, ids = plan.draw(dataset, shape, arguments.n_episodes), dataset.ids
        classes = dict(zip(dataset.class_names, dataset.class_sizes, strict=True))
        drawn = {"dataset": dataset.name, **drawn, "fingerprint": dataset.fingerprint}
    path = arguments.output or default_file(drawn["dataset"], *_parts(shape, plan))
    write_list(path, found, classes, ids=ids, drawn=drawn)
    print(f"{len(found)} episodes are in {path}")
    numbers = asdict(own) if (own := read_list(path).shape) else {}
    options = {f"--{name.replace('_', '-')}": n for name, n in numbers.items()}
    root = {"--data-root": arguments.data_root} if arguments.data_root else {}
    options = {"--dataset": arguments.dataset, **root, **options, "--episodes": path}
    words = (str(word) for option in options.items() for word in option)
    print(f"run them: python -m fewshot_bn.eval {shlex.join(words)}")
    return 0


def _parts(shape: EpisodeShape | None, plan: Plan) -> list[str]:
    """The parts of a file name that say which episodes it holds."""
    parts = [f"{shape.n_way}way", f"{shape.n_support}shot", f"{shape.n_query}query"] if shape else []
    if plan.listed:
        return [*parts, "listed"]
    kind = "by-group" if plan.by_group else plan.kind
    return [*parts, *sharing_parts(plan.shared), *([] if kind == "random" else [kind]), f"seed{plan.seed}"]


def default_file(*parts: str, suffix: str = ".jsonl") -> Path:
    """The file in this folder that is written where none is named."""
    return Path("_".join(re.sub(r"[^\w.-]+", "-", part) for part in parts) + suffix)


def _shape(arguments: Namespace, plan: Plan) -> EpisodeShape | None:
    return plan.shapes(arguments.n_way, [arguments.n_support], arguments.n_query)[0]


def _plan(arguments: Namespace) -> Plan:
    balance, alpha = arguments.support_balance, arguments.query_alpha
    if arguments.verb == "episodes" and arguments.frozen:
        if arguments.episodes != "random" or arguments.by_group or arguments.ranks:
            raise UsageError("--frozen is a list of its own; it goes with none of --episodes, --by-group and --ranks")
        return Plan(kind="list", listed=frozen_list(arguments.dataset), sharing=Sharing(balance, alpha))
    return make_plan(
        arguments.episodes, seed=arguments.seed, by_group=arguments.by_group, support_balance=balance, query_alpha=alpha
    )


def _by_counts(card: DatasetCard, plan: Plan, shape: EpisodeShape | None, n_episodes: int | None) -> Episodes:
    """Episodes of a dataset that need not be there: its card says how many images each class has."""
    if not card.classes or plan.by_group or plan.kind == "list":
        why = "--ranks draws random or disjoint episodes" if card.classes else "its card has no images per class"
        raise UsageError(f"{card.name}: {why}; leave --ranks out, and draw from the files")
    try:
        return plan.draw_by_counts(list(card.classes.values()), list(card.classes), shape, n_episodes)
    except DataError as problem:
        raise DataError(f"{card.name}: {problem}") from problem


def _verify(listed: EpisodeList, dataset: Dataset) -> int:
    wrong = list(_wrong(listed, dataset))
    for text in wrong:
        print(f"wrong: {text}")
    if wrong:
        return WRONG
    shape, n = listed.shape, len(listed.listed)
    what = "episodes that vary in their numbers of images"
    if shape:
        what = f"{shape.n_way}-way episodes of {shape.n_support} support and {shape.n_query} query images per class"
    print(f"{listed.path}: {n} {what} of {dataset.name}: nothing is wrong")
    return 0


def _wrong(listed: EpisodeList, dataset: Dataset) -> Iterator[str]:
    """What is wrong with the images of a list, then with what its header says, where it has one."""
    wrong = [*listed.problems(), *(f"not in the data: {image}" for image in listed.absent(dataset))]
    yield from wrong
    header, shape = listed.header, asdict(listed.shape) if listed.shape else {}
    if wrong or not header:
        return
    said = {name: header.get(name) for name in shape}
    if said != shape:
        yield f"its header says {said}, its episodes are {shape}"
    elif header.get("kind") in KINDS:
        yield from _unlike_header(listed, dataset)


def _unlike_header(listed: EpisodeList, dataset: Dataset) -> Iterator[str]:
    """The first episode that is not as the header says, found by drawing them anew."""
    seed, by_group = listed.header.get("seed"), listed.header.get("by_group")
    if listed.header.get("fingerprint") not in (None, dataset.fingerprint):
        yield "all its images are there, but it was drawn from other files: its seed cannot be checked"
        return
    if type(seed) is not int or type(by_group) is not bool:
        yield f"its header has no whole number as seed, or no true or false as by_group: {seed!r}, {by_group!r}"
        return
    try:
        plan, asked = plan_of(listed.header, seed), listed.header.get("shape")
        shape = EpisodeShape(**asked) if asked else None if plan.has_own_shapes else listed.shape
        anew = plan.first(dataset, shape, len(listed.listed))
    except (FewshotError, TypeError) as problem:
        yield f"it cannot be as its header says: {problem}"
        return
    own = listed.episodes(dataset)
    same = [own[e : e + 1].fingerprint == anew[e : e + 1].fingerprint for e in range(len(own))]
    if not all(same):
        yield f"episode {same.index(False)} is the first that is not what seed {seed} gives"


class Shown(NamedTuple):
    """Episodes to choose one from, and of a result what its queries were taken for and by what."""

    episodes: Episodes
    predicted: Sequence[Sequence[int]] = ()
    by: str = ""


def show(arguments: Namespace) -> int:
    from fewshot_bn.reports.contact_sheet import draw_sheet

    dataset, number = open_named(arguments), arguments.episode
    path = arguments.output or default_file(dataset.name, f"episode{number}", suffix=".png")
    if path.suffix.lower() != ".png":
        raise UsageError(f"--output {path}: a contact sheet is a PNG; choose a name that ends in .png")
    shown = _of_result(arguments, dataset) if arguments.result else _drawn(arguments, dataset)
    if number >= len(shown.episodes):
        raise UsageError(f"--episode is {number}; there are episodes 0 to {len(shown.episodes) - 1}")
    predicted = shown.predicted[number] if shown.predicted else None
    _save(draw_sheet(dataset, shown.episodes[number : number + 1], _title(dataset, number, shown), predicted), path)
    print(f"episode {number} of {dataset.name} is in {path}")
    return 0


def _title(dataset: Dataset, number: int, shown: Shown) -> str:
    return ", ".join(part for part in (dataset.name, f"episode {number}", shown.by) if part)


def _drawn(arguments: Namespace, dataset: Dataset) -> Shown:
    plan = _plan(arguments)
    return Shown(plan.first(dataset, _shape(arguments, plan), arguments.n_episodes or N_EPISODES))


def _of_result(arguments: Namespace, dataset: Dataset) -> Shown:
    """What a result file holds. Raises `ResultError` where it is of another dataset, or damaged."""
    from fewshot_bn.results.reading import read_to_go_on

    path, result = arguments.result, read_to_go_on(arguments.result)
    try:
        found = _episodes_of(result, arguments, dataset)
        return Shown(found, result.measures["predicted"], f"{result.mode} on {result.key['backbone']['name']}")
    except (KeyError, TypeError, ValueError, AttributeError) as problem:
        raise ResultError(f"{path}: not a result of episodes, or a damaged one: {problem}") from problem


def _episodes_of(result: "Result", arguments: Namespace, dataset: Dataset) -> Episodes:
    path, key, plan = arguments.result, result.key, _plan(arguments)
    if not len(result):
        raise ResultError(f"{path}: holds no episode yet")
    if "shard" in key:
        raise ResultError(f"{path}: is a shard; run the same command without --shard, which merges them")
    its = key["dataset"]
    if its["fingerprint"] != dataset.fingerprint:
        name = its["name"] if its["name"] != dataset.name else f"{dataset.name} as it was then"
        raise ResultError(f"{path}: is of {name}, not of the files of {dataset.name} that are there; name its dataset")
    kind = key.get("episodes", {"kind": "random", "by_group": False})
    if kind["kind"] != "list":
        plan = plan_of(kind, key["seed"])
    elif plan.listed is None or plan.listed.fingerprint != kind["fingerprint"]:
        raise ResultError(f"{path}: its episodes are those of a list; name that list with --episodes")
    found = plan.first(dataset, EpisodeShape(**key["shape"]) if key["shape"] else None, len(result))
    if found.fingerprint != result.episodes:
        raise ResultError(f"{path}: damaged: its episodes are not those of its seed and dataset")
    return found


def _save(sheet: "Image", path: Path) -> None:
    file = io.BytesIO()
    sheet.save(file, "PNG")
    try:
        replace_file(path, file.getvalue())
    except OSError as problem:
        raise DataError(f"{path}: cannot be written: {problem.strerror}") from problem
