"""The table as a picture.

Bars on a logarithmic scale show how many times as long as the first machine each of the others takes.
"""

import math
import pathlib

COLOURS = {"qemu": "#8a8a8a", "rr": "#c9b28a", "record": "#6aa2c9", "pair": "#2f6f9f"}
HEIGHT, LEFT, WIDTH, TOP = 12, 110, 640, 40
LEAST = 0.5


class Scale:
    """From a ratio to a place."""

    def __init__(self, most):
        self.high = math.log(max(most, 2) * 1.1)

    def at(self, ratio):
        return LEFT + (math.log(max(ratio, LEAST)) - math.log(LEAST)) / (self.high - math.log(LEAST)) * WIDTH

    def marks(self):
        return [ratio for ratio in (0.5, 1, 2, 4, 8, 16, 32, 64) if math.log(ratio) <= self.high]


def rows(results):
    """(name, {machine: figures}) for each line; a machine without figures is left out."""
    lines = [(entry, of["machines"]) for entry, of in results["entries"].items()]
    lines.append(("geo. mean", results["geometric_means"].get("all", {})))
    return [(name, {machine: figures for machine, figures in of.items() if figures}) for name, of in lines]


def picture(results):
    first, *others = results["machines"]
    lines = rows(results)
    step = HEIGHT * len(others) + 8
    bottom = TOP + step * len(lines)
    shown = [of[name] for _, of in lines for name in others if name in of]
    scale = Scale(max((figures.get("high_quartile", figures["ratio"]) for figures in shown), default=1))
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{LEFT + WIDTH + 60}" height="{bottom + 30}"'
        ' font-family="sans-serif" font-size="11">',
        '<rect width="100%" height="100%" fill="white"/>',
    ]
    for index, name in enumerate(others):
        parts.append(
            f'<rect x="{LEFT + 90 * index}" y="10" width="10" height="10"'
            f' fill="{COLOURS.get(name, "#444")}"/>'
        )
        parts.append(f'<text x="{LEFT + 90 * index + 14}" y="19">{name}</text>')
    parts.append(
        f'<text x="{LEFT + 90 * len(others)}" y="19">times as long as {first}; whiskers: quartiles</text>'
    )
    for ratio in scale.marks():
        colour = "#000" if ratio == 1 else "#ddd"
        parts.append(f'<path d="M{scale.at(ratio):.1f} {TOP - 6}V{bottom}" stroke="{colour}"/>')
        parts.append(f'<text x="{scale.at(ratio):.1f}" y="{bottom + 14}" text-anchor="middle">{ratio}</text>')
    for index, (entry, of) in enumerate(lines):
        y = TOP + index * step
        parts.append(f'<text x="{LEFT - 6}" y="{y + step / 2}" text-anchor="end">{entry}</text>')
        for turn, name in enumerate(others):
            if name in of:
                parts += bar(scale, of[name], y + turn * HEIGHT, COLOURS.get(name, "#444"))
    parts.append("</svg>")
    return "\n".join(parts) + "\n"


def bar(scale, figures, y, colour):
    """A bar from 1 to the ratio, with a whisker over the quartiles and the number behind both."""
    ratio = figures["ratio"]
    left, right = sorted([scale.at(1), scale.at(ratio)])
    parts = [
        f'<rect x="{left:.1f}" y="{y}" width="{max(right - left, 1):.1f}" height="{HEIGHT - 2}"'
        f' fill="{colour}"/>'
    ]
    if "low_quartile" in figures:
        low, high = scale.at(figures["low_quartile"]), scale.at(figures["high_quartile"])
        parts.append(f'<path d="M{low:.1f} {y + 5}H{high:.1f}" stroke="#000"/>')
        right = max(right, high)
    parts.append(f'<text x="{right + 3:.1f}" y="{y + 9}" font-size="9">{ratio:.2f}</text>')
    return parts


def save(results, stem):
    """Writes the picture."""
    pathlib.Path(stem).with_suffix(".svg").write_text(picture(results))
