"""Text as it is compared: words of classes, names of columns and files."""

import re
import unicodedata

_WHOLE_NUMBER = re.compile(r"\+?(\d+)(?:[.,]0*)?")
_BETWEEN = re.compile(r"(?<=[^\W_])[\s_\-\u2010-\u2013]+(?=[^\W_])")


def folded(text: str) -> str:
    """Text without outer spaces, case-folded and in Unicode's form NFC: 'É' is 'é', whether one code point or two.

    The four Turkish letters i, ı, İ and I are one: 'HAYIR' is written 'Hayır' and 'Hayir'.
    """
    text = unicodedata.normalize("NFC", text.strip())
    return unicodedata.normalize("NFC", text.casefold().replace("i\u0307", "i").replace("ı", "i"))


def class_word(word: object) -> str:
    """A word that names a class, as it is compared.

    Besides case and Unicode's form: '_', '-' and spaces between two letters or digits are one space ('Non-Fractured'
    is 'non fractured', but '-1' is not '1'), and a whole number is one however it is written ('1.0', '1,00' and '01'
    are '1').
    """
    text = folded(str(word))
    number = _WHOLE_NUMBER.fullmatch(text)
    return str(int(number[1])) if number else _BETWEEN.sub(" ", text)
