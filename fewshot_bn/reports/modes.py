"""What the modes are, what can be set about them and what they are judged by: help text and tables of documentation.

Made from the fields of the adapters (`setting`), `MODES` and `METRICS`, so that each fact is told once.
"""

import dataclasses
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from fewshot_bn.adapters import ADAPTERS, MODES
from fewshot_bn.evaluation.many_shot.linear import LinearEvaluation
from fewshot_bn.evaluation.many_shot.modes import MODES as MANY_SHOT_MODES
from fewshot_bn.evaluation.metrics import METRICS, comparable

WIDTH = 110
COLUMNS = ("bn", "bn-plain", "ft", "ft-plain", "tsa", "lora")  # modes with a column in the table of settings
PROBES = [name for name, adapter in ADAPTERS.items() if adapter.takes == "features"]
TUNERS = [name for name in ADAPTERS if name not in PROBES]


@dataclass(frozen=True, slots=True)
class Entry:
    """Cells in columns, and paragraphs beside them."""

    cells: Sequence[str]
    paragraphs: Sequence[str]


def defaults(adapter: object) -> dict[str, str]:
    """Every setting of a dataclass with its value, written as `--set` takes it."""
    return {field.name: _shown(getattr(adapter, field.name)) for field in _fields(adapter)}


def closest(name: str) -> tuple[str, dict[str, str]] | None:
    """The earlier mode of the same kind that has the fewest other settings, and what `name` sets instead."""
    names, own = list(ADAPTERS), defaults(ADAPTERS[name])
    earlier = [other for other in names[: names.index(name)] if type(ADAPTERS[other]) is type(ADAPTERS[name])]
    changes = {other: dict(own.items() - defaults(ADAPTERS[other]).items()) for other in earlier}
    base = min(changes, key=lambda other: len(changes[other]), default=None)
    return None if base is None else (base, {key: own[key] for key in own if key in changes[base]})


def help_text() -> str:
    """All modes and settings, for a terminal."""
    sections = {
        "modes:": [Entry((name,), [MODES[name].title, *_settings_line(name, "{}")]) for name in ADAPTERS],
        f"settings of {', '.join(PROBES)} (--set MODE.SETTING=VALUE):": _probe_entries(),
        f"settings of {', '.join(TUNERS)}:": _tuning_entries(),
        "modes with --regime many-shot:": [
            Entry((name,), [mode.title, *_many_shot_line(name, "{}")]) for name, mode in MANY_SHOT_MODES.items()
        ],
        "settings of lr with --regime many-shot:": [
            Entry((setting, default), [text]) for setting, default, text, _ in _many_shot_settings()
        ],
    }
    parts = (f"{textwrap.fill(title, WIDTH)}\n{_in_columns(entries)}" for title, entries in sections.items())
    return "\n\n".join(parts) + "\n"


def mode_list() -> str:
    """One line for each mode, in markdown."""
    return "\n".join(f"- `{name}`: {mode.title}" for name, mode in MODES.items())


def mode_table(names: Sequence[str]) -> str:
    """What the modes are and how they are set, in markdown."""
    rows = ((f"`{name}`", MODES[name].title, *(_settings_line(name, "`{}`") or ["see below"])) for name in names)
    return _markdown(("`--mode`", "what it does", "settings"), rows)


def probe_settings_table() -> str:
    rows = (
        (f"`{setting}`", ", ".join(f"`{name}`" for name in modes), text, source)
        for setting, modes, text, source in _meanings(PROBES)
    )
    return _markdown(("setting", "of", "what it means", "source"), rows)


def tuning_settings_table() -> str:
    rows = (
        (f"`{setting}`", *(f"`{value}`" if value else "" for value in _values(setting, modes)), text, source)
        for setting, modes, text, source in _meanings(TUNERS)
    )
    return _markdown(("setting", *(f"`{name}`" for name in COLUMNS), "what it means", "source"), rows)


def many_shot_mode_table() -> str:
    """What the modes of the many-shot regime are and how they are set."""
    rows = (
        (f"`{name}`", mode.title, *(_many_shot_line(name, "`{}`") or ["see below"]))
        for name, mode in MANY_SHOT_MODES.items()
    )
    return _markdown(("`--mode`", "what it does", "settings"), rows)


def many_shot_table() -> str:
    """The settings of linear evaluation, which are named `lr.…` at the command line."""
    rows = ((f"`{setting}`", f"`{default}`", *rest) for setting, default, *rest in _many_shot_settings())
    return _markdown(("setting", "default", "what it means", "source"), rows)


