#!/usr/bin/env python3
"""Faults at random against pairs whose clients keep ledgers: processes that die, stop or blink, and networks
that fail.

tests/e2e/campaign.py [--faults N] [--network N] [--seed S] [--out FILE] [--lockstep FILE] [--json]. Needs
root, a release build of lockstep, and for network faults Debian's iproute2 and nftables.

A case is one pair; it takes faults until one ends its protection. Case N of a seed is always the same plan.
With --out, a line of JSON for each case is appended to the file, and cases that are there already are not
played again. Counted are:

    lost     acknowledged writes that could not be read back
    wrong    answers that are not what was written; with the bare guest, two lives that contradict each other
    reset    client connections that broke; no client ever opens a second one
    split    both halves showed something to the outside in turns, or both live on
    silent   protection ended and a half told no reason, on standard error or as an event
    stuck    the guest does not go on, or no half is left
    false    protection ended before any fault, or by a pause or cut of at most 350 of the 500 ms timeout
             (told, no failure)
"""

import argparse
import collections
import json
import pathlib
import shutil
import sys
import tempfile
import time
import traceback

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from lib import halves, networkfaults, processfaults  # noqa: E402
from lib.cases import COUNTED, FAILURES  # noqa: E402
from lib.halves import machines  # noqa: E402

WIDTH = 13


def done_before(path, seed):
    """The cases that an earlier run has written, by kind and number."""
    found = {}
    for line in path.read_text().splitlines() if path and path.exists() else []:
        result = json.loads(line)
        if result["seed"] == seed:
            found[result["kind"], result["case"]] = result
    return found


def play(kind, number, args):
    """One case in a directory of its own; its result."""
    case = {"process": processfaults.Case, "network": networkfaults.Case}[kind](args.seed, number)
    directory = pathlib.Path(tempfile.mkdtemp(prefix="lockstep-e2e-campaign-"))
    begin = time.monotonic()
    try:
        result = case.play(directory)
    except Exception as error:  # noqa: BLE001 - the other cases are played all the same
        traceback.print_exc()
        case.complain("stuck", f"the test itself broke: {error!r}")
        result = case.result()
    if args.keep and any(result[word] for word in FAILURES):
        shutil.copytree(
            directory,
            pathlib.Path(args.keep) / f"{kind}-{number}",
            dirs_exist_ok=True,
            ignore=lambda folder, names: [
                name for name in names if not name.endswith((".events", ".errors", ".stderr"))
            ],
        )
    shutil.rmtree(directory, ignore_errors=True)
    return {"seed": args.seed, **result, "seconds": round(time.monotonic() - begin, 1)}


def tell(result):
    """A line for each fault, and what there is to complain of."""
    where = f"{result['kind']} {result['case']:<4}{result['guest']:<6}{result['harts']} {result['phase']:<5}"
    for fault in result["faults"]:
        ms = f"{fault['ms']} ms" if fault.get("ms") is not None else ""
        print(f"{where} {fault['what']:<14} {fault['victim']:<10} {ms:<9} -> {fault.get('then', '?')}")
    bad = {word: result[word] for word in FAILURES if result[word]}
    print(
        f"{where} {result['acknowledged']} acknowledged, {result['seconds']} s, {bad or 'all well'}",
        flush=True,
    )
    for sentence in result["complaints"]:
        print(f"     {sentence}", flush=True)


def table(results):
    """The summary: faults by kind and what was counted in their cases."""
    rows = collections.defaultdict(collections.Counter)
    for result in results:
        row = rows[f"{result['kind']}, {result['guest']}, {result['harts']} harts"]
        row.update({word: result[word] for word in COUNTED})
        row.update(cases=1, faults=len(result["faults"]))
        row.update(failovers=sum(fault.get("then") == "alone" for fault in result["faults"]))
    columns = ["cases", "faults", "failovers", *COUNTED]
    total = collections.Counter()
    lines = [f"{'':<28}" + "".join(f"{column:>{WIDTH}}" for column in columns)]
    for name, row in sorted(rows.items()):
        total.update(row)
        lines.append(f"{name:<28}" + "".join(f"{row[column]:>{WIDTH}}" for column in columns))
    lines.append(f"{'all':<28}" + "".join(f"{total[column]:>{WIDTH}}" for column in columns))
    return "\n".join(lines), total


def campaign(kind, wanted, args, before):
    """Plays cases of one kind until so many faults were made; their results."""
    results, faults, number = [], 0, args.first
    while faults < wanted:
        result = before.get((kind, number))
        if result is None:
            result = play(kind, number, args)
            if args.out:
                with open(args.out, "a") as file:
                    file.write(json.dumps(result) + "\n")
            if args.json:
                print(json.dumps(result), flush=True)
            else:
                tell(result)
        results.append(result)
        # A case that never came to a fault must not make this endless.
        faults += max(1, len(result["faults"]))
        number += 1
    return results


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--faults", type=int, default=200, help="process faults")
    parser.add_argument("--network", type=int, default=50, help="network faults")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, default=1, help="number of the first case")
    parser.add_argument("--out", type=pathlib.Path, help="results are appended here, and taken from here")
    parser.add_argument("--keep", help="a directory for what the replicas of failed cases said")
    parser.add_argument("--lockstep", help="the program to test; default: the release build")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    halves.apart()
    halves.use(args.lockstep)
    if args.network:
        networkfaults.require()
    before, results = done_before(args.out, args.seed), []
    machines.image("appliance")
    for kind, wanted in [("process", args.faults), ("network", args.network)]:
        results += campaign(kind, wanted, args, before)
    text, total = table(results)
    print(text, file=sys.stderr if args.json else sys.stdout)
    if args.json:
        print(json.dumps({"total": total}))
    raise SystemExit(1 if any(total[word] for word in FAILURES) else 0)


if __name__ == "__main__":
    main()
