"""The table of `bench/clone.py`: one line for each guest, and what the goals say of it."""

import statistics

MIB = 1 << 20
PAGE = 4096

# Each a heading, its width, and what it shows of a guest's clones.
COLUMNS = [
    ("memory", 6, lambda guest, _: guest["memory"]),
    ("load", 6, lambda guest, _: guest["load"]),
    ("clones", 6, lambda _, clones: len(clones)),
    ("took ms", 13, lambda _, clones: spread([clone["took_ms"] for clone in clones], 0)),
    ("cut ms", 13, lambda _, clones: spread([clone["cut_us"] / 1e3 for clone in clones], 2)),
    ("gap ms", 13, lambda _, clones: spread([clone["during"]["gap_ms"] for clone in clones], 1)),
    ("without", 13, lambda _, clones: spread([clone["without"]["gap_ms"] for clone in clones], 1)),
    ("own ms", 8, lambda _, clones: f"{max(clone['during']['own_ms'] for clone in clones):.1f}"),
    ("sent MiB", 9, lambda _, clones: f"{most(clones, lambda clone: clone['bytes'] / MIB):.0f}"),
    ("of limit", 8, lambda _, clones: share_of_limit(clones)),
    ("more MiB", 8, lambda _, clones: f"{most(clones, lambda c: c['during']['memory_more'] / MIB):.0f}"),
    ("requests", 8, lambda guest, clones: share(guest, clones, "requests_per_second")),
    ("us each", 8, lambda guest, clones: share(guest, clones, "processor_us_per_request")),
    ("guest's", 8, lambda guest, clones: share(guest, clones, "guest_thread_us_per_request")),
]

LEGEND = """\
took, cut, gap, without: median, and most. `gap` is the client's longest between two answers in a clone, and
`without` that in an equally long window without one; `own`: by how much the client itself was late at most.
`of limit`: bytes sent, of twice the memory that the guest has touched and what was owed at the cut.
    ("more MiB", 8, lambda _, clones: f"{most(clones, lambda one: one['during']['memory_more'] / MIB):.0f}"),
a request, of the owner and of its guest thread alone, as shares of those without a clone."""


def spread(numbers, digits):
    """The median and the most."""
    return f"{statistics.median(numbers):.{digits}f} {max(numbers):.{digits}f}"


def most(clones, figure):
    return max(figure(clone) for clone in clones)


def share_of_limit(clones):
    """The largest share that a clone has used of the bytes that it may send."""
    if not all("touched_pages" in clone for clone in clones):
        return "-"
    limit = [(2 * clone["touched_pages"] + clone["owed_pages"]) * PAGE for clone in clones]
    return f"{max(clone['bytes'] / bytes for clone, bytes in zip(clones, limit, strict=True)):.2f}"


def share(guest, clones, key):
    """What a figure is during a clone, as a share of what it is without, for a table."""
    return f"{ratio(clones, key):.2f}" if guest["load"] == "redis" else "-"


def ratio(clones, key):
    """The median of what a figure is during a clone, as a share of what it is without."""
    during, without = ([clone[when][key] for clone in clones] for when in ["during", "without"])
    return statistics.median(during) / statistics.median(without)


def goals(results):
    """A line for each goal: in how many clones, or guests, it is reached."""
    clones = [clone for guest in results for clone in guest["clones"]]
    redis = [guest["clones"] for guest in results if guest["load"] == "redis"]
    reached = {
        "the guest stands less than 10 ms at the cut": [clone["cut_us"] < 10_000 for clone in clones],
        "no gap of the client over 20 ms": [clone["during"]["gap_ms"] <= 20 for clone in clones],
        "the same without a clone": [clone["without"]["gap_ms"] <= 20 for clone in clones],
        "at most 400 MiB more": [clone["during"]["memory_more"] <= 400 * MIB for clone in clones],
        "80 % of the requests": [ratio(them, "requests_per_second") >= 0.8 for them in redis],
        "15 % more processor time": [ratio(them, "processor_us_per_request") <= 1.15 for them in redis],
    }
    lines = [f"{sum(those)} of {len(those)}: {goal}" for goal, those in reached.items() if those]
    for load in dict.fromkeys(guest["load"] for guest in results):
        cuts = [
            statistics.median(clone["cut_us"] for clone in guest["clones"]) / 1e3
            for guest in results
            if guest["load"] == load
        ]
        lines.append(f"{max(cuts) - min(cuts):.2f} ms: the median cuts of the sizes differ, {load}")
    return lines


def table(results):
    """The text of the whole table."""
    lines = ["  ".join(f"{name:>{width}}" for name, width, _ in COLUMNS)]
    for guest in results:
        cells = [f"{show(guest, guest['clones']):>{width}}" for _, width, show in COLUMNS]
        lines.append("  ".join(cells))
    return "\n".join([*lines, "", *goals(results), "", LEGEND])
