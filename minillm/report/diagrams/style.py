"""Colours for a light and a dark background, and how wide a text is.

Every colour has a name and two values. They are mixed from the palette of the plots, so that a diagram and a plot of
the same lesson look alike; a test holds that every text has a contrast of 4.5 : 1 on its ground, in both modes.
Widths are those of Helvetica and Arial, a little enlarged; a text is drawn exactly as wide as it was measured, so that
nothing collides whatever font a reader has.
"""

from minillm.report.plots import COLOURS

BASES = dict(zip(("blue", "red", "green", "pink", "orange", "sky"), COLOURS)) | {"grey": "#8c959f"}
LEVELS = 8  # shades of a heat map
LIGHT_CARD, DARK_CARD = "#ffffff", "#161b22"
NARROW = {  # widths in thousandths of the font size
    **dict.fromkeys("ijl", 222), **dict.fromkeys(" !,./:;I[\\]ft", 278), **dict.fromkeys("()-r`", 333),
    "'": 191, "|": 260, "{": 334, "}": 334, '"': 355, "*": 389, "^": 469, "J": 500,
    **dict.fromkeys("ckszvxy", 500), **dict.fromkeys("+<=>~×−≈≥≤±÷", 584), **dict.fromkeys("FTZ", 611),
    **dict.fromkeys("&ABEKPSVXY", 667), **dict.fromkeys("CDHNRUw", 722), **dict.fromkeys("GOQ", 778),
    **dict.fromkeys("mM", 833), "%": 889, "W": 944, "@": 1015, "…": 1000, "—": 1000, "→": 1000, "←": 1000, "·": 278,
    **dict.fromkeys("₀₁₂₃₄₅₆₇₈₉ₜᵢⱼ", 350), **dict.fromkeys("⁰¹²³⁴⁵⁶⁷⁸⁹ᵀ⁻", 350), "∞": 750, "Σ": 640, "√": 560, "π": 560,
}  # fmt: skip


def mix(colour: str, other: str, share: float) -> str:
    """A colour with a share of another in it.

    >>> mix("#000000", "#ffffff", 0.5)
    '#808080'
    """
    pairs = [(int(colour[i : i + 2], 16), int(other[i : i + 2], 16)) for i in (1, 3, 5)]
    return "#" + "".join(f"{round(a + (b - a) * share):02x}" for a, b in pairs)


def _luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(colour: str, other: str) -> float:
    """How well one colour stands out on another, from 1 to 21 (WCAG 2.1)."""
    low, high = sorted((_luminance(colour), _luminance(other)))
    return (high + 0.05) / (low + 0.05)


def _palette() -> dict[str, tuple[str, str]]:
    """Every colour by its name, on light and on dark ground."""
    found = {
        "card": (LIGHT_CARD, DARK_CARD),
        "edge": ("#d0d7de", "#3d444d"),
        "plain": ("#f3f5f7", "#262d36"),
        "ink": ("#1f2328", "#f0f3f6"),
        "muted": ("#57606a", "#b6bec8"),
        "line": ("#57606a", "#a5afba"),
    }
    for name, base in BASES.items():
        found[name] = (mix(base, LIGHT_CARD, 0.70), mix(base, DARK_CARD, 0.62))
        found[f"{name} line"] = (base, mix(base, "#ffffff", 0.25))
        found[f"{name} ink"] = (mix(base, "#000000", 0.45), mix(base, "#ffffff", 0.60))
    for level in range(LEVELS + 1):
        share = 1 - 0.62 * level / LEVELS
        found[f"heat {level}"] = (mix(BASES["blue"], LIGHT_CARD, share), mix(BASES["blue"], DARK_CARD, share))
        found[f"cold {level}"] = (mix(BASES["red"], LIGHT_CARD, share), mix(BASES["red"], DARK_CARD, share))
    return found


PALETTE = _palette()


def shade(value: float, largest: float = 1.0) -> str:
    """The fill of a cell of a heat map: blue for what is positive, red for what is negative."""
    level = round(LEVELS * min(1.0, abs(value) / largest)) if largest else 0
    return f"{'heat' if value >= 0 else 'cold'} {level}"


def width_of(text: str, size: float, bold: bool = False, mono: bool = False) -> float:
    """How wide a line of text is drawn."""
    if mono:
        return 0.6 * size * len(text)
    return size * sum(NARROW.get(letter, 556) for letter in text) / 1000 * (1.13 if bold else 1.05)


def wrapped(text: str, width: float, size: float, bold: bool = False) -> list[str]:
    """A text in lines of at most this width, broken at spaces and where it has a line break."""
    lines: list[str] = []
    for paragraph in text.split("\n"):
        line = ""
        for word in paragraph.split(" "):
            longer = f"{line} {word}".strip()
            if line and width_of(longer, size, bold) > width:
                lines.append(line)
                longer = word
            line = longer
        lines.append(line)
    return lines


def fitted(text: str, width: float, size: float, bold: bool = False, mono: bool = False) -> str:
    """A text cut so that it is at most so wide; what was cut is an ellipsis."""
    if width_of(text, size, bold, mono) <= width:
        return text
    while text and width_of(text + "…", size, bold, mono) > width:
        text = text[:-1]
    return text.rstrip() + "…"
