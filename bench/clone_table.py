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
`more`: memory of the owner beyond before. `requests`, `us each`, `guest's`: throughput, and the processor time
for a request of the owner and of its guest thread alone, as shares of those without a clone."""


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
    """The median of what a figure is during a clone, as a share of what it is without."""
    if guest["load"] != "redis":
        return "-"
    during, without = ([clone[when][key] for clone in clones] for when in ["during", "without"])
    return f"{statistics.median(during) / statistics.median(without):.2f}"


def table(results):
    """The text of the whole table."""
    lines = ["  ".join(f"{name:>{width}}" for name, width, _ in COLUMNS)]
    for guest in results:
        cells = [f"{show(guest, guest['clones']):>{width}}" for _, width, show in COLUMNS]
        lines.append("  ".join(cells))
    return "\n".join([*lines, "", LEGEND])
