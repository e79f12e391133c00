"""Small pictures by number: each has its own bytes and its own coarse pattern, so its own vector."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image as Picture


def picture(number: int, comment: bytes = b"") -> bytes:
    coarse = np.random.default_rng(number).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    file = io.BytesIO()
    Picture.fromarray(coarse).resize((320, 240), Picture.Resampling.NEAREST).save(
        file, "JPEG", quality=88, comment=comment or b"%d" % number
    )
    return file.getvalue()
