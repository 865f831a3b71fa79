"""Which files are images, and what is said of those that are not or are damaged."""

import contextlib
import io
import shutil
import struct
import subprocess
import sys
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image, ImageFile

from fewshot_bn.raster import FORMATS, decoded, reason_of, scaled, unreadable

EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 20 20\n%%EndComments\n"


def encoded(image, kind="PNG", **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def reason(content):
    with pytest.raises(unreadable()) as caught:
        decoded(content)
    return reason_of(caught.value)


@pytest.mark.parametrize("kind", [*FORMATS, "MPO"])
def test_plain_formats_are_read(rng, kind):
    image = Image.fromarray(rng.integers(0, 256, (20, 24, 3), dtype=np.uint8))
    assert decoded(encoded(image, kind)).image.size == (24, 20)


def test_no_program_is_started_for_an_image(tmp_path, monkeypatch):
    gs = tmp_path / "gs"
    gs.write_text(f"#!{shutil.which('sh')}\ntouch {tmp_path}/started\n")
    gs.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert reason(EPS) == "it is of format EPS, which is not read; save it as PNG or JPEG"
    assert not (tmp_path / "started").exists()


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("ICO", "it is of format ICO, which is not read; save it as PNG or JPEG"),
        ("DDS", "it is of format DDS, which is not read; save it as PNG or JPEG"),
        ("TGA", "it is no image"),
        ("SGI", "it is no image"),
        ("PDF", "it is no image"),
    ],
)
def test_other_formats_are_refused(kind, expected):
    assert reason(encoded(Image.new("RGB", (16, 16)), kind)) == expected


@pytest.mark.parametrize("content", [b"", b"x", b"hello" * 20])
def test_what_is_no_image(content):
    assert reason(content) == "it is no image"


@pytest.mark.parametrize(
    "error", [SystemError, EOFError, OverflowError, RuntimeError, KeyError, TypeError, AttributeError, MemoryError]
)
def test_whatever_a_decoder_raises_is_a_reason(monkeypatch, error):
    def fail(self):
        raise error

    monkeypatch.setattr(ImageFile.ImageFile, "load", fail)
    found = reason(encoded(Image.new("RGB", (9, 9))))
    assert found == "it does not fit in memory" if error is MemoryError else f"it is damaged ({error.__name__}" in found


