"""What a case of the campaign counts and complains of, whatever its faults are.

`processfaults.py` and `networkfaults.py` have the two kinds of cases; `campaign.py` adds up what they count.
"""

import random

COUNTED = ["acknowledged", "lost", "wrong", "reset", "split", "silent", "stuck", "false"]
FAILURES = ["lost", "wrong", "reset", "split", "silent", "stuck"]


class Case:
    """One pair and its faults, all drawn from the seed and the case's number. `kind` and `where` are the
    subclass's."""

    kind, where = "", {}

    def __init__(self, seed, number):
        self.number, self.chance = number, random.Random(f"{seed} {self.kind} {number}")
        self.faults, self.complaints, self.counts = [], [], dict.fromkeys(COUNTED, 0)

    def result(self):
        """All about it, for programs."""
        about = {"kind": self.kind, "case": self.number, **self.where, "faults": self.faults}
        return {**about, **self.counts, "complaints": self.complaints}

    def complain(self, what, sentence):
        """Counts something and says what it was."""
        self.counts[what] += 1
        self.complaints.append(f"{what}: {sentence}")

    def count(self, verdict):
        """Adds what the clients had to say."""
        for key in ["acknowledged", "lost", "wrong", "reset"]:
            self.counts[key] += verdict[key]
        self.complaints += verdict["sentences"]
