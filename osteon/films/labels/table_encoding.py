"""The text of a table, and the encoding in which it is written.

Unicode says what it is. Of a code page nothing does, and few words of a table have letters beyond ASCII. So the
encoding is taken in which most of the words known beforehand are found (names of files, words of classes, columns);
where that does not decide, the first whose letters are all of one language's; else what charset-normalizer thinks.
"""

import codecs
import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from charset_normalizer import from_bytes

from osteon.folding import folded

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark is the beginning of this one
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_WESTERN = "àáâãäåæçèéêëìíîïñòóôõöøùúûüÿœß"
_TURKISH = "çğıöşüâîû"
_CENTRAL = ("ąćęłńóśźż", "áäčďéěíĺľňóôŕřšťúůýž", "áéíóöőúüű", "čćđšž", "ăâîșțşţ")
_CYRILLIC = "абвгдежзийклмнопрстуфхцчшщъыьэюяёіїєґўјљњћџђ"
# What spreadsheets write, the commonest first: an encoding, and the letters of a language that is written in it.
_CODE_PAGES = (
    ("cp1252", _WESTERN),
    ("cp1254", _TURKISH),
    *(("cp1250", letters) for letters in _CENTRAL),
    ("cp1251", _CYRILLIC),
    ("cp1253", "αβγδεζηθικλμνξοπρσςτυφχψωάέήίόύώϊϋΐΰ"),
    ("cp1257", "āčēģīķļņšūžąęėįųõäöü"),
    ("mac_roman", _WESTERN),
    ("cp850", _WESTERN),
    ("cp857", _TURKISH),
    *(("cp852", letters) for letters in _CENTRAL),
    ("cp866", _CYRILLIC),
)
_SIGNS = frozenset("°²³±×µ·«»„“”‘’–—…€£½¼¾ºª\u00a0")


class Decoded(NamedTuple):
    """A text and how it was read. certain: False where only its letters speak for the encoding."""

    text: str
    encoding: str
    certain: bool


def decoded(data: bytes, known_words: Iterable[str]) -> Decoded | None:
    """The text of a file; None where it is no text in any encoding that is known.

    Args:
        data: the whole file.
        known_words: that may be in it.

    """
    certain = [encoding for mark, encoding in _MARKS if data.startswith(mark)][:1]
    if not certain and b"\0" in data:  # UTF-16 without a mark: of ASCII every other byte is 0
        certain = ["utf-16-le" if data[1::2].count(0) > data[::2].count(0) else "utf-16-be"]
    for encoding in certain or ["utf-8"]:
        try:
            return Decoded(data.decode(encoding), encoding, True)
        except UnicodeDecodeError:
            continue
    return None if certain else _of_code_page(data, known_words)


def _of_code_page(data: bytes, known_words: Iterable[str]) -> Decoded | None:
    telling = {folded(word) for word in known_words if not word.isascii()}
    best, most = None, -1
    for text, encoding in _readings(data):
        cells = {folded(cell) for cell in re.split(r"[,;|\t\r\n\"]+", text)} if telling else set()
        names = {re.split(r"[/\\]", cell)[-1] for cell in cells}
        count = len(telling & (cells | names))
        if count > most:
            best, most = Decoded(text, encoding, count > 0), count
    return best


def _readings(data: bytes) -> Iterator[tuple[str, str]]:
    """The text in each encoding that is possible, the likeliest first."""
    # Only these words tell; each once, as the detector goes by how often a letter is there.
    words = b" ".join(dict.fromkeys(re.findall(rb"[^\s,;|\"]*[\x80-\xff][^\s,;|\"]*", data)))
    likely = [encoding for encoding, letters in _CODE_PAGES if _of_language(words, encoding, letters)]
    detected = [match.encoding for match in from_bytes(words)]
    possible = [encoding for encoding, _ in _CODE_PAGES] if likely or detected else []
    for encoding in dict.fromkeys([*likely, *detected, *possible]):
        try:
            yield data.decode(encoding), encoding
        except UnicodeDecodeError:
            continue


def _of_language(words: bytes, encoding: str, letters: str) -> bool:
    """Whether all letters of a text are of one language and none is upper case within a word."""
    try:
        text = words.decode(encoding)
    except UnicodeDecodeError:
        return False
    if re.search(rf"[^\W\d_][{''.join(_SIGNS - set('’ '))}](?=[^\W\d_])", text.replace("\u00a0", " ")):  # within a word
        return False
    beyond = [(before, char) for before, char in zip(f" {text}", text, strict=False) if not char.isascii()]
    return all(
        char in _SIGNS or (char.lower() in letters and not (char.isupper() and before.islower()))
        for before, char in beyond
    )
