"""One film in every format that Osteon reads, and the DICOM files that pydicom brings along; for fuzz and oracle."""

import io
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import gdcm
import numpy as np
import pydicom.data
from numpy.typing import NDArray
from PIL import Image
from pydicom import dcmread, dcmwrite
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
    generate_uid,
)

from components.phantoms.exposure import expose
from components.phantoms.patients import studies

LITTLE_ENDIAN = (ExplicitVRLittleEndian, ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian)
# Names as GDCM's Python has them.
COMPRESSED = {
    "JPEG baseline": "JPEGBaselineProcess1",
    "JPEG extended": "JPEGExtendedProcess2_4",
    "JPEG lossless": "JPEGLosslessProcess14_1",
    "JPEG-LS": "JPEGLSLossless",
    "JPEG 2000": "JPEG2000Lossless",
}


def phantom(size: int) -> NDArray[np.uint8]:
    """A drawn film, height × width."""
    study = next(iter(studies(1, 0.5, 0.5, 7)))
    return expose(study.limb, study.degrees[0], size, study.fracture, study.findings, np.random.default_rng(1))[0]


def film_dataset(pixels: NDArray[Any], bits: int, **tags: Any) -> Dataset:
    """A digital radiograph; pixels of uint8, uint16 or int16, height × width or height × width × 3."""
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.1.1", generate_uid()
    dataset.Modality, dataset.PatientID, dataset.PatientName = "DX", "A1", "Doe^Jane"
    dataset.Rows, dataset.Columns = pixels.shape[:2]
    dataset.SamplesPerPixel = 3 if pixels.ndim == 3 else 1
    if pixels.ndim == 3:
        dataset.PlanarConfiguration = 0
    dataset.PhotometricInterpretation = "RGB" if pixels.ndim == 3 else "MONOCHROME2"
    dataset.BitsAllocated = 8 * pixels.dtype.itemsize
    dataset.BitsStored, dataset.HighBit = bits, bits - 1
    dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
    for keyword, value in tags.items():
        setattr(dataset, keyword, value)
    dataset.PixelData = pixels.tobytes()
    return dataset


def dicom_file(dataset: Dataset, syntax: UID = ExplicitVRLittleEndian) -> bytes:
    """A data set as a file in an uncompressed syntax or RLE."""
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian if syntax == RLELossless else syntax
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    if syntax == RLELossless:
        dataset.compress(syntax, generate_instance_uid=False)
    elif syntax == ExplicitVRBigEndian and dataset.BitsAllocated == 16:
        dataset.PixelData = np.frombuffer(dataset.PixelData, "<u2").byteswap().tobytes()
    buffer = io.BytesIO()
    dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()


def transcoded(data: bytes, syntax: str) -> bytes:
    """A DICOM file in another syntax, by GDCM.

    Args:
        data: the file.
        syntax: as gdcm.TransferSyntax names it.

    Raises:
        ValueError: GDCM cannot.

    """
    with TemporaryDirectory() as folder:
        source, target = Path(folder) / "a.dcm", Path(folder) / "b.dcm"
        source.write_bytes(data)
        reader, change, writer = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax(), gdcm.ImageWriter()
        reader.SetFileName(str(source))
        if not reader.Read():
            raise ValueError("GDCM cannot read it")
        change.SetTransferSyntax(gdcm.TransferSyntax(getattr(gdcm.TransferSyntax, syntax)))
        change.SetInput(reader.GetImage())
        if not change.Change():
            raise ValueError("GDCM cannot change its syntax")
        writer.SetFileName(str(target))
        writer.SetFile(reader.GetFile())
        writer.SetImage(change.GetOutput())
        if not writer.Write():
            raise ValueError("GDCM cannot write it")
        return target.read_bytes()


