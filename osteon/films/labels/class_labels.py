"""Words that name a film's class: data.classes says which."""

from functools import lru_cache

from osteon.folding import class_word
from osteon.params import ClassNames


def label_of(word: object, classes: ClassNames) -> int | None:
    """1, 0, or None for a word that names neither class, compared as osteon.folding.class_word says."""
    return _labels(tuple(classes.fractured), tuple(classes.not_fractured)).get(class_word(word))


@lru_cache(maxsize=8)
def _labels(fractured: tuple[str, ...], not_fractured: tuple[str, ...]) -> dict[str, int]:
    return {class_word(word): 0 for word in not_fractured} | {class_word(word): 1 for word in fractured}


def no_class(word: object, where: str) -> str:
    """The doubt about a film whose class is neither."""
    return f"{where} {str(word)!r} is neither in data.classes.fractured nor in data.classes.not_fractured"
