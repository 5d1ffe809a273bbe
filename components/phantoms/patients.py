"""Who is filmed: patients, their studies, two views a study, and a fracture in some."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from components.phantoms.anatomy import REGIONS, SECOND_VIEW_DEGREES, Limb, body, ends_on_film
from components.phantoms.exposure import Findings, draw_findings
from components.phantoms.fractures import Fracture, draw_fracture

VIEWS = ("frontal", "lateral")


@dataclass(frozen=True)
class Study:
    """One visit: one region, two views, the same fracture in both."""

    patient: str
    number: int
    region: str
    limb: Limb
    fracture: Fracture | None
    findings: Findings
    degrees: tuple[float, float]
    seeds: tuple[int, int]


def studies(count: int, fractured: float, seed: int) -> Iterator[Study]:
    """The first `count` studies of an endless row of patients, one to three studies each.

    A patient depends on the seed and its own number only: asking for more films adds patients and changes none.
    """
    made, number = 0, 0
    while made < count:
        number += 1
        rng = np.random.default_rng([seed, number])
        names = list(REGIONS)
        usual = names[int(rng.integers(len(names)))]
        for visit in range(1, int(rng.integers(1, 4)) + 1):
            # People come back mostly for the limb they came with.
            region = usual if rng.random() < 0.7 else names[int(rng.integers(len(names)))]
            limb = body(region, rng)
            may_break = [place for place, bone in enumerate(limb.bones) if bone.breakable]
            fracture = None
            if rng.random() < fractured:
                broken = may_break[int(rng.integers(len(may_break)))]
                fracture = draw_fracture(rng, broken, ends_on_film(limb.bones[broken]))
            second = SECOND_VIEW_DEGREES.get(region, 90.0)
            yield Study(
                patient=f"P{number:05d}",
                number=visit,
                region=region,
                limb=limb,
                fracture=fracture,
                findings=draw_findings(rng),
                degrees=(float(rng.uniform(-8, 8)), float(second + rng.uniform(-8, 8))),
                seeds=(int(rng.integers(2**32)), int(rng.integers(2**32))),
            )
            made += 1
            if made == count:
                return
