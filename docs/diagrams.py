"""The diagrams of the pages: one vocabulary of boxes, arrows and arrays, drawn as SVG in the page, in the colour of its text.

Data flows from top to bottom, and what happens in parallel stands side by side.
Where tokens meet, a box is orange, round and thick; where each token is by itself, it is blue grey, square and thin.
"""

from __future__ import annotations

import itertools
import os
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from cells import AFTER, BEFORE
from toise.overview import CONCEPTS
from toise_reference import causal_mask
from words import LANGUAGE, say

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

THIN = 'stroke="currentColor" stroke-opacity="0.4" stroke-width="0.8"'
WIDTH = 360  # of a drawing: what a telephone shows without making it smaller
MEET, ALONE, DATA = AFTER, BEFORE, ""  # where tokens meet, where each is by itself, and what is no step but an array


def drawing(height: float, parts: Sequence[str], sentence: str, *, width: float = WIDTH) -> str:
    """Return parts as a picture that needs nothing else; `sentence` is read out where it cannot be seen."""
    role = "group" if any("<a " in part for part in parts) else "img"
    return (
        f'<div class="diagram"><svg role="{role}" aria-label="{escape(sentence)}" viewBox="0 0 {width:g} {height:g}" '
        f'width="{1.25 * width:g}" font-size="13" fill="currentColor" stroke="none">{"".join(parts)}</svg></div>'
    )


def text(
    x: float, y: float, words: str, *, anchor: str = "middle", size: float = 13, code: bool = False, quiet: bool = False
) -> str:
    """Return words, centred on a height."""
    looks = ' font-family="monospace"' if code else ""
    looks += ' fill-opacity="0.75"' if quiet else ""
    return f'<text x="{x:g}" y="{y:g}" dy="0.35em" text-anchor="{anchor}" font-size="{size:g}"{looks}>{escape(words)}</text>'


def box(
    x: float, y: float, width: float, height: float, words: str = "", colour: str = DATA, *, size: float = 13, code: bool = False
) -> str:
    """Return a box around a centre, in the colour and the shape of what it does."""
    corner, thick = {MEET: (9, 2.2), ALONE: (1, 1.2), DATA: (3, 0.8)}[colour]
    looks = f'fill="{colour}" fill-opacity="0.16" stroke="{colour}" stroke-width="{thick}"' if colour else f'fill="none" {THIN}'
    frame = rectangle(x - width / 2, y - height / 2, width, height, f'rx="{corner}" {looks}')
    return frame + (text(x, y, words, size=size, code=code) if words else "")


def rectangle(x: float, y: float, width: float, height: float, looks: str) -> str:
    """Return a rectangle from its corner on."""
    return f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" {looks}/>'


def line(*points: tuple[float, float], dashed: bool = False, strength: float = 0.7, thick: float = 1.4) -> str:
    """Return a line through points."""
    dashes = ' stroke-dasharray="4 3"' if dashed else ""
    path = " ".join(f"{x:g},{y:g}" for x, y in points)
    looks = f'fill="none" stroke="currentColor" stroke-opacity="{strength:g}" stroke-width="{thick:g}"{dashes}'
    return f'<polyline points="{path}" {looks}/>'


def arrow(*points: tuple[float, float], dashed: bool = False, thick: float = 1.4) -> str:
    """Return a line through points with a head at the last of them."""
    (x0, y0), (x1, y1) = np.array(points[-2:], float)
    along = np.array([x1 - x0, y1 - y0]) / np.hypot(x1 - x0, y1 - y0)
    back, side = np.array([x1, y1]) - 7 * along, 3.5 * np.array([-along[1], along[0]])
    head = " ".join(f"{x:.4g},{y:.4g}" for x, y in ((x1, y1), back + side, back - side))
    stem = (*points[:-1], tuple(np.array([x1, y1]) - 6 * along))
    return line(*stem, dashed=dashed, thick=thick) + f'<polygon points="{head}" fill-opacity="0.8"/>'


