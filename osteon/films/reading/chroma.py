"""How much colour a picture has that an even tint does not explain."""

import numpy as np
from PIL import Image


def chroma_of(picture: Image.Image) -> float:
    """Colour beyond an even tint; about 0 for a grey, sepia or blue-tinted film.

    The larger standard deviation left in red and in blue after a straight line through green that does not fall
    is removed, grey levels of 256.
    """
    if picture.mode in ("1", "L", "LA", "La"):
        return 0.0
    small = picture.convert("RGB")
    small.thumbnail((256, 256), Image.Resampling.BOX)
    red, green, blue = np.asarray(small, dtype=np.float64).reshape(-1, 3).T
    spread = green - green.mean()
    variance = max(float(spread @ spread), 1e-9)
    left = [channel - channel.mean() - spread * max(spread @ channel, 0.0) / variance for channel in (red, blue)]
    return float(max(np.sqrt(np.mean(rest**2)) for rest in left))
