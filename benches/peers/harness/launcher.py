"""Starts processes one by one, as JSON on standard input says, and says on standard output what each of them took.

A program of its own, and a small one: the kernel counts the memory of whoever starts a process as that process's peak
until it is larger itself.
"""

import json
import os
import signal
import sys
import time


def main() -> None:
    for line in sys.stdin:
        asked = json.loads(line)
        log = os.open(asked["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        started = time.perf_counter()
        pid = os.posix_spawnp(
            asked["command"][0],
            asked["command"],
            os.environ | asked["env"],
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_DUP2, log, 1),
                (os.POSIX_SPAWN_DUP2, log, 2),
            ],
        )
        signal.signal(signal.SIGALRM, lambda *_, pid=pid: os.kill(pid, signal.SIGKILL))
        signal.setitimer(signal.ITIMER_REAL, asked["kill_after_seconds"])
        _, status, usage = os.wait4(pid, 0)
        seconds = time.perf_counter() - started
        signal.setitimer(signal.ITIMER_REAL, 0)
        os.close(log)
        took = {
            "status": os.waitstatus_to_exitcode(status),
            "seconds": seconds,
            "cpu_seconds": usage.ru_utime + usage.ru_stime,
            "maxrss": usage.ru_maxrss,
            "oublock": usage.ru_oublock,
        }
        print(json.dumps(took), flush=True)


main()