def plus(x: float, y: float) -> str:
    """Return the sign of an addition."""
    return (
        f'<circle cx="{x:g}" cy="{y:g}" r="9" fill="{ALONE}" fill-opacity="0.16" stroke="{ALONE}" stroke-width="1.2"/>'
        + line((x - 5, y), (x + 5, y))
        + line((x, y - 5), (x, y + 5))
    )


def cells(x: float, y: float, shades: np.ndarray, size: float = 10, *, shown: int | None = None) -> str:
    """Return an array of shades from -1, blue grey, to 1, orange, from its corner on; a row that is `shown` has a frame."""
    parts = [
        rectangle(x + column * size, y + row * size, size, size, f"{shaded(shade)} {THIN}")
        for (row, column), shade in np.ndenumerate(np.asarray(shades, float))
    ]
    if shown is not None:
        parts.append(framed(x, y + shown * size, size * shades.shape[1], size))
    return "".join(parts)


def shaded(shade: float) -> str:
    """Return the fill of a field: orange above 0, blue grey below, and none at 0."""
    return f'fill="{AFTER if shade > 0 else BEFORE}" fill-opacity="{0.75 * abs(shade):.2f}"'


def framed(x: float, y: float, width: float, height: float) -> str:
    """Return the frame of what is spoken of."""
    return rectangle(x, y, width, height, f'fill="none" stroke="{AFTER}" stroke-width="2.2"')


def block() -> str:
    """Return a block of a decoder: its stages, which lead to their pages, from top to bottom, its heads side by side."""
    middle, left = 180, 44

    def stage(slug: str, *parts: str) -> str:
        return f'<a href="{slug}.md">{"".join(parts)}</a>'

    heads = [
        box(middle, 147, 240, 94, "", ALONE),
        *(box(x, 136, 104, 28, say("learn.head", number=number), MEET) for number, x in enumerate((122, 238))),
        box(middle, 181, 60, 22, "w_o", ALONE, code=True),
        text(middle + 8, 204, say("learn.causal_attention"), anchor="start", size=11),
    ]
    parts = [
        text(middle, 8, say("learn.words_so_far")),
        arrow((middle, 18), (middle, 32)),
        box(middle, 45, 200, 26, say("learn.embedding"), ALONE),
        line((middle, 58), (middle, 110)),
        rectangle(20, 78, 320, 330, f'rx="8" fill="none" stroke-dasharray="2 3" {THIN}'),
        stage("multi_head_attention", *heads),
        *(arrow((middle, 110), (x, 110), (x, 122)) for x in (122, 238)),
        *(line((x, 150), (x, 160), (middle, 160)) for x in (122, 238)),
        arrow((middle, 160), (middle, 170)),
        arrow((middle, 192), (middle, 217)),
        arrow((middle, 88), (left, 88), (left, 226), (171, 226)),
        stage("residual", plus(middle, 226)),
        arrow((middle, 235), (middle, 250)),
        stage("layer_norm", box(middle, 263, 140, 26, say("learn.layer_norm"), ALONE)),
        arrow((middle, 276), (middle, 302)),
        arrow((middle, 286), (left, 286), (left, 351), (171, 351)),
        stage("feed_forward", box(middle, 315, 180, 26, say("learn.feed_forward"), ALONE)),
        arrow((middle, 328), (middle, 342)),
        stage("residual", plus(middle, 351)),
        arrow((middle, 360), (middle, 374)),
        stage("layer_norm", box(middle, 387, 140, 26, say("learn.layer_norm"), ALONE)),
        arrow((middle, 400), (middle, 432)),
        text(332, 397, say("learn.times"), anchor="end", size=12, quiet=True),
        box(middle, 445, 200, 26, say("learn.to_logits"), ALONE),
        arrow((middle, 458), (middle, 480)),
        stage("autoregressive", box(middle, 493, 240, 26, say("learn.next_word"), DATA)),
        *(text(middle + 6, y, "[n, d_model]", anchor="start", size=10, code=True, quiet=True) for y in (68, 419)),
        text(middle + 6, 467, "[n, vocab]", anchor="start", size=10, code=True, quiet=True),
        box(36, 530, 24, 16, "", MEET),
        text(56, 530, say("learn.meet"), anchor="start", size=12),
        box(196, 530, 24, 16, "", ALONE),
        text(216, 530, say("learn.alone"), anchor="start", size=12),
    ]
    return drawing(542, parts, say("learn.block"))


