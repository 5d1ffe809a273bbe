"""What Osteon shows of DICOM against what DCMTK shows: how many of how many films agree.

Every readable one-frame grey file that pydicom ships, those of OSTEON_REAL_DATA and of OSTEON_DICOM_CASES (a folder of
one's own, looked through with all its folders), and generated ones: depth × sign × HighBit × padding × polarity ×
window or LUT × syntax. They agree where the correlation of the grey levels is at least 0.999, which also says that the
polarity is the same, and the means differ by at most 2 of 256 levels. DCMTK's dcm2pnm (Debian: dcmtk) shows them; its
dcmdjpeg, dcmdjpls and dcmdrle decompress, and GDCM for JPEG 2000. Where no window or LUT is given, DCMTK is told to
span the values that are there, without those of padding, which is no part of the film (PS3.3, C.7.5.1.1.2) and is not
compared. It leaves pixels as they are stored, so where they are not square its picture is resampled as Osteon's is.
"""

import io
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom import Dataset, dcmread
from pydicom.pixels.processing import apply_rescale
from pydicom.pixels.utils import pixel_array
from pydicom.uid import (
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGLSTransferSyntaxes,
    JPEGTransferSyntaxes,
    RLELossless,
    RLETransferSyntaxes,
)

from benchmarks.film_files import COMPRESSED, dicom_file, film_dataset, phantom, pydicom_files, transcoded
from benchmarks.findings import Findings, Goal
from osteon.errors import OsteonError, UnreadableFilmError
from osteon.films.reading.decoding import decode
from osteon.films.reading.dicom_pixels import is_dicom
from osteon.films.reading.film import to_8_bit

CORRELATION, LEVELS = 0.999, 2.0
PROGRAM = "dcm2pnm"
BORDER = 8  # columns of padding of a generated film
# Syntaxes → what decompresses them; GDCM, in a process of its own because it may end it, does the rest.
DECOMPRESSING = (
    (JPEGTransferSyntaxes, ["dcmdjpeg"]),
    (JPEGLSTransferSyntaxes, ["dcmdjpls"]),
    (RLETransferSyntaxes, ["dcmdrle"]),
)
BY_GDCM = [
    sys.executable,
    "-c",
    "import sys; from pathlib import Path; from benchmarks.film_files import transcoded; "
    "Path(sys.argv[2]).write_bytes(transcoded(Path(sys.argv[1]).read_bytes(), 'ExplicitVRLittleEndian'))",
]
# Files where the two differ on purpose, or where DCMTK is wrong; name or kind → why.
UNSEEN = "a view that shows next to nothing"
EXCEPTIONS = {
    "rtdose_expb_1frame.dcm": "32-bit words of a big-endian file, which DCMTK reads in another order than those of the "
    "same film in little-endian; Osteon shows both alike",
    UNSEEN: "the first window or LUT is meant for other values (a preset of CT, 8 bits for 12, a LUT of 12 bits that "
    "says 16): DCMTK shows by it a film that is black, white or of a few grey levels; Osteon takes the next view, or "
    "spans the film's own values",
}
# DCMTK's picture shows next to nothing where …
MOST_AT_ENDS, MOST_WHITE = 0.9, 0.6  # … more of it is black or white, or white,
FEWEST_LEVELS = 32  # … or percentiles 1 and 99 are fewer grey levels apart


@dataclass(frozen=True)
class Comparison:
    """A file by both readers. reason: why they cannot be compared; None where they can."""

    name: str
    correlation: float = 0.0
    difference: float = 0.0
    reason: str | None = None
    unseen: bool = False  # DCMTK shows next to nothing by the view that the tags give

    @property
    def agrees(self) -> bool:
        """Whether both show the same."""
        return self.reason is None and self.correlation >= CORRELATION and self.difference <= LEVELS

    @property
    def exception(self) -> str | None:
        """Under which key of EXCEPTIONS it is; None where both should show the same."""
        return self.name if self.name in EXCEPTIONS else UNSEEN if self.unseen and not self.agrees else None


def by_dcmtk(data: bytes) -> NDArray[np.float64] | None:
    """Grey levels 0 … 255 as DCMTK shows a file; None where it cannot."""
    dataset = dcmread(io.BytesIO(data), force=True, stop_before_pixels=True)
    syntax = dataset.file_meta.get("TransferSyntaxUID")
    view = _view(data)
    with TemporaryDirectory() as folder:
        source, target = Path(folder) / "film.dcm", Path(folder) / "film.pgm"
        source.write_bytes(data)
        if syntax is not None and syntax.is_encapsulated:
            whole = source.with_name("whole.dcm")
            program = next((command for syntaxes, command in DECOMPRESSING if syntax in syntaxes), BY_GDCM)
            if subprocess.run([*program, str(source), str(whole)], capture_output=True, check=False).returncode:
                return None
            source = whole
        command = [PROGRAM, "+op", "--no-overlays", *view, str(source), str(target)]
        done = subprocess.run(command, capture_output=True, check=False)
        if done.returncode or not target.exists():
            return None
        with Image.open(target) as picture:
            return np.asarray(picture.convert("L"), np.float64)


