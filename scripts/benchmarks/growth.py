"""How a cost grows with the length of a sequence: the exponent e of cost = c * length ** e.

At a constant number of positions a batch has fewer rows the longer they are, so costs are divided by the rows: 1 is
linear, 2 quadratic. The least squares over all lengths are pulled towards 1 by what is linear in every model; the last
two lengths are nearer to the end.
"""

import math
import statistics
from typing import Any, Dict, List, Mapping, Sequence


def exponent(lengths: Sequence[float], costs: Sequence[float]) -> float:
    """How a cost grows: e of cost = c * length ** e, by least squares between the logarithms.

    Args:
        lengths: at least two different ones.
        costs: of each length, above 0.

    Returns:
        1 where it is linear, 2 where it is quadratic; nan where there are fewer than two lengths.
    """
    if len(set(lengths)) < 2:
        return math.nan
    return statistics.linear_regression([math.log(n) for n in lengths], [math.log(c) for c in costs]).slope


def growth(
    rows: Sequence[Mapping[str, Any]], group: str, length: str, costs: Mapping[str, str]
) -> List[Dict[str, Any]]:
    """How the costs of one sequence grow.

    Args:
        rows: of a table, with a column `batch`.
        group: the column that says what belongs together.
        length: the column of the length.
        costs: names of the costs and their columns; rows where one was not measured are left out.

    Returns:
        For each group its exponents: over all lengths by the name of the cost, between the last two as NAME_last_two.
    """
    found = []
    for name in dict.fromkeys(row[group] for row in rows):
        line = sorted((row for row in rows if row[group] == name), key=lambda row: row[length])
        exponents: Dict[str, Any] = {group: name}
        for what, column in costs.items():
            known = [row for row in line if row[column]]
            lengths, values = [row[length] for row in known], [row[column] / row["batch"] for row in known]
            exponents[what] = exponent(lengths, values)
            exponents[f"{what}_last_two"] = exponent(lengths[-2:], values[-2:])
        found.append(exponents)
    return found