def attention() -> str:
    """Return how attention goes from queries, keys and values to what each query takes away."""
    noise = np.random.default_rng(3)
    scores = noise.normal(size=(4, 4)) / 2
    seen = causal_mask(4)
    weights = np.where(seen, np.exp(2 * scores), 0)
    weights /= weights.sum(axis=-1, keepdims=True)
    hidden = "".join(
        line((31 + 11 * j, 129 + 11 * i), (38 + 11 * j, 136 + 11 * i), strength=0.5, thick=1)
        + line((38 + 11 * j, 129 + 11 * i), (31 + 11 * j, 136 + 11 * i), strength=0.5, thick=1)
        for i, j in np.argwhere(~seen)
    )
    parts = [
        *(box(x, 14, 62, 24, name, code=True) for x, name in ((110, "q"), (190, "k"), (300, "v"))),
        *(
            text(x, 34, shape, size=10, code=True, quiet=True)
            for x, shape in ((110, "[n, d_k]"), (190, "[m, d_k]"), (300, "[m, d_v]"))
        ),
        *(arrow((x, 42), (x, 62)) for x in (110, 190)),
        box(150, 76, 136, 28, say("learn.compare"), MEET),
        cells(29, 57, scores, 11, shown=2),
        arrow((150, 90), (150, 136)),
        text(156, 112, "scores [n, m]", anchor="start", size=10, code=True, quiet=True),
        box(150, 150, 136, 28, say("learn.hide"), ALONE),
        cells(29, 127, np.where(seen, scores, 0), 11, shown=2),
        hidden,
        arrow((150, 164), (150, 194)),
        box(150, 208, 136, 28, say("learn.softmax"), ALONE),
        cells(29, 196, weights, 11, shown=2),
        arrow((150, 222), (150, 256)),
        text(156, 238, "weights [n, m]", anchor="start", size=10, code=True, quiet=True),
        arrow((300, 42), (300, 270), (252, 270)),
        box(165, 270, 166, 28, say("learn.mix"), MEET),
        arrow((165, 284), (165, 306)),
        text(165, 316, "y [n, d_v]", size=11, code=True),
    ]
    return drawing(326, parts, say("learn.attention"))


def multi_head_attention() -> str:
    """Return how the heads stand side by side between the token and w_o."""
    parts = [
        text(180, 10, "x [n, d_model]", size=11, code=True),
        line((180, 20), (180, 30)),
        *(text(232, y, "…", size=16) for y in (66, 117)),
        *(arrow((180, 30), (x, 30), (x, 46)) for x in (54, 160, 304)),
    ]
    for x, number, shade, end in ((54, "0", 0.3, 114), (160, "1", 0.6, 180), (304, "h - 1", 1, 246)):
        parts += [
            box(x, 70, 92, 46, "", ALONE),
            text(x, 61, say("learn.head", number=number), size=12),
            text(x, 78, "w_q w_k w_v", size=10, code=True),
            arrow((x, 93), (x, 106)),
            box(x, 120, 92, 28, say("learn.attention_box"), MEET),
            arrow((x, 134), (x, 148), (end, 148), (end, 164)),
            rectangle(end - 33, 166, 66, 20, f"{shaded(shade)} {THIN}"),
        ]
    parts += [
        text(180, 196, say("learn.side_by_side"), size=11, quiet=True),
        text(285, 176, "[n, h*d_v]", anchor="start", size=10, code=True, quiet=True),
        arrow((180, 204), (180, 219)),
        box(180, 232, 198, 26, say("learn.w_o"), ALONE),
        arrow((180, 245), (180, 262)),
        text(180, 271, "y [n, d_model]", size=11, code=True),
    ]
    return drawing(280, parts, say("learn.multi_head_attention"))


