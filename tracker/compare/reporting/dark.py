"""A figure for a dark page: the same hues, lightness turned around.

A style sheet's `invert() hue-rotate()` bends hues where colours are strong: red came out brown, and
the heat map's deepest pink. So colours are turned one by one, in Ok-Lab, where lightness is what
the eye calls so.

Source: Ottosson, "A perceptual color space for image processing" (2020).
"""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

GROUND, INK = "#151517", "#e7e7ea"
"""As in page.css."""
COLOR = re.compile(r"#[0-9a-f]{6}\b", re.IGNORECASE)

LIGHT = (0.0, 0.3, 0.5, 0.67, 0.8, 0.92, 1.0)
DARK = (0.93, 0.9, 0.76, 0.68, 0.48, 0.3, 0.196)
"""Lightness on a white ground, and what becomes of it: the ground to the ground, lines stay well above it."""
STRONG = 0.05
"""Chroma from which a colour is one; such are kept below a lightness of
HIGHEST, above which a screen has no strong ones."""
HIGHEST = 0.78

TO_LMS = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
TO_LAB = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
)


def dark(svg: bytes) -> bytes:
    """Return a figure, drawn on white, for a dark ground."""
    text = COLOR.sub(lambda match: turned(match[0]), svg.decode())
    head, end, rest = text.partition(">")
    return f"{head}{end}<style>text{{fill:{INK}}}</style>{rest}".encode()


def turned(color: str) -> str:
    """Return a colour, `#rrggbb`, with its lightness turned around."""
    if color.lower() == "#ffffff":
        return GROUND
    light, a, b = TO_LAB @ np.cbrt(TO_LMS @ _linear(color))
    strong = (a * a + b * b) ** 0.5 > STRONG
    wanted = float(np.interp(light, LIGHT, DARK))
    return _hex(min(wanted, HIGHEST) if strong else wanted, a, b)


def _linear(color: str) -> NDArray[np.float64]:
    values = np.array([int(color[place : place + 2], 16) for place in (1, 3, 5)]) / 255
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def _hex(light: float, a: float, b: float) -> str:
    """Return the colour; one that a screen does not have gives up strength until it does."""
    for share in np.linspace(1, 0, 21):
        lms = (np.linalg.inv(TO_LAB) @ np.array([light, share * a, share * b])) ** 3
        linear = np.linalg.inv(TO_LMS) @ lms
        if (linear >= -1e-4).all() and (linear <= 1 + 1e-4).all():
            break
    linear = np.clip(linear, 0, 1)
    values = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return "#" + "".join(f"{round(255 * value):02x}" for value in values)
