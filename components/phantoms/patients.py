"""Who is filmed: patients, their studies, two views a study, and a fracture in some."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from components.phantoms.anatomy import SIDES, Limb, draw_anatomy, draw_limb
from components.phantoms.exposure import Findings, draw_findings
from components.phantoms.fractures import Fracture, draw_fracture
from components.phantoms.regions import REGIONS, SECOND_VIEW_DEGREES, ends_on_film

VIEWS = ("frontal", "lateral")


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


def studies(count: int, fractured: float, seed: int) -> Iterator[Study]:
    """The first `count` studies of an endless row of patients, one to three studies each.

    A patient depends on the seed and its own number only: asking for more films adds patients and changes none.
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
            may_break = [place for place, bone in enumerate(limb.bones) if bone.breakable]
            fracture = None
            if rng.random() < fractured:
                broken = may_break[int(rng.integers(len(may_break)))]
                fracture = draw_fracture(rng, broken, ends_on_film(limb.bones[broken]))
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
