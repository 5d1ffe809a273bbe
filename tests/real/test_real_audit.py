"""The audit of real films: the defects of FracAtlas that are known."""

import shutil
from pathlib import Path

import pandas as pd
import pytest

from osteon.audit.audit import audit_folder
from osteon.audit.findings import Audit
from osteon.params import DataParams

pytestmark = pytest.mark.xdist_group("fracatlas")

ALTERED = [("IMG0002646.jpg", "IMG0004072.jpg"), ("IMG0002945.jpg", "IMG0004266.jpg")]  # one film, other pixels
BOTH_WAYS = {  # identical pixels
    "IMG0002886.jpg": ["IMG0004243.jpg"],
    "IMG0002998.jpg": ["IMG0004280.jpg"],
    "IMG0003034.jpg": ["IMG0004314.jpg", "IMG0004341.jpg"],
}
OTHERS = 120


@pytest.fixture(scope="module")
def audited(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Audit, pd.DataFrame]:
    """Those films and 120 others, the later of each pair in test/, the rest in train/."""
    source = real_data / "fracatlas"
    if not source.is_dir():
        pytest.skip(f"{source} does not exist")
    later = {second for _, second in ALTERED} | {name for names in BOTH_WAYS.values() for name in names}
    wanted = later | {first for first, _ in ALTERED} | set(BOTH_WAYS)
    result = {path.name: path for path in sorted((source / "images").rglob("*.jpg"))}
    wanted |= set(list(result)[:: len(result) // OTHERS][:OTHERS])
    folder = tmp_path_factory.mktemp("audit")
    for name in wanted:
        label = {"Fractured": "fractured", "Non_fractured": "not fractured"}[result[name].parent.name]
        place = folder / "films" / ("test" if name in later else "train") / label / name
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(result[name], place)
    audit = audit_folder(folder / "films", None, DataParams(), folder / "found")
    return audit, pd.read_csv(folder / "found" / "pairs.csv")


def test_films_are_found_that_were_altered_the_first_has_its_lower_end_painted_over(
    audited: tuple[Audit, pd.DataFrame],
) -> None:
    pairs = audited[1].query("joined and sign == 'near copy'")
    joined = {frozenset((Path(a).name, Path(b).name)) for a, b in zip(pairs["first"], pairs["second"], strict=True)}
    assert {frozenset(pair) for pair in ALTERED} <= joined


def test_labels_that_contradict_on_the_same_pixels_are_named(audited: tuple[Audit, pd.DataFrame]) -> None:
    result = {
        tuple(Path(name).name for name in item.positive): [Path(name).name for name in item.negative]
        for item in audited[0].contradictions
        if item.likeness is None
    }
    assert result == {(first,): others for first, others in BOTH_WAYS.items()}


def test_a_split_that_parts_them_leaks(audited: tuple[Audit, pd.DataFrame]) -> None:
    audit = audited[0]
    assert audit.leaking
    assert audit.splits["test"] == 6
    (leak,) = audit.leaks
    assert (leak.copies, leak.other_copies) == (6, 5)
