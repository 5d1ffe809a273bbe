"""What a film must be to be trained on or answered for: one rule for both."""

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from osteon.errors import UnreadableFilmError
from osteon.films.reading.film import Film, grey_sample


class FilmLimits(BaseModel):
    """The limits of the section `validation`, by the same names."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    min_side: int
    max_megapixels: float
    max_aspect: float
    min_contrast: float
    max_chroma: float

    def check(self, film: Film) -> None:
        """Refuse what validate would have put into quarantine.

        Args:
            film: decoded, its colour measured.

        Raises:
            UnreadableFilmError: it is outside the limits; the text is the reason.

        """
        long, short = sorted(film.pixels.shape)[::-1]
        if short < self.min_side:
            raise UnreadableFilmError(f"its shorter side is {short} pixels, {self.min_side} at least")
        if long / short > self.max_aspect:
            raise UnreadableFilmError(f"its aspect ratio is {long / short:.1f}, {self.max_aspect:g} at most")
        if (contrast := contrast_of(grey_sample(film))) < self.min_contrast:
            raise UnreadableFilmError(
                f"blank: contrast {contrast:.1f} of 256 grey levels, {self.min_contrast:g} at least"
            )
        if film.chroma is not None and film.chroma > self.max_chroma:
            raise UnreadableFilmError(
                f"not a radiograph: in colour (chroma {film.chroma:.1f}, {self.max_chroma:g} at most)"
            )


def contrast_of(grey: NDArray[np.uint8]) -> float:
    """Grey levels of 256 between percentiles 1 and 99; 0 for a film of one grey."""
    low, high = np.percentile(grey, [1, 99])
    return float(high - low)
