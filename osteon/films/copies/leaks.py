"""What prepare says of pairs of films that are one, for who reads it: the table, and how many were joined."""

from pathlib import Path

import pandas as pd

from osteon.errors import OsteonError

TABLE = "pairs.csv"


def count_joined(folder: Path) -> dict[str, int]:
    """Sign → pairs that were joined by it, the most first, from what pairs.write_pairs wrote.

    Raises:
        OsteonError: it is not there.

    """
    try:
        pairs = pd.read_csv(folder / TABLE)
    except FileNotFoundError:
        raise OsteonError(f"{folder}: {TABLE} is missing; run the step prepare") from None
    return {str(sign): int(count) for sign, count in pairs.loc[pairs["joined"], "sign"].value_counts().items()}
