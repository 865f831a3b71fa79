"""The few-shot regime on the command line: from arguments to a config, from results to a table."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fewshot_bn.cli import many_shot
from fewshot_bn.cli.options import flag_of
from fewshot_bn.cli.settings import Texts, with_texts
from fewshot_bn.config import FewShotConfig
from fewshot_bn.errors import UsageError

if TYPE_CHECKING:
    from fewshot_bn.adapters import Adapter
    from fewshot_bn.results.result import Result


def config_of(given: Mapping[str, Any], texts: Texts) -> FewShotConfig:
    """`given` are the options that are given, `texts` the settings. Raises `UsageError` where they make no config."""
    for field in many_shot.options():
        if field.name in given:
            raise UsageError(f"{flag_of(field)} belongs to --regime many-shot, and these are few-shot episodes")
    baseline = None if given.get("baseline") == "none" else given.get("baseline", "lr")
    adapters = _adapters([*([baseline] if baseline else []), *given.get("modes", ["bn"])], texts)
    named = {"modes": adapters, "baseline": next(iter(adapters)) if baseline else None}
    return FewShotConfig(**{**given, **named})


def _adapters(modes: Sequence[str], texts: Texts) -> "dict[str, Adapter]":
    """Each once, with the settings that are given as text."""
    from fewshot_bn.adapters.own import adapter_of

    found = [adapter_of(mode) for mode in dict.fromkeys(modes)]
    adapters = {name: with_texts(name, adapter, texts.get(name, {})) for name, adapter in found}
    if len(adapters) < len(found):
        raise UsageError(f"two of the modes have one name ({', '.join(name for name, _ in found)}); rename a class")
    unused = texts.keys() - adapters.keys()
    if unused:
        raise UsageError(f"--set names {min(unused)!r}, which is not a mode of this run ({', '.join(adapters)})")
    return adapters


def line(result: "Result", config: FewShotConfig) -> str:
    """What is said as soon as one result is complete."""
    from fewshot_bn.reports.text import headlines

    shots = f" {result.shape['n_support']}-shot" if result.shape else ""
    return f"{result.mode}{shots}: {headlines(result, config.metrics)}"


def table(results: "Sequence[Result]", config: FewShotConfig) -> str:
    from fewshot_bn.reports.text import few_shot_table

    return few_shot_table(results, config.baseline, config.metrics)