@pytest.mark.parametrize("kind", FORMATS)
def test_damaged_files_are_read_or_refused_with_a_reason(rng, kind):
    whole = encoded(Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)), kind)
    for _ in range(40):
        damaged = bytearray(whole[: rng.integers(len(whole) // 2, len(whole) + 1)])
        damaged[rng.integers(0, len(damaged))] = rng.integers(0, 256)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with contextlib.suppress(*unreadable()):  # nothing else
                assert decoded(bytes(damaged)).image.mode == "RGB"


def test_too_many_pixels_are_a_plain_reason(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 500_000)
    assert reason(encoded(Image.new("L", (1100, 1000)))) == (
        "it has more than 1 million pixels, the most that are read; shrink it"
    )


def test_an_image_of_many_pixels_is_read_without_a_warning():
    code = (
        "import io; from PIL import Image; from fewshot_bn.raster import decoded; Image.MAX_IMAGE_PIXELS = 1000; "
        "file = io.BytesIO(); Image.new('L', (40, 40)).save(file, 'PNG'); print(decoded(file.getvalue()).image.size)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("(40, 40)\n", "")


def deep_tiff(values, order="<", *, is_packed=False):
    """Values [h w c] of 16 bits as TIFF, which PIL itself does not write in colour."""
    height, width, n = values.shape
    data = values.astype(f"{order}u2").tobytes()
    data = zlib.compress(data) if is_packed else data
    bits_at = 8 + 2 + 12 * (10 + (n == 4)) + 4
    short, long = 3, 4
    tags = [
        *((256, short, width), (257, short, height), (258, long if n > 2 else short, bits_at if n > 2 else 16)),
        *((259, short, 8 if is_packed else 1), (262, short, 2 if n > 2 else 1), (273, long, bits_at + 2 * n)),
        *((277, short, n), (278, short, height), (279, long, len(data)), (284, short, 1)),
        *([(338, short, 2)] if n == 4 else []),
    ]
    file = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HLH", 42, 8, len(tags))
    for tag, kind, value in tags:
        if tag == 258:
            file += struct.pack(f"{order}HHL", tag, short, n)
        else:
            file += struct.pack(f"{order}HHL", tag, kind, 1)
        file += struct.pack(f"{order}L", value) if kind == long else struct.pack(f"{order}HH", value, 0)
    return file + struct.pack(f"{order}L{n}H", 0, *[16] * n) + data


def test_grey_of_16_bits_whose_0_is_white_is_as_that_of_8_bits():
    values = np.arange(4096, dtype=np.int64).reshape(64, 64, 1) * 15
    plain = deep_tiff(values)
    inverted = plain.replace(struct.pack("<HHLHH", 262, 3, 1, 1, 0), struct.pack("<HHLHH", 262, 3, 1, 0, 0))
    assert inverted != plain
    shown, peak = (np.asarray(decoded(inverted).image)[..., 0], decoded(inverted).peak)
    np.testing.assert_array_equal(shown, (65535 - values[..., 0]) >> 8)
    assert peak == 4095 * 15
    with Image.open(io.BytesIO(scaled(inverted, 4095 * 15))) as image:
        np.testing.assert_array_equal(np.asarray(image), (4095 * 15 - values[..., 0]) * 255 // (4095 * 15))


def with_planes(values, order="<", rows=30, kind=1):
    """As `deep_tiff` without compression, but first all red, then all green, then all blue, each in strips."""
    height, width, n = values.shape
    strips = [
        values[y : y + rows, :, k].astype(f"{order}u2").tobytes() for k in range(n) for y in range(0, height, rows)
    ]
    begin = 8 + 2 + 12 * 10 + 4
    bits_at, offsets_at = begin, begin + 2 * n + 2 * n % 4
    counts_at = offsets_at + 4 * len(strips)
    sizes = [len(strip) for strip in strips]
    offsets = counts_at + 4 * len(strips) + np.cumsum([0, *sizes[:-1]])
    tags = [
        *((256, 3, 1, width), (257, 3, 1, height), (258, 3, n, bits_at), (259, 3, 1, kind), (262, 3, 1, 2)),
        *((273, 4, len(strips), offsets_at), (277, 3, 1, n), (278, 3, 1, rows), (279, 4, len(strips), counts_at)),
        (284, 3, 1, 2),
    ]
    file = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HLH", 42, 8, len(tags))
    for tag, form, count, value in tags:
        file += struct.pack(f"{order}HHL", tag, form, count)
        file += struct.pack(f"{order}L", value) if count > 1 else struct.pack(f"{order}HH", value, 0)
    file += struct.pack(f"{order}L{n}H", 0, *[16] * n) + bytes(2 * n % 4)
    return file + struct.pack(f"{order}{2 * len(strips)}L", *offsets, *sizes) + b"".join(strips)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("rows", [30, 10])
@pytest.mark.parametrize("n", [3, 4])
def test_channels_of_16_bits_that_lie_one_after_the_other(rng, order, rows, n):
    values = rng.integers(0, 3001, (30, 20, n)).astype(np.uint16)
    content = with_planes(values, order, rows)
    colours = values[..., :3].astype(int)
    dark = decoded(content)
    assert (dark.bits, dark.peak) == (16, colours.max())
    np.testing.assert_array_equal(np.asarray(dark.image), colours >> 8)
    np.testing.assert_array_equal(np.asarray(decoded(scaled(content, 3000)).image), colours * 255 // 3000)
    assert "its channels of 16 bits lie one after the other, in tiles or not all" in reason(content[:-8])
    assert scaled(content[:-8], 3000) == content[:-8]


def deep_png(values):
    height, width, n = values.shape
    lines = b"".join(b"\0" + values[y].astype(">u2").tobytes() for y in range(height))
    header = struct.pack(">LL5B", width, height, 16, {1: 0, 3: 2, 4: 6}[n], 0, 0, 0)
    parts = [(b"IHDR", header), (b"IDAT", zlib.compress(lines)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">L", len(content)) + kind + content + struct.pack(">L", zlib.crc32(kind + content))
        for kind, content in parts
    )


@pytest.mark.parametrize("n", [1, 3, 4])
@pytest.mark.parametrize(
    "write",
    [
        deep_png,
        deep_tiff,
        lambda values: deep_tiff(values, ">"),
        lambda values: deep_tiff(values, is_packed=True),
        lambda values: deep_tiff(values, ">", is_packed=True),
    ],
)
def test_reflectances_in_16_bits_are_dark_and_right_with_their_white(rng, write, n):
    values = rng.integers(0, 3001, (30, 20, n)).astype(np.uint16)
    values[0, 0] = 3000
    content = write(values)
    colours = np.broadcast_to(values[..., : 3 if n > 1 else 1], (30, 20, 3)).astype(int)
    dark = decoded(content)
    assert (dark.bits, 3000 <= dark.peak < 3072) == (16, True)
    np.testing.assert_array_equal(np.asarray(dark.image), colours >> 8)
    right = decoded(scaled(content, 3000))
    np.testing.assert_array_equal(np.asarray(right.image), colours * 255 // 3000)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
            "it is a pointer of Git LFS, not the ima",
        ),
        (b"\n <!DOCTYPE html><html></html>", "it is a web page, not an image: its download has failed"),
        (b"<HTML>", "it is a web page"),
        (b"text", "it is no image"),
    ],
)
def test_what_a_download_leaves_in_place_of_an_image_is_named(content, said):
    assert reason(content).startswith(said)
