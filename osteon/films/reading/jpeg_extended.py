"""JPEG Extended (process 2 and 4) of 10 and 12 bits, by GDCM.

pydicom hands this syntax to GDCM for 8 bits only; GDCM decodes 12 as well. `register` makes pydicom use it.
"""

from typing import Any

import gdcm
from pydicom.pixels.decoders.base import JPEGExtended12BitDecoder
from pydicom.uid import JPEGExtended12Bit

PLUGIN = "osteon"
DECODER_DEPENDENCIES = {JPEGExtended12Bit: ("gdcm>=3.0.10",)}  # pydicom wants it


def is_available(uid: str) -> bool:
    """Whether pydicom may ask for this syntax."""
    return uid == JPEGExtended12Bit


def decode_frame(source: bytes, runner: Any) -> bytes:
    """Decode one frame to 16-bit words, as pydicom's decoders do.

    Args:
        source: a JPEG stream.
        runner: pydicom's DecodeRunner; says what the tags say of the pixels.

    """
    fragment = gdcm.Fragment()
    fragment.SetByteStringValue(source)
    fragments = gdcm.SequenceOfFragments.New()
    fragments.AddFragment(fragment)
    element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    element.SetValue(fragments.__ref__())

    image = gdcm.Image()
    image.SetNumberOfDimensions(2)
    image.SetDimensions((runner.columns, runner.rows, 1))
    image.SetDataElement(element)
    kind = gdcm.PhotometricInterpretation.GetPIType(str(runner.photometric_interpretation))
    image.SetPhotometricInterpretation(gdcm.PhotometricInterpretation(kind))
    image.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.JPEGExtendedProcess2_4))
    bits = runner.bits_stored
    image.SetPixelFormat(
        gdcm.PixelFormat(runner.samples_per_pixel, runner.bits_allocated, bits, bits - 1, runner.pixel_representation)
    )
    # GDCM's Python gives bytes as text.
    frame: bytes = image.GetBuffer().encode("utf-8", "surrogateescape")
    return frame


def register() -> None:
    """Make pydicom decode this syntax here, too; a second call changes nothing."""
    if PLUGIN not in JPEGExtended12BitDecoder.available_plugins:
        JPEGExtended12BitDecoder.add_plugin(PLUGIN, (__name__, "decode_frame"))
