"""From host seconds to figures and a table for people.

Each machine is compared with the first one piece by piece: a ratio is of two times that were measured within
the same minute, and the table shows the median of the ratios with the quartiles. Beside them stands the ratio
of the two best times of all: noise only ever adds, so with enough pieces the best times come closest to what
the work takes.
"""

import json
import math
import os
import pathlib
import platform
import subprocess

from machines import QEMU

# What protection may cost and how far the backup may fall behind.
TARGETS = {
    ("record", "computing"): 0.02,
    ("record", "floating"): 0.02,
    ("record", "system"): 0.02,
    ("record", "clients"): 0.02,
    ("pair", "computing"): 0.05,
    ("pair", "floating"): 0.05,
    ("pair", "clients"): 0.10,
}
LAG_MS_MAX = 100


def results(series):
    """All figures of a series, as they are saved."""
    first = series.machines[0]
    entries = {}
    for entry in series.entries:
        taken = {name: [took.get(name) for took in series.pieces[entry.name]] for name in series.machines}
        entries[entry.name] = {
            "kind": entry.kind,
            "machines": {name: compared(taken[name], taken[first]) for name in series.machines},
        }
        if series.lags[entry.name]:
            entries[entry.name]["lag_ms_p99"] = percentile(series.lags[entry.name], 0.99)
            entries[entry.name]["lag_samples"] = len(series.lags[entry.name])
    return {
        "rounds": series.rounds,
        "repeats": series.repeats,
        "machine": machine(),
        "machines": series.machines,
        "entries": entries,
        "geometric_means": means(entries, series.machines),
        "failures": [
            {"entry": entry, "machine": name, "why": why} for (entry, name), why in series.failures.items()
        ],
    }


def compared(seconds, first):
    """The figures of one machine at one entry; `None` where it has none."""
    own = [took for took in seconds if took is not None]
    ratios = [took / base for took, base in zip(seconds, first) if took is not None and base is not None]
    if not own or not ratios:
        return None
    return {
        "seconds": percentile(own, 0.5),
        "best": min(own),
        "ratio": percentile(ratios, 0.5),
        "low_quartile": percentile(ratios, 0.25),
        "high_quartile": percentile(ratios, 0.75),
        "least": min(ratios),
        "most": max(ratios),
        "ratio_of_best": min(own) / min(took for took in first if took is not None),
        "pieces": seconds,
    }


def percentile(values, part):
    """The value below which that part of all values lies; between two values, in proportion."""
    values = sorted(values)
    at = part * (len(values) - 1)
    low = math.floor(at)
    high = min(low + 1, len(values) - 1)
    return values[low] + (values[high] - values[low]) * (at - low)


def means(entries, machines):
    """Geometric means over the entries that a machine has figures for.

    {kind: {machine: {"ratio": ..., "ratio_of_best": ...}}}
    """
    kinds = {}
    for kind in ["computing", "floating", "system", "clients", "all"]:
        for name in machines:
            rows = [of["machines"][name] for of in entries.values() if kind in (of["kind"], "all")]
            rows = [row for row in rows if row]
            if rows:
                kinds.setdefault(kind, {})[name] = {
                    what: math.exp(sum(math.log(row[what]) for row in rows) / len(rows))
                    for what in ["ratio", "ratio_of_best"]
                }
    return kinds


def machine():
    """The processor, kernel and QEMU with which the series was measured."""
    qemu = subprocess.run([QEMU, "--version"], check=True, capture_output=True, text=True)
    model = [line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")]
    return {
        "processor": model[0] if model else platform.machine(),
        "processors": os.cpu_count(),
        "kernel": platform.release(),
        "qemu": qemu.stdout.splitlines()[0],
    }


def text(results):
    """The table for people."""
    first, *others = results["machines"]
    about, has_lag = results["machine"], "pair" in results["machines"]
    lines = [
        f"{about['processor']}, {about['processors']} processors, {about['qemu']}",
        f"{results['rounds']} rounds of {results['repeats']} pieces (boots: 1)."
        f" Host seconds of {first}: median and best. The others: times as long,"
        " median of the ratios (quartiles), and the ratio of the best.",
        f"{'':<12} {first + ' s':>8} {'best':>8}"
        + "".join(f" {name:>26}" for name in others)
        + (f" {'lag p99 ms':>11}" if has_lag else ""),
    ]
    for entry, of in results["entries"].items():
        own = of["machines"][first]
        line = f"{entry:<12} " + (
            f"{own['seconds']:8.3f} {own['best']:8.3f}" if own else f"{'-':>8} {'-':>8}"
        )
        for name in others:
            line += f" {cell(of['machines'][name]):>26}"
        if has_lag:
            line += f" {of['lag_ms_p99']:11.1f}" if "lag_ms_p99" in of else f" {'-':>11}"
        lines.append(line)
    lines.append("geometric means")
    for kind, of in results["geometric_means"].items():
        line = f"{kind:<12} {'':17}"
        for name in others:
            mean = of.get(name)
            line += (
                f" {number(mean['ratio']) + ' ' * 15 + number(mean['ratio_of_best']) if mean else '-':>26}"
            )
        lines.append(line)
    lines += costs(results) + lag(results)
    lines += [
        f"- {failed['machine']} at {failed['entry']}: {failed['why']}" for failed in results["failures"]
    ]
    return "\n".join(lines)


def number(ratio):
    """Five characters, more digits the nearer it is to 1."""
    return f"{ratio:5.3f}" if ratio < 9.9995 else f"{ratio:5.2f}" if ratio < 99.995 else f"{ratio:5.0f}"


def cell(of):
    """A ratio with its spread."""
    if not of:
        return "-"
    spread = f"({number(of['low_quartile'])}..{number(of['high_quartile'])})"
    return f"{number(of['ratio'])} {spread} {number(of['ratio_of_best'])}"


def costs(results):
    """What recording and protection cost beside the machine alone, with what they are to cost at most."""
    if results["machines"][0] != "run":
        return []
    lines = []
    for name in ["record", "pair"]:
        parts = []
        for kind, of in results["geometric_means"].items():
            if name in of and kind != "all":
                target = TARGETS.get((name, kind))
                part = f"{kind} {percent(of[name]['ratio'])}, best {percent(of[name]['ratio_of_best'])}"
                parts.append(part + (f" (at most {percent(1 + target)})" if target else ""))
        if parts:
            lines.append(f"{name} beside run: {'; '.join(parts)}")
    return lines


def percent(ratio):
    return f"{(ratio - 1) * 100:+.1f} %"


def lag(results):
    """The line that says whether the backup kept up; none without a pair."""
    lags = {entry: of["lag_ms_p99"] for entry, of in results["entries"].items() if "lag_ms_p99" in of}
    if not lags:
        return []
    late = [entry for entry, ms in lags.items() if ms >= LAG_MS_MAX]
    verdict = f"not in {', '.join(late)}" if late else "in all of them"
    return [
        f"lag of the backup, p99, under {LAG_MS_MAX} ms: {verdict};"
        f" the longest is {max(lags.values()):.1f} ms"
    ]


def save(results, stem):
    """Writes the figures and the table."""
    stem = pathlib.Path(stem)
    stem.with_suffix(".json").write_text(json.dumps(results, indent=1) + "\n")
    stem.with_suffix(".txt").write_text(text(results) + "\n")
