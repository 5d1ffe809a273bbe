"""What the words mean that sets use for their classes, as far as a reader of radiographs' sets would be sure."""

import re
from typing import NamedTuple

from osteon.folding import class_word

# Words of names and of tables' cells, in the form of class_word: English, German, French, Spanish, Italian, Portuguese
# and Turkish.
_FRACTURED = re.compile(r"fract|frakt|frattur|fratur|bruch|broken|kirik|fissur")
_SURELY = frozenset(
    {"fractured", "fracture", "fractures", "fractured bone", "fractured bones", "bone fracture", "bone fractures"}
    | {"broken", "broken bone", "fraktur", "bruch", "fracturé", "fracturada", "fractura", "frattura", "fratura"}
    | {"kirik", "yes", "y", "true", "ja", "oui", "sí", "si", "sì", "sim", "evet"}
)
_SURELY_NOT = frozenset(
    {"normal", "healthy", "intact", "unfractured", "unbroken", "sağlam", "n", "false"}
    | {"nein", "non", "não", "hayir", "no", "no finding", "no findings"}
)
_NUMBER = re.compile(r"[+-]?\d+([.,]\d+)?")
_NEGATION = re.compile(r"(^|\s)(no|not|non|nicht|kein|keine|ohne|sans|sin|sem|senza|without|negative)(\s|$)")
_PERHAPS = frozenset({"positive", "pos", "abnormal", "pathological", "pathologic", "lesion"})
_PERHAPS_NOT = frozenset({"negative", "neg", "unremarkable", "control", "background"})


class Meaning(NamedTuple):
    """label: 1 fractured, 0 not fractured, None neither. sure: False where a person must look."""

    label: int | None
    sure: bool


def meaning_of(word: str) -> Meaning:
    """What a class's name means by itself, without a set's own lists of words."""
    compared = class_word(word)
    if _NUMBER.fullmatch(compared):  # of numbers 1 and 0 alone are usual: -1 is not 1
        return Meaning(int(compared), True) if compared in ("0", "1") else Meaning(None, False)
    text = " ".join(re.sub(r"[\W_]+", " ", compared).split())
    negated = _NEGATION.search(text)
    if text in _SURELY:
        return Meaning(1, True)
    if text in _SURELY_NOT or (negated and _NEGATION.sub(" ", text).strip() in _SURELY):
        return Meaning(0, True)
    if _FRACTURED.search(text):
        return Meaning(0 if negated or text.startswith(("un", "non")) else 1, False)
    words = set(text.split())
    if words & _PERHAPS:
        return Meaning(0 if negated and "negative" not in words else 1, False)
    if words & _PERHAPS_NOT:
        return Meaning(0, False)
    return Meaning(None, False)
