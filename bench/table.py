"""Tables and pictures of host times: medians, and ratios to the first machine, round by round."""

import json
import math
import os
import pathlib
import platform
import subprocess

from common import median


def results(rounds):
    """From [{machine: {entry: seconds}}], one for each round. Ratios above 1 mean that the first machine is faster."""
    machines = list(rounds[0])
    first = machines[0]
    entries = {}
    for entry in rounds[0][first]:
        entries[entry] = {}
        for name in machines:
            ratios = [took[name][entry] / took[first][entry] for took in rounds]
            entries[entry][name] = {
                "seconds": median([took[name][entry] for took in rounds]),
                "ratio": median(ratios),
                "least": min(ratios),
                "most": max(ratios),
            }
    mean = {
        name: math.exp(sum(math.log(entry[name]["ratio"]) for entry in entries.values()) / len(entries))
        for name in machines
    }
    return {"rounds": len(rounds), "machine": machine(), "entries": entries, "geometric_mean": mean}


def machine():
    """What this was measured on."""
    qemu = subprocess.run(["qemu-system-riscv64", "--version"], check=True, capture_output=True, text=True)
    model = [line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")]
    return {
        "processor": model[0] if model else platform.machine(),
        "processors": os.cpu_count(),
        "kernel": platform.release(),
        "qemu": qemu.stdout.splitlines()[0],
    }


def text(results):
    """The table for people."""
    entries = results["entries"]
    machines = list(results["geometric_mean"])
    first, others = machines[0], machines[1:]
    about = results["machine"]
    lines = [
        f"{about['processor']}, {about['processors']} processors, {about['qemu']}",
        f"Median of {results['rounds']} rounds: host seconds of {first}; times as long, with least and most, of the others.",
        f"{'':<10} {first + ' s':>8}" + "".join(f" {name:>22}" for name in others),
    ]
    for entry, of in entries.items():
        line = f"{entry:<10} {of[first]['seconds']:8.3f}"
        for name in others:
            line += f" {of[name]['ratio']:8.2f} ({of[name]['least']:5.2f}..{of[name]['most']:5.2f})"
        lines.append(line)
    mean = results["geometric_mean"]
    lines.append(f"{'geometric mean':<19}" + "".join(f" {mean[name]:8.2f}" + " " * 14 for name in others))
    return "\n".join(lines)


def save(results, stem):
    """Writes the figures, the table and the picture."""
    stem = pathlib.Path(stem)
    stem.with_suffix(".json").write_text(json.dumps(results, indent=1) + "\n")
    stem.with_suffix(".txt").write_text(text(results) + "\n")
    stem.with_suffix(".svg").write_text(picture(results))


COLOURS = {"qemu": "#8a8a8a", "rr": "#c9b28a", "record": "#6aa2c9", "pair": "#2f6f9f"}
HEIGHT, LEFT, WIDTH = 12, 110, 640


def picture(results):
    """Bars, on a logarithmic scale: how many times as long as the first machine each takes."""
    first, *others = results["geometric_mean"]
    rows = [*results["entries"].items()]
    rows.append(("geo. mean", {name: {"ratio": mean} for name, mean in results["geometric_mean"].items()}))
    most = max(max(of[name]["ratio"] for name in others) for _, of in rows)
    low, high = math.log(0.5), math.log(max(most, 2) * 1.1)

    def at(ratio):
        return LEFT + (math.log(max(ratio, 0.5)) - low) / (high - low) * WIDTH

    step = HEIGHT * len(others) + 8
    top = 40
    bottom = top + step * len(rows)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{LEFT + WIDTH + 60}" height="{bottom + 30}"'
        ' font-family="sans-serif" font-size="11">',
        '<rect width="100%" height="100%" fill="white"/>',
    ]
    for index, name in enumerate(others):
        parts.append(f'<rect x="{LEFT + 90 * index}" y="10" width="10" height="10" fill="{COLOURS.get(name, "#444")}"/>')
        parts.append(f'<text x="{LEFT + 90 * index + 14}" y="19">{name}</text>')
    parts.append(f'<text x="{LEFT + 90 * len(others)}" y="19">times as long as {first}</text>')
    for ratio in (0.5, 1, 2, 4, 8, 16, 32):
        if math.log(ratio) <= high:
            colour = "#000" if ratio == 1 else "#ddd"
            parts.append(f'<path d="M{at(ratio):.1f} {top - 6}V{bottom}" stroke="{colour}"/>')
            parts.append(f'<text x="{at(ratio):.1f}" y="{bottom + 14}" text-anchor="middle">{ratio}</text>')
    for index, (entry, of) in enumerate(rows):
        y = top + index * step
        parts.append(f'<text x="{LEFT - 6}" y="{y + step / 2}" text-anchor="end">{entry}</text>')
        for number, name in enumerate(others):
            x = sorted([at(1), at(of[name]["ratio"])])
            line = y + number * HEIGHT
            parts.append(
                f'<rect x="{x[0]:.1f}" y="{line}" width="{max(x[1] - x[0], 1):.1f}" height="{HEIGHT - 2}"'
                f' fill="{COLOURS.get(name, "#444")}"/>'
            )
            parts.append(f'<text x="{x[1] + 3:.1f}" y="{line + 9}" font-size="9">{of[name]["ratio"]:.2f}</text>')
    parts.append("</svg>")
    return "\n".join(parts) + "\n"
