"""The many-shot regime on the command line: from arguments to a config, from results to a table."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fewshot_bn.cli.options import flag_of
from fewshot_bn.cli.settings import Texts, with_texts
from fewshot_bn.config import FewShotConfig, ManyShotConfig
from fewshot_bn.errors import UsageError, unknown

if TYPE_CHECKING:
    from fewshot_bn.results.result import ManyShotResult


def config_of(given: Mapping[str, Any], texts: Texts) -> ManyShotConfig:
    """`given` are the options that are given, `texts` the settings. Raises `UsageError` where they make no config."""
    from fewshot_bn.evaluation.linear import CLASSIFIERS

    own = {field.name for field in dataclasses.fields(ManyShotConfig)}
    modes: Sequence[str] = given.get("modes", tuple(CLASSIFIERS))
    of_episodes = {field.name: field for field in dataclasses.fields(FewShotConfig) if field.name not in own}
    wrong = [flag_of(field) for name, field in of_episodes.items() if given.get(name, field.default) != field.default]
    wrong += [] if set(modes) <= CLASSIFIERS.keys() else ["--mode"]
    if wrong:
        alone = f"--regime many-shot evaluates mode {', '.join(CLASSIFIERS)} alone"
        raise UsageError(f"{wrong[0]} belongs to few-shot episodes; {alone}")
    for name in texts:
        if name not in CLASSIFIERS:
            raise unknown("mode of --regime many-shot", name, CLASSIFIERS)
    classifiers = {name: with_texts(name, CLASSIFIERS[name], texts.get(name, {})) for name in modes}
    return ManyShotConfig(**{name: value for name, value in given.items() if name in own} | {"modes": classifiers})


def line(result: "ManyShotResult", config: ManyShotConfig) -> str:
    """Nothing: its table is short."""
    del result, config
    return ""


def table(results: "Sequence[ManyShotResult]", config: ManyShotConfig) -> str:
    from fewshot_bn.reports.text import many_shot_table

    del config
    return many_shot_table(results)
