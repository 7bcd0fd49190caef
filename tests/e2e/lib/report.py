"""Scenarios by name, run one after the other, with one line each and a summary for programs.

A scenario gets a `Turn` and raises `pair.Failed`; `scene.py` has the frames with which most begin. A scenario
that breaks must not keep the others from being run.
"""

import argparse
import contextlib
import dataclasses
import json
import pathlib
import random
import signal
import sys
import time
import traceback
from collections.abc import Callable

from .noise import Noise
from .pair import LOCKSTEP, Failed, Pair


@dataclasses.dataclass
class Scenario:
    """One thing that must hold."""

    name: str
    sentence: str
    play: Callable
    runs: int


class Scenarios(dict):
    """Scenarios by name, in the order in which they were written."""

    def add(self, name, sentence, runs=1):
        """A decorator: the function gets a `Turn` and raises `Failed`, or returns a few words on what was
        seen."""

        def note(play):
            self[name] = Scenario(name, sentence, play, runs)
            return play

        return note


@dataclasses.dataclass
class Turn:
    """One run of a scenario."""

    program: pathlib.Path
    number: int
    runs: int
    # Drawn from the seed, the scenario and the number of the run: each run can be had again alone.
    random: random.Random
    minutes: float
    keep: bool
    # Ends after the last run of the scenario.
    stack: contextlib.ExitStack
    # What runs hand on to the next ones.
    kept: dict
    # By how much bounds of this run may have been exceeded (`noise.Allowance`).
    allowances: list = dataclasses.field(default_factory=list)

    def pair(self, **options):
        """A pair on hosts of its own, for a `with` block; not started yet."""
        return Pair(self.program, keep=self.keep, **options)

    def noise(self):
        """How late this machine lets threads run, for a `with` block; what is allowed for it is told."""
        return Noise(self.allowances.append)

    def pair_of_all_runs(self, **options):
        """A started pair that the next runs get too, as long as it is a pair."""
        pair = self.kept.get("pair")
        if pair and pair.protected():
            return pair
        self.stack.close()
        pair = self.kept["pair"] = self.stack.enter_context(self.pair(**options))
        return pair.start()


def ensure(fact, sentence):
    """Raises `Failed` unless the fact holds."""
    if not fact:
        raise Failed(sentence)


def arguments(text):
    """The command line that all such programs share."""
    parser = argparse.ArgumentParser(description=text)
    parser.add_argument("names", nargs="*", metavar="NAME", help="scenarios to run; default: all")
    parser.add_argument("--list", action="store_true", help="tell the scenarios and end")
    parser.add_argument(
        "--runs", type=int, help="run each so often; default: 20 for what is seen by chance, else 1"
    )
    parser.add_argument("--lockstep", type=pathlib.Path, default=LOCKSTEP, help="the program to test")
    parser.add_argument("--seed", type=int, default=1, help="what is drawn, is drawn from it")
    parser.add_argument("--minutes", type=float, default=10, help="length of the long scenarios")
    parser.add_argument(
        "--keep", action="store_true", help="keep the directories with events and errors, and tell them"
    )
    parser.add_argument(
        "--json", action="store_true", help="end with a summary for programs on standard output"
    )
    return parser


def play_all(scenarios, options):
    """Runs what the options ask for; the exit code."""
    if options.list:
        for scenario in scenarios.values():
            print(f"{scenario.name:<24} {scenario.sentence}")
        return 0
    unknown = [name for name in options.names if name not in scenarios]
    if unknown:
        print(f"there is no scenario {', '.join(unknown)}; `--list` tells them", file=sys.stderr)
        return 2
    if not options.lockstep.exists():
        print(f"{options.lockstep} is missing; build it with `cargo build --release`", file=sys.stderr)
        return 2
    # Whoever ends this program ends all that it started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    results = [play(scenarios[name], options) for name in options.names or scenarios]
    passed = sum(result["failed"] == 0 for result in results)
    told = sys.stderr if options.json else sys.stdout
    print(f"{passed} of {len(results)} scenarios passed", file=told, flush=True)
    if options.json:
        print(json.dumps({"program": str(options.lockstep), "seed": options.seed, "scenarios": results}))
    return 0 if passed == len(results) else 1


def play(scenario, options):
    """Runs one scenario as often as asked; the result for programs."""
    told = sys.stderr if options.json else sys.stdout
    runs = options.runs or scenario.runs
    result = {"name": scenario.name, "runs": runs, "failed": 0, "seen": [], "failures": [], "allowed": []}
    begin = time.monotonic()
    stack, kept = contextlib.ExitStack(), {}
    with stack:
        for number in range(1, runs + 1):
            drawn = random.Random(f"{options.seed} {scenario.name} {number}")
            turn = Turn(options.lockstep, number, runs, drawn, options.minutes, options.keep, stack, kept)
            play_once(scenario, turn, result, told)
    result["seconds"] = round(time.monotonic() - begin, 1)
    return result


def play_once(scenario, turn, result, told):
    """One run; its line, and its part of the result."""
    try:
        seen = scenario.play(turn)
        word, where = "ok  ", "seen"
    except Failed as failure:
        seen, word, where = str(failure), "FAIL", "failures"
    except Exception as error:  # noqa: BLE001 - the other scenarios are run all the same
        traceback.print_exc()
        seen, word, where = f"the test itself broke: {error!r}", "FAIL", "failures"
    if turn.allowances:
        # The largest one is told to people, and all to programs.
        seen = f"{seen or scenario.sentence}; {max(turn.allowances, key=lambda it: it.waited_s)}"
        result["allowed"] += [{"run": turn.number, **vars(allowance)} for allowance in turn.allowances]
    result["failed"] += where == "failures"
    if seen:
        result[where].append(seen)
    run = f" {turn.number}/{turn.runs}" if turn.runs > 1 else ""
    print(f"{word} {scenario.name}{run}: {seen or scenario.sentence}", file=told, flush=True)