def metric_table() -> str:
    """What the answers to the queries are judged by."""
    shown = {name: metric for name, metric in METRICS.items() if metric.of != ("split",)}
    asked = {name: f"`{name}`" if name in comparable() else "in every table" for name in shown}
    rows = ((asked[name], metric.title, metric.meaning) for name, metric in shown.items())
    return _markdown(("`--metric`", "column", "what it is"), rows)


def _fields(adapter: Any) -> tuple[dataclasses.Field[Any], ...]:
    return dataclasses.fields(adapter)


def _shown(value: object) -> str:
    """E.g. `true`, 10, 1e-6."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}".replace("e-0", "e-").replace("e+0", "e")
    return str(value)


def _settings_line(name: str, form: str) -> list[str]:
    """One line with each setting in the given form, or none where the settings of the mode are a column."""
    if name in COLUMNS:
        return []
    base = closest(name)
    values = base[1] if base else defaults(ADAPTERS[name])
    settings = " ".join(form.format(f"{key}={value}") for key, value in values.items())
    return [f"as {form.format(base[0])} with {settings}" if base else settings]


def _meanings(names: Iterable[str]) -> Iterator[tuple[str, list[str], str, str]]:
    """Each setting that the modes have, with the modes that have it in this sense, what it means, and the sources."""
    found: dict[tuple[str, str], tuple[list[str], list[str]]] = {}
    for name in names:
        for field in _fields(ADAPTERS[name]):
            modes, sources = found.setdefault((field.name, field.metadata["text"]), ([], []))
            modes.append(name)
            sources.append(field.metadata["source"])
    for (setting, text), (modes, sources) in found.items():
        yield setting, modes, text, ", ".join(filter(None, dict.fromkeys(sources)))


def _many_shot_line(name: str, form: str) -> list[str]:
    """One line with each setting that differs from the closest mode of episodes, or from the defaults of its kind."""
    classifier = MANY_SHOT_MODES[name].classifier
    own = defaults(classifier)
    alike = {mode: adapter for mode, adapter in ADAPTERS.items() if type(adapter) is type(classifier)}
    changes = {mode: dict(own.items() - defaults(adapter).items()) for mode, adapter in alike.items()}
    if changes:
        base = min(changes, key=lambda mode: (len(changes[mode]), mode != name))
        start, changed = f"as {form.format(base)} of episodes", changes[base]
    else:
        start, changed = "", dict(own.items() - defaults(type(classifier)()).items())
    settings = " ".join(form.format(f"{key}={own[key]}") for key in own if key in changed)
    return [" with ".join(filter(None, [start, settings]))] if start or settings else []


def _many_shot_settings() -> Iterator[tuple[str, str, str, str]]:
    evaluation = LinearEvaluation()
    values = defaults(evaluation)
    for field in _fields(evaluation):
        yield f"lr.{field.name}", values[field.name], field.metadata["text"], field.metadata["source"]


def _probe_entries() -> list[Entry]:
    return [
        Entry((setting,), [text if modes == PROBES else f"{text} ({', '.join(modes)})"])
        for setting, modes, text, _ in _meanings(PROBES)
    ]


def _tuning_entries() -> list[Entry]:
    return [Entry(("", *COLUMNS), ["meaning"])] + [
        Entry((setting, *_values(setting, modes)), [text]) for setting, modes, text, _ in _meanings(TUNERS)
    ]


def _values(setting: str, modes: Sequence[str]) -> list[str]:
    """What the columns have for a setting that these modes share; nothing where a mode is none of them."""
    return [defaults(ADAPTERS[name])[setting] if name in modes else "" for name in COLUMNS]


def _in_columns(entries: Sequence[Entry]) -> str:
    """Lines of cells in columns that are as wide as they need to be, with paragraphs beside them."""
    widths = [max(map(len, column)) for column in zip(*(entry.cells for entry in entries), strict=True)]
    lines: list[str] = []
    for entry in entries:
        head = "  " + "".join(f"{cell:{width}}  " for cell, width in zip(entry.cells, widths, strict=True))
        blank = " " * len(head)
        for start, text in zip([head, *[blank] * len(entry.paragraphs)], entry.paragraphs, strict=False):
            lines += textwrap.wrap(text, WIDTH, initial_indent=start, subsequent_indent=blank, break_on_hyphens=False)
    return "\n".join(lines)


def _markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    cells = (tuple(cell.replace("|", "\\|").replace("*", "\\*") for cell in row) for row in rows)
    return "\n".join("| " + " | ".join(row) + " |" for row in [header, ("---",) * len(header), *cells])
