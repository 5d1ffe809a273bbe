"""Words that name a film's class: data.classes says which."""

from osteon.folding import class_word
from osteon.params import ClassNames


def label_of(word: object, classes: ClassNames) -> int | None:
    """1, 0, or None for a word that names neither class, compared as osteon.folding.class_word says."""
    text = class_word(word)
    if text in {class_word(name) for name in classes.fractured}:
        return 1
    if text in {class_word(name) for name in classes.not_fractured}:
        return 0
    return None


def no_class(word: object, where: str) -> str:
    """The doubt about a film whose class is neither."""
    return f"{where} {str(word)!r} is neither in data.classes.fractured nor in data.classes.not_fractured"
