"""A load in phases. FOLDER/phase, which somebody else writes, says which it is in: what is begun in a phase bears its name."""
import os
import threading
import time
import traceback
from collections import Counter


class Phases:
    """For so many workers. FOLDER/phase has the phase's name and a number; once each of them has done so many rounds of it,
    FOLDER/NUMBER.enough is there."""

    def __init__(self, folder, workers, rounds=20):
        self.folder, self.workers, self.rounds = folder, workers, rounds
        self.enough, self.lock = Counter(), threading.Lock()

    def __iter__(self):
        """For a worker: the phase's name, before each round, until it is `end`. At `pause` it waits."""
        for name in self.all():
            if name != "pause":
                yield name

    def all(self):
        """The same, for whoever must not be kept waiting."""
        last, n = None, 0
        while True:
            name, number = now = (self.folder / "phase").read_text().split()
            if name == "end":
                return
            last, n = now, n + 1 if now == last else 0
            if n > self.rounds or name == "pause":
                # Lets the others catch up.
                time.sleep(0.002)
            if n == self.rounds:
                self.has_done(number)
            yield name

    def has_done(self, number):
        with self.lock:
            self.enough[number] += 1
            if self.enough[number] == self.workers:
                (self.folder / f"{number}.enough").touch()

    def stay(self):
        """With what is open, when the load is over, until the process is ended."""
        (self.folder / "ended").touch()
        while True:
            time.sleep(60)


def run(workers):
    """Each in a thread of its own, until all have ended. One that fails ends the process."""

    def work(worker):
        try:
            worker()
        except BaseException:
            traceback.print_exc()
            os._exit(1)

    threads = [threading.Thread(target=work, args=[worker]) for worker in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
