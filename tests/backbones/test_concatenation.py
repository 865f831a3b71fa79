"""Several backbones as one, against a network that is written out."""

from dataclasses import replace

import pytest
import torch
from reference.networks import SmallNet, small_backbone
from torch import nn

from fewshot_bn.adapters import make_adapter
from fewshot_bn.adapters.tuning.norm_layers import choose_layers
from fewshot_bn.backbones.backbone import freeze_in_place
from fewshot_bn.backbones.concatenation import check_one_geometry, concatenate, with_contract
from fewshot_bn.backbones.load import load_backbone, member_names
from fewshot_bn.errors import ModelError, UsageError
from fewshot_bn.preprocessing import Preprocessing

CONTRACTS = [Preprocessing(8, 8, mean=(0.5, 0.4, 0.3), std=(0.5, 0.25, 0.2)), Preprocessing(8, 8)]


def members(*, contracts=CONTRACTS):
    return [replace(small_backbone(seed), preprocessing=contract) for seed, contract in enumerate(contracts)]


class WrittenOut(nn.Module):
    """Two networks, each with its own normalisation, of images of 0..1."""

    def __init__(self, a, b):
        super().__init__()
        self.a, self.b = SmallNet(), SmallNet()
        self.a.load_state_dict(a.module.state_dict())
        self.b.load_state_dict(b.module.state_dict())

    def forward(self, x):
        first, second = (
            torch.stack([(x[:, c] - contract.mean[c]) / contract.std[c] for c in range(3)], 1) for contract in CONTRACTS
        )
        return torch.cat([self.a(first), self.b(second)], 1)


def written_out():
    whole = Preprocessing(8, 8, mean=(0.0,) * 3, std=(1.0,) * 3)
    return freeze_in_place(WrittenOut(*members()), "written out", "", whole, architecture="")