def _view(data: bytes) -> list[str]:
    """What DCMTK is told to show a film by: its LUT, its window, or the values it has."""
    dataset = dcmread(io.BytesIO(data), force=True)
    if dataset.get("VOILUTSequence"):
        return ["+Wl", "1"]
    if dataset.get("WindowCenter") not in (None, "") and dataset.get("WindowWidth") not in (None, "", 0):
        return ["+Wi", "1"]
    padding = padding_of(dataset)
    if padding is None or padding.all():
        return ["+Wm"]
    values = apply_rescale(_stored(dataset), dataset)[~padding]
    low, high = float(values.min()), float(values.max())
    return ["+Ww", f"{(low + high + 1) / 2}", f"{high - low + 1}"]  # PS3.3, C.11.2.1.2.1


def padding_of(dataset: Dataset) -> NDArray[np.bool_] | None:
    """Which pixels are padding, as pydicom reads them; None where no tag speaks of padding."""
    value = dataset.get("PixelPaddingValue")
    if value is None:
        return None
    ends = sorted((int(value), int(dataset.get("PixelPaddingRangeLimit", value))))
    stored = _stored(dataset)
    return np.asarray((stored >= ends[0]) & (stored <= ends[1]))


def _stored(dataset: Dataset) -> NDArray[Any]:
    """The values, where HighBit says that they lie."""
    words = pixel_array(dataset, correct_unused_bits=False)
    return np.asarray(words >> (dataset.HighBit + 1 - dataset.BitsStored))


def _shows_nothing(picture: NDArray[np.float64]) -> bool:
    black, white = (picture == 0).mean(), (picture == 255).mean()
    first, last = np.percentile(picture, [1, 99])
    return bool(black + white > MOST_AT_ENDS or white > MOST_WHITE or last - first < FEWEST_LEVELS)


def compare(name: str, data: bytes, border: int = 0) -> Comparison | None:
    """One file by both readers; None where Osteon refuses it.

    border: columns on the left that hold padding. DCMTK turns them with the film and shows white; Osteon black.
    """
    try:
        film = decode(data, max_megapixels=80)
    except UnreadableFilmError:
        return None
    shown = to_8_bit(film).astype(np.float64)
    other = by_dcmtk(data)
    if other is None:
        return Comparison(name, reason="DCMTK and GDCM cannot read it")
    if film.stretch != (1.0, 1.0):
        other = cv2.resize(other, shown.shape[::-1], interpolation=cv2.INTER_LINEAR)
    if shown.shape != other.shape:
        return Comparison(name, reason=f"{shown.shape} here, {other.shape} there")
    shown, other = shown[:, border:], other[:, border:]
    square = film.stretch == (1.0, 1.0)
    padding = padding_of(dcmread(io.BytesIO(data), force=True)) if square and not border else None
    if padding is not None and not padding.all():
        shown, other = shown[~padding], other[~padding]
    unseen = _shows_nothing(other)
    if shown.std() == 0 or other.std() == 0:
        same = shown.std() == other.std()
        return Comparison(name, float(same), abs(float(shown.mean() - other.mean())), unseen=unseen)
    correlation = float(np.corrcoef(shown.ravel(), other.ravel())[0, 1])
    return Comparison(name, correlation, abs(float(shown.mean() - other.mean())), unseen=unseen)


def generated(quick: bool) -> Iterator[tuple[str, bytes, int]]:
    """Name, file and border of films of all kinds of tags, uncompressed, and of common kinds in the other syntaxes."""
    grey = phantom(96)
    views = ("nothing", "window", "narrow", "exact", "sigmoid", "lut", "rescale", "falling")
    kinds = product((8, 10, 12, 14, 16), (False, True), (False, True), (False, True), views)
    for number, (bits, signed, high, turned, view) in enumerate(kinds):
        if quick and number % 16:
            continue
        for padded in (False, True) if number % 3 == 0 else (False,):
            name = f"{bits} bits{' signed' * signed}{' high' * high}{' turned' * turned}, {view}{' padded' * padded}"
            dataset = generated_dataset(grey, bits, signed=signed, high=high, turned=turned, view=view, padded=padded)
            syntaxes = (ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian)
            yield (
                name,
                dicom_file(dataset, syntaxes[number % 3] if dataset.BitsAllocated == 16 else syntaxes[0]),
                BORDER * padded,
            )
    for view, bits in product(("nothing", "window", "lut"), (8, 12)):
        plain = generated_dataset(grey, bits, view=view)
        data = dicom_file(plain)
        yield f"{view}, {bits} bits, RLE", dicom_file(plain, RLELossless), 0
        for name, syntax in COMPRESSED.items():
            if bits == 8 or not syntax.startswith(("JPEGBaseline", "JPEGExtended")):
                yield f"{view}, {bits} bits, {name}", transcoded(data, syntax), 0


