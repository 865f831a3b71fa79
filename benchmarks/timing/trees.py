"""Trees of generated images, smoothed noise, which compresses about as photographs do; and bare loops that read images.

It starts without torch, as the processes of the loops do.
"""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

N_DIFFERENT = 50


def photograph(seed: int, side_px: int) -> Image.Image:
    """Noise on a coarse grid, enlarged, with a little fine noise."""
    rng = np.random.Generator(np.random.Philox(seed))
    coarse = rng.integers(0, 256, (max(2, side_px // 16), max(2, side_px // 16), 3), dtype=np.uint8)
    smooth = np.asarray(Image.fromarray(coarse).resize((side_px, side_px), Image.Resampling.BICUBIC), np.int16)
    return Image.fromarray(np.clip(smooth + rng.integers(-4, 5, smooth.shape), 0, 255).astype(np.uint8))


def generated(folder: Path, n_images: int, side_px: int, kind: str) -> Path:
    """A tree of two classes of `n_images` files, of which the first differ."""
    files = []
    for seed in range(min(N_DIFFERENT, n_images)):
        file = io.BytesIO()
        photograph(seed, side_px).save(file, kind)
        files.append(file.getvalue())
    for k in range(n_images):
        place = folder / f"class{k % 2}"
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{k:06d}.{kind.lower()}").write_bytes(files[k % len(files)])
    return folder


def bare(paths: Sequence[Path]) -> int:
    for path in paths:
        Image.open(path).convert("RGB").resize((257, 257), Image.Resampling.BILINEAR).crop((16, 16, 240, 240))
    return len(paths)


def bare_with_array(paths: Sequence[Path]) -> int:
    for path in paths:
        image = Image.open(path).convert("RGB").resize((257, 257), Image.Resampling.BILINEAR)
        np.asarray(image.crop((16, 16, 240, 240)))
    return len(paths)
