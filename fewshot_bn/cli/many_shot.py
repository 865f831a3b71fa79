"""The many-shot regime on the command line: from arguments to a config, from results to a table."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fewshot_bn.cli.grids import grids_of
from fewshot_bn.cli.options import flag_of
from fewshot_bn.cli.settings import Texts, with_texts
from fewshot_bn.config import FewShotConfig, ManyShotConfig
from fewshot_bn.errors import UsageError, unknown

if TYPE_CHECKING:
    from fewshot_bn.results.many_shot import ManyShotResult


def options() -> list["dataclasses.Field[Any]"]:
    """The fields of the config that few-shot work has not."""
    of_episodes = {field.name for field in dataclasses.fields(FewShotConfig)}
    return [field for field in dataclasses.fields(ManyShotConfig) if field.name not in of_episodes]


def config_of(given: Mapping[str, Any], texts: Texts) -> ManyShotConfig:
    """`given` are the options that are given, `texts` the settings. Raises `UsageError` where they make no config."""
    from fewshot_bn.evaluation.many_shot.modes import CLASSIFIERS

    own = {field.name for field in dataclasses.fields(ManyShotConfig)}
    of_episodes = {field.name: field for field in dataclasses.fields(FewShotConfig) if field.name not in own}
    wrong = [flag_of(field) for name, field in of_episodes.items() if given.get(name, field.default) != field.default]
    if wrong:
        raise UsageError(f"{wrong[0]} belongs to few-shot episodes, of which --regime many-shot has none")
    baseline = None if given.get("baseline") == "none" else given.get("baseline", "lr")
    modes = dict.fromkeys([*([baseline] if baseline else []), *given.get("modes", ["lr"])])
    for name in modes:
        if name not in CLASSIFIERS:
            raise unknown("mode of --regime many-shot", name, CLASSIFIERS)
    if unused := texts.keys() - modes.keys():
        raise UsageError(f"--set names {min(unused)!r}, which is not a mode of this run ({', '.join(modes)})")
    classifiers = {name: with_texts(name, CLASSIFIERS[name], texts.get(name, {})) for name in modes}
    grid = grids_of(given.get("grid", ()), classifiers)
    chosen = {"modes": classifiers, "baseline": baseline, "grid": grid or None}
    return ManyShotConfig(**{name: value for name, value in given.items() if name in own} | chosen)


def line(result: "ManyShotResult", config: ManyShotConfig) -> str:
    """Nothing: its table is short."""
    del result, config
    return ""


def table(results: "Sequence[ManyShotResult]", config: ManyShotConfig) -> str:
    from fewshot_bn.reports.many_shot import many_shot_table

    return many_shot_table(results, config.baseline)