def test_features_are_side_by_side_each_under_its_own_normalisation():
    whole, x = concatenate(members()), torch.rand(5, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    assert (whole.name, whole.dim) == ("small+small", 12)
    assert (whole.preprocessing.mean, whole.preprocessing.std) == ((0.0,) * 3, (1.0,) * 3)
    torch.testing.assert_close(whole.features(x), written_out().features(x))


def test_means_and_deviations_lie_where_the_networks_do():
    whole = members()
    for member in whole:
        member.module.to("meta")
    assert {buffer.device.type for buffer in concatenate(whole).module.buffers()} == {"meta"}


def test_members_of_one_contract_get_the_images_as_they_are():
    whole, x = concatenate(members(contracts=CONTRACTS[:1] * 2)), torch.rand(2, 3, 8, 8)
    assert whole.preprocessing == CONTRACTS[0]
    a, b = whole.members
    torch.testing.assert_close(whole.features(x), torch.cat([a.features(x), b.features(x)], 1), rtol=0, atol=0)


def test_a_member_that_overwrites_its_input_does_not_change_what_the_next_one_sees():
    first = nn.Sequential(nn.ReLU(inplace=True), nn.Conv2d(3, 2, 8), nn.Flatten())
    first = freeze_in_place(first, "overwrites", "", CONTRACTS[1], architecture="")
    second, x = members()[1], torch.linspace(-1, 1, 2 * 3 * 8 * 8).reshape(2, 3, 8, 8)
    expected = second.features(x)
    assert torch.equal(concatenate([first, second]).features(x)[:, first.dim :], expected)


@pytest.mark.parametrize(("scope", "n"), [("all", 6), ("last", 6), ("0.*", 3), ("*.bn3", 2)])
def test_norm_layers_of_every_member_are_tuned(scope, n):
    whole = concatenate(members())
    names = choose_layers(whole, "batch", scope)
    assert len(names) == n
    assert set(names) <= set(dict(whole.module.named_modules()))


@pytest.mark.parametrize("statistics", ["frozen", "batch", "converted"])
def test_tuning_them_together_is_tuning_the_network_that_is_written_out(statistics):
    generator = torch.Generator().manual_seed(1)
    x_s, x_q = (torch.rand(3, n, 3, 8, 8, generator=generator) for n in (6, 8))
    y_s = torch.arange(3).repeat_interleave(2).expand(3, -1)
    adapter = make_adapter("bn-all", steps=4, statistics=statistics)
    found = adapter(concatenate(members()), x_s, y_s, x_q, seeds=[1, 2, 3])
    expected = adapter(written_out(), x_s, y_s, x_q, seeds=[1, 2, 3])
    torch.testing.assert_close(found.logits, expected.logits, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(found.logits, adapter(concatenate(members()), x_s, y_s, x_q, seeds=[4, 5, 6]).logits)


def test_a_member_without_the_layers_asked_for_is_named():
    bare = freeze_in_place(nn.Sequential(nn.Conv2d(3, 2, 8), nn.Flatten()), "bare", "", CONTRACTS[0], architecture="")
    whole = concatenate([*members(), bare])
    with pytest.raises(ModelError, match="bare: no BatchNorm layer with scale and shift"):
        choose_layers(whole, "batch", "all")
    assert len(choose_layers(whole, "batch", "0.*,1.*")) == 6


def test_it_is_known_by_its_members():
    a, b = members()
    assert concatenate([a, b]).fingerprint == concatenate(members()).fingerprint
    assert concatenate([a, b]).fingerprint != concatenate([b, a]).fingerprint
    assert concatenate([concatenate([a, b]), small_backbone(2)]).dim == 18
    with pytest.raises(UsageError, match=r"small\+small: two members are the same network"):
        concatenate([a, a])


def test_members_of_several_geometries():
    whole = concatenate(members(contracts=[CONTRACTS[0], Preprocessing(16, 8)]))
    assert (whole.dim, whole.graph) == (12, None)
    with pytest.raises(ModelError, match=r"bicubic-short-side-16-crop-8, bicubic-short-side-8-crop-8\), so there is"):
        check_one_geometry(whole)
    with pytest.raises(ModelError, match="cannot be run on the same image"):
        whole.features(torch.rand(1, 3, 8, 8))
    same = with_contract(whole, lambda own: replace(own, resize_px=12, crop_px=12))
    check_one_geometry(same)
    assert same.features(torch.rand(1, 3, 12, 12)).shape == (1, 12)


def test_a_path_may_hold_a_plus(tmp_path):
    (tmp_path / "a+b").mkdir()
    for name in ("card.toml", "nets.py"):
        (tmp_path / "a+b" / name).touch()
    for one in (f"{tmp_path}/a+b/card.toml", f"{tmp_path}/a+b/nets.py:make"):
        assert member_names(one) == [one]


def test_names_are_joined(here):
    assert load_backbone("card.toml+fractal_resnet8", weights="random", name="both").name == "both"
    whole = load_backbone("card.toml+fractal_resnet8", weights="random")
    assert (whole.name, whole.dim, whole.weights) == ("tiny+fractal_resnet8", 16 + 64, "random+random")
    with pytest.raises(UsageError, match=r"--weights x.pth with --model card.toml\+fractal_resnet8: whose are they"):
        load_backbone("card.toml+fractal_resnet8", weights="x.pth")
    with pytest.raises(UsageError, match=r"unknown model 'fractal_resnet9' \(did you mean 'fractal_resnet8'"):
        load_backbone("card.toml+fractal_resnet9")


def test_a_plus_of_a_path_is_none_of_the_sum(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a+b").mkdir()
    for name in ("nets.py", "x.toml", "y+z.toml"):
        (tmp_path / "a+b" / name).touch()
    names = ["a+b/nets.py:make", "moco-v2", "a+b/y+z.toml", "a+b/nets.py:make@random", "a+b/x.toml", "resnet18"]
    assert member_names("+".join(names)) == names
    assert [member_names(name) for name in names] == [[name] for name in names]
    assert len(member_names("+".join(["a-network-of-a-long-name"] * 20))) == 20  # longer than a file's name may be


@pytest.mark.parametrize("model", ["moco-v2+", "+moco-v2", "moco-v2++swav"])
def test_a_plus_without_a_name(model):
    with pytest.raises(UsageError, match=r"a name is missing before or after a \+"):
        load_backbone(model)