def feed_forward() -> str:
    """Return a token that is widened to hidden units, some of which are off, and made narrow again."""
    features, units = [105 + 30 * place for place in range(4)], [45 + 30 * place for place in range(8)]
    on = (True, False, True, True, False, False, True, False)
    parts = [line((x, 24), (unit, 92), strength=0.2, thick=0.8) for x, unit in itertools.product(features, units)]
    parts += [
        line((unit, 108), (x, 176), strength=0.55 if is_on else 0.06, thick=0.8)
        for x, (unit, is_on) in itertools.product(features, zip(units, on, strict=True))
    ]
    parts += [_dot(x, y, BEFORE, filled=True) for x, y in itertools.product(features, (18, 182))]
    parts += [_dot(unit, 100, AFTER if is_on else "currentColor", filled=is_on) for unit, is_on in zip(units, on, strict=True)]
    parts += [
        text(285, 18, "x [d_model]", anchor="start", size=10, code=True),
        text(285, 54, "w1, b1", anchor="start", size=11, code=True),
        text(285, 92, "hidden", anchor="start", size=10, code=True),
        text(285, 106, "[d_ff]", anchor="start", size=10, code=True),
        text(285, 146, "w2, b2", anchor="start", size=11, code=True),
        text(285, 182, "y [d_model]", anchor="start", size=10, code=True),
        text(180, 207, say("learn.units_off"), size=12, quiet=True),
    ]
    return drawing(218, parts, say("learn.feed_forward_says"))


def _dot(x: float, y: float, colour: str, *, filled: bool, radius: float = 7) -> str:
    looks = f'fill="{colour}" fill-opacity="0.8"' if filled else 'fill="none"'
    return f'<circle cx="{x:g}" cy="{y:g}" r="{radius:g}" {looks} stroke="{colour}" stroke-opacity="0.8"/>'


def layer_norm() -> str:
    """Return the axis along which layer norm takes its mean: the features of one token."""
    tokens = np.random.default_rng(8).normal(size=(4, 6)) * [[0.2], [0.5], [0.15], [0.3]] + [[-0.3], [0.4], [0.6], [-0.6]]
    normalised = (tokens - tokens.mean(-1, keepdims=True)) / tokens.std(-1, keepdims=True) / 2.4
    tokens = np.clip(tokens / np.abs(tokens).max(), -1, 1)
    parts = [
        text(66, 10, say("learn.features"), size=11, quiet=True),
        cells(6, 22, tokens, 20, shown=1),
        text(66, 112, "x [n, d]", size=10, code=True, quiet=True),
        arrow((128, 52), (146, 52)),
        box(184, 52, 74, 40, "", ALONE),
        text(184, 44, say("learn.mean"), size=11),
        text(184, 60, say("learn.spread"), size=11),
        arrow((222, 52), (236, 52)),
        cells(238, 42, normalised[1:2], 20, shown=0),
        text(298, 112, "y [n, d]", size=10, code=True, quiet=True),
        *(cells(238, 22 + 20 * row, np.zeros((1, 6)), 20) for row in (0, 2, 3)),
        text(180, 132, say("learn.row_alone"), size=12, quiet=True),
    ]
    return drawing(142, parts, say("learn.layer_norm_says"))


def residual() -> str:
    """Return the two ways from x to y: one past the sublayer, and one through it."""
    parts = [
        text(140, 10, "x [n, d]", size=11, code=True),
        line((140, 19), (140, 34)),
        arrow((140, 34), (140, 118)),
        arrow((140, 34), (240, 34), (240, 56)),
        box(240, 70, 110, 28, say("learn.sublayer"), DATA),
        arrow((240, 84), (240, 128), (149, 128)),
        plus(140, 128),
        arrow((140, 137), (140, 158)),
        text(140, 167, "y = x + sublayer(x)", size=11, code=True),
        text(130, 70, say("learn.kept"), anchor="end", size=12, quiet=True),
        text(250, 110, say("learn.added"), anchor="start", size=12, quiet=True),
    ]
    return drawing(176, parts, say("learn.residual_says"))


