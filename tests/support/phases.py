"""A load in phases. FOLDER/phase, which somebody else writes, says which it is in: what is begun in a phase bears its name."""
import os
import threading
import time
import traceback
from collections import Counter


class Phases:
    """For so many workers. Once each of them has done so many rounds of a phase, FOLDER/PHASE.enough is there."""

    def __init__(self, folder, workers, rounds=20):
        self.folder, self.workers, self.rounds = folder, workers, rounds
        self.enough, self.lock = Counter(), threading.Lock()

    def __iter__(self):
        """For a worker: the phase's name, before each round, until it is `end`."""
        n = Counter()
        while (phase := (self.folder / "phase").read_text()) != "end":
            yield phase
            n[phase] += 1
            if n[phase] > self.rounds:
                # Lets the others catch up.
                time.sleep(0.002)
            if n[phase] == self.rounds:
                with self.lock:
                    self.enough[phase] += 1
                    if self.enough[phase] == self.workers:
                        (self.folder / f"{phase}.enough").touch()

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