def _saved(picture: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def picture_files(grey: NDArray[np.uint8]) -> dict[str, bytes]:
    """A film as a picture in every format, depth and mode; name → file."""
    film, deep = Image.fromarray(grey), Image.fromarray(grey.astype(np.uint16) * 257)
    small, exif = film.resize((film.width // 4, film.height // 4)), Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "a maker"
    rgb = film.convert("RGB")
    return {
        "JPEG": _saved(film, "JPEG", quality=90),
        "JPEG, EXIF": _saved(film, "JPEG", exif=exif, dpi=(150, 150)),
        "JPEG, colour": _saved(rgb, "JPEG", progressive=True),
        "JPEG, CMYK": _saved(film.convert("CMYK"), "JPEG"),
        "MPO": _saved(rgb, "MPO", save_all=True, append_images=[small.convert("RGB")]),
        "PNG": _saved(film, "PNG", exif=exif, dpi=(200, 100)),
        "PNG, 16 bits": _saved(deep, "PNG"),
        "PNG, palette": _saved(film.convert("P"), "PNG", transparency=0),
        "PNG, alpha": _saved(film.convert("LA"), "PNG"),
        "TIFF": _saved(film, "TIFF", exif=exif),
        "TIFF, 16 bits": _saved(deep, "TIFF"),
        "TIFF, LZW": _saved(film, "TIFF", compression="tiff_lzw"),
        "TIFF, fax": _saved(film.convert("1"), "TIFF", compression="group4"),
        "TIFF, float": _saved(Image.fromarray(grey.astype(np.float32)), "TIFF"),
        "TIFF, pages": _saved(film, "TIFF", save_all=True, append_images=[small]),
        "GIF": _saved(film, "GIF"),
        "BMP": _saved(film, "BMP"),
        "WebP": _saved(film, "WEBP", exif=exif),
        "JPEG 2000": _saved(film, "JPEG2000"),
        "JPEG 2000, 16 bits": _saved(deep, "JPEG2000"),
    }


def dicom_files(grey: NDArray[np.uint8]) -> dict[str, bytes]:
    """A film as DICOM in every syntax, and with the tags that decide how it looks; name → file."""
    twelve = (grey.astype(np.float64) / 255 * 4095).round().astype(np.uint16)
    lut = Dataset()
    lut.LUTDescriptor, lut.LUTData = [4096, 0, 16], np.arange(4096, dtype="<u2").tobytes()
    window = {"WindowCenter": 2048, "WindowWidth": 4096}
    plain = dicom_file(film_dataset(twelve, 12, **window))
    eight = dicom_file(film_dataset(grey, 8))
    files = {
        "DICOM": plain,
        "DICOM, VOI LUT": dicom_file(film_dataset(twelve, 12, VOILUTSequence=[lut])),
        "DICOM, signed": dicom_file(
            film_dataset(
                twelve.astype(np.int16) - 2048, 12, RescaleSlope=2, RescaleIntercept=9, PixelPaddingValue=-2048
            )
        ),
        "DICOM, high bit": dicom_file(film_dataset(twelve << 4, 12, HighBit=15)),
        "DICOM, colours": dicom_file(film_dataset(np.stack([grey] * 3, -1), 8, PixelSpacing=[0.2, 0.1])),
        "DICOM, no preamble": plain[132:],
        "DICOM, RLE": dicom_file(film_dataset(twelve, 12, **window), RLELossless),
    }
    for syntax in (ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian):
        files[f"DICOM, {syntax.name}"] = dicom_file(film_dataset(twelve, 12, **window), syntax)
    for name, known_as in COMPRESSED.items():
        lossy = known_as.startswith(("JPEGBaseline", "JPEGExtended"))
        files[f"DICOM, {name}"] = transcoded(eight if lossy else plain, known_as)
    return files


def pydicom_files(largest: int = 50_000_000) -> dict[str, bytes]:
    """The DICOM files that pydicom ships for its own tests, of at most so many bytes; name → file."""
    folder = Path(pydicom.data.__file__).parent / "test_files"
    files = {path.name: path.read_bytes() for path in sorted(folder.glob("*.dcm"))}
    return {name: data for name, data in files.items() if len(data) <= largest}


def has_pixels(data: bytes) -> bool:
    """Whether a DICOM file has any."""
    return "PixelData" in dcmread(io.BytesIO(data), force=True)