def mask() -> str:
    """Return the causal mask over a whole text, and over the last tokens of one."""
    words = say("learn.sentence").split()[:5]
    parts = [
        text(98, 8, say("learn.whole_text"), size=12, quiet=True),
        text(282, 8, say("learn.two_new"), size=12, quiet=True),
        rectangle(222, 38, 120, 72, f'fill="none" stroke-dasharray="3 3" {THIN}'),
        text(282, 74, say("learn.read_before"), size=11, quiet=True),
    ]
    for x, n in ((38, 5), (222, 2)):
        seen = causal_mask(n, m=5)
        parts.append(cells(x, 38 + 24 * (5 - n), 0.8 * seen, 24))
        parts += [
            _dot(x + 12 + 24 * j, 50 + 24 * (5 - n + i), "currentColor", filled=True, radius=2.5) for i, j in np.argwhere(seen)
        ]
        parts += [text(x - 5, 50 + 24 * row, words[row], anchor="end", size=11) for row in range(5 - n, 5)]
        parts += [text(x + 12 + 24 * j, 28, word, size=10) for j, word in enumerate(words)]
        parts += [text(x + 60, 170, f"n = {n}, m = 5", size=10, code=True, quiet=True)]
    return drawing(180, parts, say("learn.mask_says"))


def masked_language_model() -> str:
    """Return a text, what the model is shown of it, and which places it is asked about."""
    text_ = say("learn.sentence").split()[:6]
    shown = {1: ("[MASK]", "learn.masked"), 3: (say("learn.other_word"), "learn.replaced"), 5: (text_[5], "learn.left")}
    places = [32 + 59 * place for place in range(6)]
    parts = [text(x, 12, word, size=12) for x, word in zip(places, text_, strict=True)]
    for place, x in enumerate(places):
        word, what = shown.get(place, (text_[place], ""))
        parts.append(arrow((x, 22), (x, 48), dashed=place not in shown))
        parts.append(box(x, 60, 54, 22, word, size=11 if place != 1 else 10))
        if what:
            parts.append(framed(x - 27, 49, 54, 22))
            parts.append(text(x, 81, say(what), size=10, quiet=True))
        parts.append(line((x, 90), (x, 100), strength=0.5))
    parts.append(box(180, 116, 350, 30, say("learn.both_ways"), MEET))
    for place in shown:
        x = places[place]
        parts += [arrow((x, 132), (x, 152)), box(x, 164, 54, 22, say("learn.asked"), ALONE, size=11)]
        parts += [arrow((x, 175), (x, 193)), text(x, 202, text_[place], size=12)]
    parts.append(text(180, 222, say("learn.charged"), size=12, quiet=True))
    return drawing(232, parts, say("learn.mlm_says"))


def autoregressive() -> str:
    """Return a text, a row of logits below each word, and the next word, which that row rates."""
    words = say("learn.sentence").split()[:5]
    places = [40 + 70 * place for place in range(5)]
    parts = [
        *(text(x, 12, word, size=12) for x, word in zip(places, words, strict=True)),
        *(text(x, 28, f"tokens[{t}]", size=9, code=True, quiet=True) for t, x in enumerate(places)),
        *(arrow((x, 36), (x, 52)) for x in places),
        box(180, 67, 350, 28, say("learn.decoder"), MEET),
        *(arrow((x, 82), (x, 98)) for x in places),
        *(box(x, 110, 62, 22, f"logits[{t}]", ALONE if t < 4 else DATA, size=10, code=True) for t, x in enumerate(places)),
        *(arrow((x, 122), (after - 6, 166)) for x, after in itertools.pairwise(places)),
        *(text(x, 176, word, size=12) for x, word in zip(places[1:], words[1:], strict=True)),
        *(text(x, 192, f"tokens[{t}]", size=9, code=True, quiet=True) for t, x in enumerate(places) if t),
        text(places[0], 176, say("learn.given"), size=10, quiet=True),
        line((places[4], 122), (places[4], 134), dashed=True),
        text(358, 142, say("learn.unused"), anchor="end", size=10, quiet=True),
    ]
    return drawing(202, parts, say("learn.autoregressive_says"))


