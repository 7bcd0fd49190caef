"""How much processor time a process has used."""

import os


def processor_us(pid):
    """Processor time of a process so far, in microseconds."""
    fields = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) * 1e6 / os.sysconf("SC_CLK_TCK")
