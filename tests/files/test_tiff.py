"""Headers of TIFF files, written by hand and by PIL."""

import io
import struct

import numpy as np
import pytest
from PIL import Image

from fewshot_bn.files.tiff import advice_on_tiff, describe_tiff
from fewshot_bn.preprocessing import decoded


def tiff(n_channels, bits, *, order="<", big=False, fmt=1):
    """An image of 2 x 2 pixels; the bits of each channel lie behind the tags, where they are many."""
    word, width, many = ("Q", 8, n_channels * 2 > 8) if big else ("L", 4, n_channels * 2 > 4)
    tags = {256: (2,), 257: (2,), 258: (bits,) * n_channels, 259: (1,), 262: (1,), 273: (8,), 277: (n_channels,)}
    tags |= {278: (2,), 339: (fmt,) * n_channels}
    start = 16 if big else 8
    end = start + len(tags) * (20 if big else 12) + struct.calcsize(order + (word + "Q" if big else "HL"))
    head = (b"II" if order == "<" else b"MM") + struct.pack(
        order + ("HHHQ" if big else "HL"), *((43, 8, 0, start) if big else (42, start))
    )
    body, extra = struct.pack(order + ("Q" if big else "H"), len(tags)), b""
    for tag, values in tags.items():
        packed = struct.pack(f"{order}{len(values)}H", *values)
        if len(packed) > width:
            place = struct.pack(order + word, end + len(extra))
            extra += packed
        else:
            place = packed.ljust(width, b"\0")
        body += struct.pack(f"{order}HH{word}", tag, 3, len(values)) + place
    assert many == bool(extra)
    return head + body + b"\0" * (end - len(head) - len(body)) + extra + bytes(4 * n_channels * bits // 8)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize(("n_channels", "bits"), [(13, 16), (13, 8), (2, 16), (6, 32)])
def test_channels_and_bits_are_told(order, big, n_channels, bits):
    content = tiff(n_channels, bits, order=order, big=big)
    assert describe_tiff(content) == f"a TIFF of {n_channels} channels of {bits} bits"


def test_what_pil_does_not_read_is_told_as_what_it_is():
    with pytest.raises(ValueError, match="it is a TIFF of 13 channels of 16 bits, which PIL does not read.*EuroSAT"):
        decoded(tiff(13, 16))
    with pytest.raises(ValueError, match=r"it is a TIFF of 5 channels of 64 floating-point bits.* of 8 bits$"):
        decoded(tiff(5, 64, fmt=3))


def test_what_pil_writes_is_described_too():
    file = io.BytesIO()
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(file, "TIFF", compression="tiff_lzw")
    assert describe_tiff(file.getvalue()) == "a TIFF of 3 channels of 8 bits, compressed by method 5"


@pytest.mark.parametrize("n", [0, 3, 7, 8, 9, 20, 60])
def test_cut_headers_and_other_files_are_no_tiff(n):
    assert advice_on_tiff(tiff(13, 16)[:n]) == ""
    assert advice_on_tiff(b"\x89PNG\r\n\x1a\n" + bytes(n)) == ""


@pytest.mark.parametrize(("n", "bits"), [(2, 8), (3, 8), (3, 16)])
def test_grey_of_several_channels_is_refused_as_what_it_is(n, bits):
    with pytest.raises(ValueError, match=f"a TIFF of {n} channels of {bits} bits, which its header calls grey.*RGB"):
        decoded(tiff(n, bits))


def test_grey_with_transparency_is_read():
    grey, file = np.arange(16, dtype=np.uint8).reshape(4, 4), io.BytesIO()
    Image.merge("LA", [Image.fromarray(grey), Image.fromarray(grey[::-1].copy())]).save(file, "TIFF")
    np.testing.assert_array_equal(np.asarray(decoded(file.getvalue()).image), np.stack([grey] * 3, -1))
