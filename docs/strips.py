"""Pictures of a page's arrays, drawn with the vocabulary of `diagrams`: rows of features, maps of weights, and bars."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from diagrams import THIN, WIDTH, drawing, framed, rectangle, shaded, text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def rows(panels: Mapping[str, np.ndarray], names: Sequence[str], shown: int | None, sentence: str) -> str:
    """Return arrays `[tokens, features]` below each other, shaded, the row `shown` in a frame; `sentence` says it.

    Shades have one measure in all panels, so that what is larger looks larger.
    """
    widest = max(array.shape[1] for array in panels.values())
    margin = 8 + 7 * max(map(len, names))
    wide, high = min(38, (WIDTH - margin - 2) / widest), 20
    greatest = max(np.abs(array).max() for array in panels.values())
    parts, y = [], 0.0
    for title, array in panels.items():
        if title:
            parts.append(text(margin, y + 9, title, anchor="start", size=12))
            y += 20
        for (row, column), number in np.ndenumerate(array):
            x = margin + column * wide
            parts.append(rectangle(x, y + row * high, wide, high, f"{shaded(number / greatest)} {THIN}"))
            parts.append(
                text(
                    x + wide / 2,
                    y + (row + 0.5) * high,
                    f"{round(number, 2) + 0:.2f}",
                    size=10,
                    quiet=shown is not None and row != shown,
                )
            )
        parts += [
            text(margin - 6, y + (row + 0.5) * high, name, anchor="end", size=12, quiet=shown is not None and row != shown)
            for row, name in enumerate(names)
        ]
        if shown is not None:
            parts.append(framed(margin, y + shown * high, array.shape[1] * wide, high))
        y += len(array) * high + 10
    return drawing(y - 6, parts, sentence, width=margin + widest * wide + 2)


def maps(panels: Mapping[str, np.ndarray], names: Sequence[str], shown: int, sentence: str) -> str:
    """Return weights `[queries, keys]` of heads side by side, the query `shown` in a frame; `sentence` says it.

    What is exactly 0 stays empty.
    """
    count = len(names)
    margin = 6 + 6.5 * max(map(len, names))
    size = min(26, ((WIDTH - 2) / len(panels) - margin) / count)
    parts = []
    for place, (title, weights) in enumerate(panels.items()):
        left = place * (margin + size * count + 2) + margin
        parts.append(text(left + size * count / 2, 8, title, size=12))
        for (query, key), weight in np.ndenumerate(weights):
            x, y = left + key * size, 34 + query * size
            parts.append(rectangle(x, y, size, size, f"{shaded(weight)} {THIN}"))
            if weight:
                parts.append(text(x + size / 2, y + size / 2, f"{weight:.2f}".lstrip("0"), size=9, quiet=query != shown))
        parts += [text(left + (key + 0.5) * size, 25, name, size=10, quiet=True) for key, name in enumerate(names)]
        parts += [text(left - 4, 34 + (query + 0.5) * size, name, anchor="end", size=11) for query, name in enumerate(names)]
        parts.append(framed(left, 34 + shown * size, size * count, size))
    return drawing(38 + count * size, parts, sentence, width=len(panels) * (margin + size * count + 2) + 2)


def bars(panels: Mapping[str, np.ndarray], names: Sequence[str], right: Sequence[int], sentence: str) -> str:
    """Return probabilities side by side, a bar for each name, and the right one of each panel in a frame; `sentence` says it."""
    margin = 8 + 7 * max(map(len, names))
    wide = (WIDTH - 2 - len(panels) * margin) / len(panels) - 40
    parts = []
    for place, ((title, shares), true) in enumerate(zip(panels.items(), right, strict=True)):
        left = place * (WIDTH / len(panels)) + margin
        parts.append(text(left, 9, title, anchor="start", size=12))
        for row, (name, share) in enumerate(zip(names, shares, strict=True)):
            y = 22 + 20 * row
            parts += [
                text(left - 6, y + 8, name, anchor="end", size=12),
                rectangle(left, y, max(share * wide, 0.5), 16, f"{shaded(0.9 if row == true else -0.9)} {THIN}"),
                text(left + share * wide + 4, y + 8, f"{share:.0%}", anchor="start", size=11),
            ]
            if row == true:
                parts.append(framed(left, y, max(share * wide, 0.5), 16))
    return drawing(26 + 20 * len(names), parts, sentence)
