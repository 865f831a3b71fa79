"""Headers of tar files that are read without tarfile: the same as tarfile finds, or left to it."""

import io
import tarfile

import numpy as np
import pytest

from fewshot_bn.datasets.tar_headers import Member, plain_members


def write(path, infos, form):
    with tarfile.open(path, "w", format=form) as tar:
        for info in infos:
            tar.addfile(info, io.BytesIO(bytes(range(256)) * (info.size // 256 + 1)))
    return path


def info(name, size=0, **more):
    made = tarfile.TarInfo(name)
    made.size = size
    for key, value in more.items():
        setattr(made, key, value)
    return made


USUAL = [info("a.png", 700), info("c0/" + "d" * 95 + "/b.cls", 3), info("folder", type=tarfile.DIRTYPE), info("x", 512)]
UNUSUAL = [info("long/" * 30 + "x.png", 5), info("ä.png", 1), info("a b.png"), info("t.png", 9, mtime=1.5)]


def by_tarfile(path):
    with tarfile.open(path) as tar:
        return [Member(one.name, one.offset_data, one.size) for one in tar if one.isreg()]


def by_hand(path):
    with path.open("rb") as file:
        return plain_members(file.fileno(), path.stat().st_size)


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("infos", [USUAL, [*USUAL, *UNUSUAL]])
def test_the_files_are_those_that_tarfile_finds(tmp_path, form, infos):
    infos = [one for one in infos if form != tarfile.USTAR_FORMAT or "long" not in one.name]
    path = write(tmp_path / "x.tar", infos, form)
    assert by_hand(path) == by_tarfile(path)
    assert len(by_hand(path)) == len([one for one in infos if one.isreg()])


@pytest.mark.parametrize(
    "odd",
    [
        info("link", type=tarfile.SYMTYPE, linkname="x"),
        info("link", type=tarfile.LNKTYPE, linkname="x"),
        info("device", type=tarfile.CHRTYPE),
        info("sparse", type=tarfile.GNUTYPE_SPARSE),
        info("sized.png", 3, pax_headers={"size": "3"}),
        info("sparse.png", 3, pax_headers={"GNU.sparse.size": "9"}),
        info("large.png", 3, uid=2**40, pax_headers={"path": "other.png", "hdrcharset": "BINARY"}),
    ],
)
def test_what_is_unusual_is_left_to_tarfile(tmp_path, odd):
    assert by_hand(write(tmp_path / "x.tar", [*USUAL, odd, *USUAL], tarfile.PAX_FORMAT)) is None


def test_damaged_files_are_left_to_tarfile_or_read_as_it_reads_them(tmp_path, rng):
    whole = write(tmp_path / "x.tar", [*USUAL, *UNUSUAL], tarfile.PAX_FORMAT).read_bytes()
    places = [place for place in range(0, len(whole) - 1024, 512) if whole[place + 257 : place + 262] == b"ustar"]
    path = tmp_path / "y.tar"
    left = 0
    for _ in range(300):
        damaged = bytearray(whole[: rng.integers(512, len(whole) + 1)] if rng.random() < 0.3 else whole)
        start = places[rng.integers(0, len(places))]
        if start + 512 <= len(damaged):
            damaged[start + rng.integers(0, 512)] = rng.integers(0, 256)
            header = damaged[start : start + 512]
            header[148:156] = b" " * 8
            damaged[start + 148 : start + 156] = b"%06o\0 " % sum(header)
        path.write_bytes(damaged)
        found = by_hand(path)
        left += found is None
        assert found is None or found == by_tarfile(path)
    assert 50 < left < 300


def test_cut_off_and_empty_files_are_left_to_tarfile(tmp_path):
    path = write(tmp_path / "x.tar", USUAL, tarfile.USTAR_FORMAT)
    content = path.read_bytes()
    for n in (0, 100, 600, 1024, 3000):
        path.write_bytes(content[:n])
        assert by_hand(path) is None
    path.write_bytes(np.zeros(2048, np.uint8).tobytes())
    assert by_hand(path) == []
