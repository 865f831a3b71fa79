"""Facts about modes and settings: told once, by each of them, and shown as they are."""

import dataclasses
import re
import typing

import pytest
from reference.problems import adapter_with

from fewshot_bn.adapters import ADAPTERS, MODES, make_adapter, settings_of
from fewshot_bn.evaluation.many_shot.linear import LinearEvaluation
from fewshot_bn.evaluation.many_shot.modes import MODES as MANY_SHOT_MODES
from fewshot_bn.reports import modes

KINDS = {type(adapter): adapter for adapter in ADAPTERS.values()} | {LinearEvaluation: LinearEvaluation()}
TITLES = {name: mode.title for name, mode in MODES.items()}
FIELDS = [(kind, field) for kind in KINDS for field in dataclasses.fields(kind)]


def words(text):
    return set(re.findall(r"[\w+-]+", text))


def rows_of(table):
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()]


def test_every_mode_has_a_title_and_nothing_else_has():
    assert len(set(TITLES.values())) == len(TITLES)


@pytest.mark.parametrize(
    "text",
    [*TITLES.values(), *(field.metadata.get("text", "") for _, field in FIELDS)],
    ids=[*TITLES, *(f"{kind.__name__}.{field.name}" for kind, field in FIELDS)],
)
def test_texts_are_one_short_sentence_without_markup(text):
    assert re.fullmatch(r"[\w(][^`|<>\[\]\n]+[^\s.`|<>\[\]]", text)
    assert "  " not in text
    assert len(text) <= 280


@pytest.mark.parametrize(("kind", "field"), FIELDS, ids=[f"{kind.__name__}.{field.name}" for kind, field in FIELDS])
def test_a_text_names_every_value_that_a_setting_can_have(kind, field):
    hint = typing.get_type_hints(kind)[field.name]
    choices = field.metadata["choices"]
    values = choices() if choices else typing.get_args(hint)
    assert set(values) <= words(field.metadata["text"])


def test_fields_of_settings_are_fields_like_others():
    adapter = make_adapter("knn", k=3)
    assert dataclasses.replace(adapter, k=1) == ADAPTERS["knn"]
    assert dataclasses.asdict(adapter) == {"k": 3, "metric": "euclidean", "weights": "uniform", "scaling": "raw"}
    assert not hasattr(adapter, "__dict__")
    with pytest.raises(dataclasses.FrozenInstanceError):
        adapter.k = 2


@pytest.mark.parametrize("name", ADAPTERS)
def test_defaults_are_shown_as_they_can_be_given(name):
    shown = modes.defaults(ADAPTERS[name])
    assert list(shown) == [field.name for field in dataclasses.fields(ADAPTERS[name])]
    other = next(other for other, adapter in reversed(ADAPTERS.items()) if type(adapter) is type(ADAPTERS[name]))
    assert adapter_with(other, shown) == ADAPTERS[name]


def test_numbers_are_shown_short():
    shown = modes.defaults(ADAPTERS["svm"]) | modes.defaults(LinearEvaluation())
    assert {key: shown[key] for key in ("C", "C_min", "C_max", "max_steps")} == {
        "C": "1",
        "C_min": "1e-5",
        "C_max": "1e6",
        "max_steps": "200",
    }
    assert modes.defaults(ADAPTERS["svm"])["max_steps"] == "100000"
    assert modes.defaults(ADAPTERS["bn"])["average_frozen"] == "false"


@pytest.mark.parametrize("name", ADAPTERS)
def test_a_mode_is_the_closest_earlier_one_with_its_changes(name):
    base = modes.closest(name)
    if base is None:
        assert name == next(other for other, adapter in ADAPTERS.items() if type(adapter) is type(ADAPTERS[name]))
    else:
        assert adapter_with(*base) == ADAPTERS[name]


def test_which_mode_is_closest():
    assert modes.closest("lr-c1") == ("lr", {"C": "1", "select": "fixed", "scaling": "raw"})
    assert modes.closest("bn-all") == ("bn23", {"scope": "all", "weight_decay": "0"})
    assert modes.closest("ln") == ("bn", {"norm": "layer"})
    assert modes.closest("proto") is None


def test_help_has_every_mode_and_every_setting_with_its_default():
    listed, of_probes, of_tuners, many_shot, of_many_shot = modes.help_text().split("\n\n")
    entries = dict(zip(ADAPTERS, re.split(r"^  (?=\S)", listed, flags=re.M)[1:], strict=True))
    for name, entry in entries.items():
        assert entry.split()[0] == name
        assert TITLES[name] in " ".join(entry.split())
        if name in modes.PROBES:
            _, changes = modes.closest(name) or (None, modes.defaults(ADAPTERS[name]))
            assert {f"{key}={value}" for key, value in changes.items()} <= set(entry.split())
            assert all(re.search(rf"^  {key} ", of_probes, re.M) for key in settings_of(ADAPTERS[name]))
    bn, plain = (modes.defaults(ADAPTERS[name]) for name in ("bn", "bn-plain"))
    for key in bn:
        assert re.search(rf"^  {key} +{re.escape(bn[key])} +{re.escape(plain[key])} {{2,}}\S", of_tuners, re.M)
    for key, value in modes.defaults(LinearEvaluation()).items():
        assert re.search(rf"^  lr\.{key} +{value}  ", of_many_shot, re.M)
    assert [line.split()[0] for line in many_shot.splitlines()[1:] if re.match(r"  \S", line)] == list(MANY_SHOT_MODES)


def test_help_fits_a_terminal():
    assert max(map(len, modes.help_text().splitlines())) <= modes.WIDTH


def test_help_tells_apart_settings_of_one_name():
    text = modes.help_text()
    assert re.search(r"^  C  .*\(lr, lr-c1\)$", text, re.M)
    assert re.search(r"^  C  .*\(svm\)$", text, re.M)


def test_tables_have_rows_of_the_same_length():
    many_shot = [modes.many_shot_mode_table(), modes.many_shot_table()]
    tables = [modes.mode_table(modes.PROBES), modes.mode_table(modes.TUNERS), modes.probe_settings_table()]
    for table in [*tables, modes.tuning_settings_table(), *many_shot]:
        header, line, *rows = rows_of(table)
        assert set(line) == {"---"}
        assert rows
        assert {len(row) for row in rows} == {len(header)}


def test_tables_hold_defaults_and_sources():
    assert rows_of(modes.mode_table(["ridge"]))[-1] == ["`ridge`", TITLES["ridge"], "`alpha=0` `scaling=l2`"]
    assert rows_of(modes.mode_table(["gn"]))[-1][-1] == "as `bn` with `norm=group`"
    settings = {row[0]: row[1:] for row in rows_of(modes.tuning_settings_table())}
    assert {f"`{key}`" for name in modes.COLUMNS for key in modes.defaults(ADAPTERS[name])} == {*list(settings)[2:]}
    assert settings["`epochs`"][:4] == ["`10`", "`0`", "`10`", "`0`"]
    assert settings["`lr_norm`"][:3] == ["`1`", "`0.01`", ""]
    assert settings["`statistics`"][-1] == "DAFT (converted), Li et al. 2017 (support, support+query)"
    many_shot = {row[0]: row[1:] for row in rows_of(modes.many_shot_table())}
    assert many_shot["`lr.n_values`"][::2] == ["`45`", "Kornblith et al. 2019"]


def test_the_list_has_a_line_for_each_mode():
    assert [line.split("`")[1] for line in modes.mode_list().splitlines()] == list(ADAPTERS)
