"""Which results are compared: one for each task, mode and backbone, and never two of other settings unnoticed."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fewshot_bn.errors import ResultError, UsageError, some, unknown
from fewshot_bn.results.folders import BackboneId, Found
from fewshot_bn.results.many_shot import ManyShotResult
from fewshot_bn.results.measured import n_units

SETTINGS = "adapter.settings."
ABSENT = "not there"
Texts = Mapping[str, Mapping[str, str]]  # by mode and setting
ByBackbone = Mapping[BackboneId, Found]


def matching(found: Sequence[Found], texts: Texts) -> list[Found]:
    """Without the results of these modes that have other settings than `texts` say, e.g. {"bn": {"steps": "50"}}.

    Raises `UsageError` for an unknown mode or setting, or a value that no result of the mode has.
    """
    kept = list(found)
    for mode, settings in texts.items():
        modes = dict.fromkeys(one.mode for one in found)
        if mode not in modes:
            raise unknown("mode of --match", mode, modes)
        for setting, text in settings.items():
            kept = _with(kept, mode, setting, text)
    return kept


def _with(found: Sequence[Found], mode: str, setting: str, text: str) -> list[Found]:
    of_mode = [one for one in found if one.mode == mode]
    names = dict.fromkeys(name for one in of_mode for name in one.settings)
    if setting not in names:
        raise unknown(f"setting of {mode}", setting, names)
    kept = [one for one in found if one.mode != mode or _says(one.settings.get(setting), text)]
    if all(one.mode != mode for one in kept):
        values = dict.fromkeys(_shown(one.settings.get(setting)) for one in of_mode)
        raise UsageError(f"--match {mode}.{setting}={text}: no result of {mode} has that, but {some([*values])}")
    return kept


def _says(value: object, text: str) -> bool:
    """Whether a text is this value of a setting: 0.10 is 0.1, and True is true."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            return float(text) == value
        except ValueError:
            return False
    return _shown(value).lower() == text.lower()


def _shown(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def one_each(found: Sequence[Found], label: Mapping[BackboneId, str]) -> dict[str, dict[str, dict[BackboneId, Found]]]:
    """The result of each backbone, by task and mode. Of copies of one result the longest counts.

    Raises `ResultError` where two differ in their settings, or in what came out of the same ones.
    """
    chosen: dict[str, dict[str, dict[BackboneId, Found]]] = {}
    for one in found:
        backbones = chosen.setdefault(one.task, {}).setdefault(one.mode, {})
        other = backbones.get(one.backbone)
        if other is not None:
            _check_copies(other, one, label[one.backbone])
        if other is None or n_units(one.result) > n_units(other.result):
            backbones[one.backbone] = one
    return chosen


def _check_copies(one: Found, other: Found, backbone: str) -> None:
    """Raise `ResultError` unless both hold the same, as far as both have come."""
    both = f"{one.path} and {other.path} are both of {one.mode} on {backbone} in one task"
    if differences := _differences(one, other):
        where, values = next(iter(differences.items()))
        name, (mine, its) = where.removeprefix(SETTINGS), map(_shown, values)
        value = its if values[0] == ABSENT else mine
        choose = f"choose by --match {one.mode}.{name}={value}" if where.startswith(SETTINGS) else "name only one"
        raise ResultError(
            f"{both}, but {name} is {mine} in the first and {its} in the second; {choose}, or move one away"
        )
    n = min(n_units(one.result), n_units(other.result))
    if _outcomes(one, n) != _outcomes(other, n):
        raise ResultError(f"{both} and have the same settings, but not the same answers; name only one of them")


def _differences(one: Found, other: Found) -> dict[str, tuple[Any, Any]]:
    """Values of both at each place where their keys differ, those of settings first."""
    mine, its = dict(_places(one)), dict(_places(other))
    order = sorted({**mine, **its}, key=lambda place: not place.startswith(SETTINGS))
    both = {place: (mine.get(place, ABSENT), its.get(place, ABSENT)) for place in order}
    return {place: values for place, values in both.items() if values[0] != values[1]}


def _places(one: Found) -> Iterator[tuple[str, Any]]:
    """The parts of a key that may differ between results of one backbone, mode and task, as `adapter.code`."""
    key = one.key
    yield from ((f"{SETTINGS}{name}", value) for name, value in sorted(one.settings.items()))
    yield from ((f"adapter.{name}", value) for name, value in key["adapter"].items() if name != "settings")
    yield from preprocessing_of(one).items()
    yield "fewshot_bn", key.get("fewshot_bn")


def preprocessing_of(one: Found) -> dict[str, Any]:
    """What its backbone makes of an image, as `preprocessing.crop_px`; of its members, too."""
    networks = {"": one.key["backbone"]}
    networks |= {f"members[{i}].": member for i, member in enumerate(one.key["backbone"].get("members", ()))}
    return {
        f"{where}preprocessing.{name}": value
        for where, network in networks.items()
        for name, value in network.get("preprocessing", {}).items()
    }


def _outcomes(one: Found, n: int) -> object:
    result = one.result
    if isinstance(result, ManyShotResult):
        return result.test, result.predictions
    return result.correct[:n], result.measures.get("predicted", ())[:n]


def oddities(mode: str, results: ByBackbone, reference: ByBackbone, label: Mapping[BackboneId, str]) -> Iterator[str]:
    """What makes a ranking by `mode` doubtful: settings that differ between backbones, or images that do not match.

    Those are images of another size, or otherwise preprocessed, than the `reference` has seen of a backbone.
    """
    first, *others = results.values()
    for name in dict.fromkeys(name for one in (first, *others) for name in one.settings):
        values = dict.fromkeys(_shown(one.settings.get(name, ABSENT)) for one in (first, *others))
        if len(values) > 1:
            yield f"{mode} has not the same settings on all backbones: {name} is {some([*values])}"
    if any(one.key["adapter"].get("code") != first.key["adapter"].get("code") for one in others):
        yield f"{mode} has not the same code on all backbones"
    unlike = [b for b, one in results.items() if preprocessing_of(one) != preprocessing_of(reference[b])]
    if unlike:
        of_some = f"of {len(unlike)} of {len(results)} backbones ({some([label[one] for one in unlike])})"
        yield f"{mode} has seen otherwise preprocessed images than the reference {of_some}"
