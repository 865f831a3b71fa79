import pytest
from reference.ranked import key_of, many_shot

from fewshot_bn.results.folders import BackboneId
from fewshot_bn.results.task_names import labels_of, order_of, stream_of, task_names


@pytest.mark.parametrize(
    ("backbones", "labels"),
    [
        ([("a", "w", "1"), ("b", "w", "1")], ["a", "b"]),
        ([("a", "v", "1"), ("a", "w", "1"), ("b", "w", "1")], ["a (v)", "a (w)", "b"]),
        ([("a", "w", "12345678x"), ("a", "w", "2"), ("a", "v", "3")], ["a (v)", "a (w, 12345678)", "a (w, 2)"]),
        ([("a", "w", "12345678x"), ("a", "w", "12345678y")], ["a (w, 12345678x)", "a (w, 12345678y)"]),
        ([("a", "v", "1"), ("a", "w", "1"), ("a (w)", "", "1")], ["a (v)", "a (w, 1)", "a (w)"]),
    ],
)
def test_backbones_of_one_name_are_told_apart_by_as_little_as_needed(backbones, labels):
    ids = [BackboneId(*one) for one in backbones]
    assert sorted(labels_of([*ids, *ids]).values()) == sorted(labels)
    assert len(set(labels_of(ids).values())) == len(ids)


def own(**parts):
    return key_of("lr", "net", **parts)


def of_meta_dataset():
    key = key_of("lr", "net", episodes={"kind": "meta-dataset", "by_group": True})
    key["shape"] = {}
    return key


SHARED = {"kind": "random", "by_group": False, "support_balance": "linear", "query_alpha": 2.0}


@pytest.mark.parametrize(
    ("key", "name"),
    [
        (own(), "plants 5-way 1-shot, 4 queries, seed 0"),
        (own(episodes=SHARED), "plants 5-way 1-shot, 4 queries, linear-support, alpha2, seed 0"),
        (
            own(episodes={"kind": "disjoint", "by_group": False}),
            "plants 5-way 1-shot, 4 queries, disjoint episodes, seed 0",
        ),
        (of_meta_dataset(), "plants, meta-dataset episodes, by group, seed 0"),
        (many_shot("lr", "net", 0.5).key, "plants many-shot, 30 training and 20 test images, seed 0"),
    ],
)
def test_a_name_says_which_episodes_or_images(key, name):
    assert task_names({"digest": key}) == {"digest": name}


def test_tasks_that_look_alike_are_told_apart():
    names = task_names({"0123456789": own(), "abcdefghij": own(dataset={"fingerprint": "e"}), "c": own(seed=1)})
    plain = "plants 5-way 1-shot, 4 queries, seed 0"
    assert list(names.values()) == [f"{plain} [01234567]", f"{plain} [abcdefgh]", plain.replace("seed 0", "seed 1")]


def test_tasks_are_in_order_of_dataset_and_numbers_and_those_of_many_shots_last():
    keys = [own(shape={"n_support": n}) for n in (1, 5, 20)]
    keys += [of_meta_dataset(), own(dataset={"name": "zoo"}), many_shot("lr", "net", 0.5).key]
    keys.reverse()
    zoo, meta, *shots = keys[1:]
    assert sorted(keys, key=order_of) == [meta, *shots[::-1], zoo, keys[0]]


def test_shots_alone_leave_the_stream_as_it_is():
    stream = stream_of(own())
    assert stream == stream_of(own(shape={"n_support": 5}))
    others = [own(seed=1), own(shape={"n_query": 3}), own(dataset={"fingerprint": "e"}), of_meta_dataset()]
    assert stream not in map(stream_of, others)
    stream_of(many_shot("lr", "net", 0.5).key)