def generated_dataset(
    grey: NDArray[np.uint8],
    bits: int,
    *,
    signed: bool = False,
    high: bool = False,
    turned: bool = False,
    view: str = "nothing",
    padded: bool = False,
) -> Dataset:
    """A film of `bits` bits.

    Args:
        grey: what it shows, height × width.
        bits: stored.
        signed: values around 0.
        high: the value lies at the top of its word.
        turned: MONOCHROME1.
        view: nothing, window, narrow, exact, sigmoid, lut, rescale (and a window) or falling (rescale and a window).
        padded: a border of the value of padding, below all others.

    """
    top = (1 << bits) - 1
    ink = (top - grey / 255 * top) if turned != (view == "falling") else grey / 255 * top
    values = np.rint(ink).astype(np.int64)
    offset = 1 << (bits - 1) if signed else 0
    lowest, middle = -offset, top / 2 - offset
    tags: dict[str, Any] = {}
    if padded:
        values = np.maximum(values, 1)
        values[:, :BORDER] = 0
        tags["PixelPaddingValue"] = lowest
    windows = {
        "window": (1.0, "LINEAR"),
        "narrow": (0.6, "LINEAR"),
        "exact": (0.8, "LINEAR_EXACT"),
        "sigmoid": (0.7, "SIGMOID"),
    }
    if view in windows:
        share, function = windows[view]
        tags |= {"WindowCenter": round(middle), "WindowWidth": round(share * (top + 1)), "VOILUTFunction": function}
    elif view == "lut":
        lut = Dataset()
        entries = np.rint((np.arange(min(top + 1, 65535)) / top) ** 1.2 * 65535).astype("<u2")
        lut.LUTDescriptor, lut.LUTData = [len(entries), lowest, 16], entries.tobytes()
        lut["LUTDescriptor"].VR = "SS" if signed else "US"
        tags["VOILUTSequence"] = [lut]
    elif view in ("rescale", "falling"):
        slope = -2 if view == "falling" else 2
        tags |= {"RescaleSlope": slope, "RescaleIntercept": 100}
        tags |= {"WindowCenter": round(middle * slope + 100), "WindowWidth": 2 * (top + 1)}
    width = 8 if bits == 8 else 16
    shift = width - bits if high else 0
    words = ((values - offset) << shift).astype(f"{'i' if signed else 'u'}{width // 8}")
    dataset = film_dataset(words, bits, **tags)
    dataset.HighBit = bits - 1 + shift
    if turned:
        dataset.PhotometricInterpretation = "MONOCHROME1"
    if padded:
        dataset["PixelPaddingValue"].VR = "SS" if signed else "US"
    return dataset


def real_files() -> Iterator[tuple[str, bytes, int]]:
    """The DICOM files of OSTEON_REAL_DATA and OSTEON_DICOM_CASES, and those that pydicom ships."""
    real, cases = os.environ.get("OSTEON_REAL_DATA"), os.environ.get("OSTEON_DICOM_CASES")
    for folder in [*([Path(real) / "dicom"] if real else []), *([Path(cases)] if cases else [])]:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            if is_dicom(data := path.read_bytes()):
                yield path.name, data, 0
    yield from ((name, data, 0) for name, data in pydicom_files().items())


def measure(quick: bool) -> Findings:
    """Compare all."""
    if shutil.which(PROGRAM) is None:
        raise OsteonError(f"{PROGRAM} is not installed; Debian's package dcmtk has it")
    rows, differing = [], []
    excepted: Counter[str] = Counter()
    agreeing = compared = 0
    for kind, files in (("real files", real_files()), ("generated", generated(quick))):
        seen = [comparison for file in files if (comparison := compare(*file)) is not None]
        judged = [item for item in seen if item.reason is None and item.exception is None]
        excepted.update(item.exception for item in seen if item.exception is not None)
        same = sum(item.agrees for item in judged)
        differing += [item for item in judged if not item.agrees]
        rows.append([kind, f"{len(seen):,}", f"{len(judged):,}", f"{same:,}"])
        agreeing, compared = agreeing + same, compared + len(judged)
    return Findings(
        n=f"{compared:,} DICOM files",
        columns=["files", "read", "compared", "agree"],
        rows=rows,
        goals=[Goal(f"all agree: {agreeing:,} of {compared:,}", agreeing == compared)],
        notes=[
            *(
                f"differs: {item.name}, correlation {item.correlation:.4f}, mean {item.difference:.1f}"
                for item in differing[:12]
            ),
            *(f"exception, {excepted[name]} files: {name}: {why}" for name, why in EXCEPTIONS.items()),
        ],
    )
