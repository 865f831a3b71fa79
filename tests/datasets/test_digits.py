from fewshot_bn.datasets import open_dataset, read_dataset_card, shipped_cards


def test_digits_are_exactly_what_their_card_says():
    dataset = open_dataset("digits", strict=True)
    assert (len(dataset), dataset.n_on_card, dataset.notices) == (1797, 1797, ())
    assert (
        dict(zip(dataset.class_names, dataset.class_sizes, strict=True))
        == read_dataset_card(shipped_cards()["digits"]).classes
    )
