"""Who is filmed: patients, their studies, two views a study, and a fracture in some."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from components.phantoms.anatomy import SIDES, Limb, draw_anatomy, draw_limb
from components.phantoms.exposure import Findings, draw_findings
from components.phantoms.fractures import Fracture, draw_fracture, draw_obvious
from components.phantoms.regions import REGIONS, SECOND_VIEW_DEGREES, ends_on_film, length_on_film

VIEWS = ("frontal", "lateral")
# Obvious breaks are of long bones that show a fair piece and are not much thinner than the thickest of these.
SHOWN, THICK = 0.2, 0.6


@dataclass(frozen=True)
class Study:
    """One visit: one region of one side, two views, the same fracture in both."""

    patient: str
    number: int
    region: str
    limb: Limb
    fracture: Fracture | None
    findings: Findings
    degrees: tuple[float, ...]  # of each view
    seeds: tuple[int, int]


def studies(count: int, fractured: float, obvious: float, seed: int) -> Iterator[Study]:
    """The first `count` studies of an endless row of patients, one to three studies each.

    A patient depends on the seed and its own number only: asking for more films adds patients and changes none.

    Args:
        count: of studies.
        fractured: share of them with a fracture.
        obvious: share of the fractures that anybody sees; of the others many are hard to see.
        seed: of all of them.

    """
    made, number = 0, 0
    while made < count:
        number += 1
        rng = np.random.default_rng([seed, number])
        anatomy = draw_anatomy(rng)
        limbs = [(region, side) for region in REGIONS for side in SIDES]
        usual = limbs[int(rng.integers(len(limbs)))]
        # Nobody lies twice as before: by what a limb is turned on each visit, in each view.
        turns = [rng.permutation((-6.0, 0.0, 6.0)) for _ in VIEWS]
        for visit in range(1, int(rng.integers(1, 4)) + 1):
            # People come back mostly for the limb they came with.
            region, side = usual if rng.random() < 0.7 else limbs[int(rng.integers(len(limbs)))]
            limb = draw_limb(region, anatomy, side, rng)
            fracture = (
                _draw_break(rng, limb, np.random.default_rng([seed, number, visit]), obvious)
                if rng.random() < fractured
                else None
            )
            planned = (0.0, SECOND_VIEW_DEGREES.get(region, 90.0))
            yield Study(
                patient=f"P{number:05d}",
                number=visit,
                region=region,
                limb=limb,
                fracture=fracture,
                findings=draw_findings(rng),
                degrees=tuple(
                    float(view + turn[visit - 1] + rng.uniform(-2.5, 2.5))
                    for view, turn in zip(planned, turns, strict=True)
                ),
                seeds=(int(rng.integers(2**32)), int(rng.integers(2**32))),
            )
            made += 1
            if made == count:
                return


def _draw_break(rng: np.random.Generator, limb: Limb, own: np.random.Generator, obvious: float) -> Fracture:
    """A break that may be hard to see or, in a share of the limbs, an obvious one of a stream of its own.

    So another share changes these breaks alone, and nothing else of any film.
    """
    may_break = [place for place, bone in enumerate(limb.bones) if bone.breakable]
    broken = may_break[int(rng.integers(len(may_break)))]
    fracture = draw_fracture(rng, broken, ends_on_film(limb.bones[broken]))
    if own.random() >= obvious:
        return fracture
    shafts = [place for place in may_break if not limb.bones[place].round and length_on_film(limb.bones[place]) > SHOWN]
    thickest = max(limb.bones[place].radius for place in shafts)
    thick = [place for place in shafts if limb.bones[place].radius > THICK * thickest]
    return draw_obvious(own, thick[int(own.integers(len(thick)))])