def icons() -> Mapping[str, str]:
    """Return, for each concept, a drawing without words."""
    shares = (0.5, 1.2, 3.2, 0.8)
    dots = [14 + 22 * place for place in range(4)]
    looks = [line((x, 12), (47, 46), strength=0.8, thick=share) for x, share in zip(dots, shares, strict=True)]
    fan = [
        line((x, 12), (target, 46), strength=0.7, thick=1 + (x == best)) for target, best in ((26, 14), (68, 80)) for x in dots
    ]
    above = [_dot(x, 10, BEFORE, filled=True, radius=5) for x in dots]
    pictures = {
        "attention": [*looks, *above, _dot(47, 48, AFTER, filled=True, radius=6)],
        "multi_head_attention": [*fan, *above, *(_dot(x, 48, AFTER, filled=True, radius=6) for x in (26, 68))],
        "feed_forward": [
            *(line((x, 8), (unit, 28), strength=0.4, thick=0.8) for x in (36, 58) for unit in (14, 30, 47, 64, 80)),
            *(line((unit, 30), (x, 50), strength=0.4, thick=0.8) for x in (36, 58) for unit in (14, 47, 64)),
            *(_dot(x, y, BEFORE, filled=True, radius=5) for x in (36, 58) for y in (8, 50)),
            *(_dot(unit, 29, AFTER, filled=unit not in {30, 80}, radius=5) for unit in (14, 30, 47, 64, 80)),
        ],
        "layer_norm": [
            *(_dot(x, 14, BEFORE, filled=True, radius=4) for x in (60, 70, 75, 88)),
            line((6, 14), (90, 14), strength=0.4),
            arrow((47, 20), (47, 36)),
            line((6, 46), (90, 46), strength=0.4),
            *(_dot(x, 46, AFTER, filled=True, radius=4) for x in (22, 44, 55, 72)),
            line((47, 40), (47, 52)),
        ],
        "residual": [
            arrow((24, 4), (24, 38)), arrow((24, 10), (70, 10), (70, 17)), box(70, 26, 36, 18, "", DATA),
            arrow((70, 35), (70, 46), (33, 46)), plus(24, 46),
        ],
        "causal_mask": [cells(24, 5, 0.8 * causal_mask(4), 12)],
        "masked_language_model": [
            *(box(14 + 22 * place, 20, 18, 18, "?" if place == 2 else "") for place in range(4)),
            framed(49, 11, 18, 18), arrow((58, 30), (58, 50)),
        ],
        "autoregressive": [
            *(box(14 + 22 * place, 14, 18, 14) for place in range(4)),
            *(arrow((14 + 22 * place, 22), (34 + 22 * place, 42)) for place in range(3)),
            *(box(36 + 22 * place, 49, 18, 13, "", ALONE) for place in range(3)),
        ],
    }  # fmt: skip
    return {
        slug: f'<svg aria-hidden="true" viewBox="0 0 94 58" width="94" fill="currentColor" stroke="none">{"".join(parts)}</svg>'
        for slug, parts in pictures.items()
    }


def reading_order() -> str:
    """Return the concepts in reading order: of each a drawing, a link to its page, and the page's own first sentence."""
    pages = Path(__file__).parent / os.environ.get(LANGUAGE, "en") / "learn"
    drawn = icons()
    items = []
    for number, slug in enumerate(CONCEPTS, start=1):
        title, sentence = (pages / f"{slug}.md").read_text(encoding="utf-8").split("\n\n")[:2]
        name = f'<a href="{slug}.md"><strong>{escape(title.removeprefix("# "))}</strong></a>'
        items.append(f'<div class="step"><span>{drawn[slug]}</span><span>{number}. {name}<br>{escape(sentence)}</span></div>')
    return "\n".join(items)
