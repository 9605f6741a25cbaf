"""Was the machine busy with something else while a piece was measured?"""

from __future__ import annotations

import contextlib
import os
import resource
import time
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")


class Watch:
    """From its making to ``other_load``: the share of the cores that others used.

    Others are neither the processes of ``group`` (the server) nor children of this one that have
    ended (the adapter). Time that the hypervisor took away counts, too.
    """

    def __init__(self, group: int) -> None:
        self.group = group
        self.start, self.before = time.monotonic(), self._others()

    def other_load(self) -> float:
        """In [0, 1], over all cores that this process may use."""
        cores = len(os.sched_getaffinity(0))
        used = self._others() - self.before
        return max(0.0, used / ((time.monotonic() - self.start) * cores))

    def _others(self) -> float:
        ended = resource.getrusage(resource.RUSAGE_CHILDREN)
        own = ended.ru_utime + ended.ru_stime + time.process_time()
        stats = []
        for path in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):  # it ended meanwhile
                stats.append(path.read_text())
        return busy(Path("/proc/stat").read_text()) - group_seconds(stats, self.group) - own


def busy(stat: str) -> float:
    """CPU seconds since boot that were not idle, from the text of /proc/stat."""
    user, nice, system, _, _, irq, softirq, steal = map(int, stat.split()[1:9])
    return (user + nice + system + irq + softirq + steal) / TICKS


def group_seconds(stats: list[str], group: int) -> float:
    """CPU seconds of the processes of a group, from the texts of their /proc/PID/stat."""
    total = 0
    for text in stats:
        fields = text[text.rindex(")") + 2 :].split()  # the name may hold spaces
        if int(fields[2]) == group:
            total += int(fields[11]) + int(fields[12])
    return total / TICKS
