"""backups.py - backups of a bank (bank.py), one after the other, while it works and its cluster is in trouble; and
what each of them holds, once it is restored.

Whole ones and incremental ones, in files and in directories, plain and encrypted, by `holon backup` at all doors in
turn; now and then the command is killed. One that fails must say why (EXPECTED), is given again at the next door, and
goes on or begins anew. What a backup holds is one instant between the begin of the run that took its snapshot and its
end: so the total is what it always is, each counter at least what was acknowledged before and at most what was sent, also
those that were in use no longer, or not yet."""
import collections
import os
import pathlib
import random
import re
import subprocess
import threading
import time
from dataclasses import dataclass, field
from typing import Optional

from bank import Bank
from cluster import HOLON

RUN_SECONDS = 300  # of one command: with patience for a minute, several times
CHAIN_MAX = 5
KILLED_ONE_IN = 8
AGAIN_SECONDS = 0.2
PASSPHRASE = "bank: ten minutes"
SAME_INSTANT = re.compile("at the same snapshot|all partitions were read by an earlier run")
EXPECTED = {
    "nobody answers": r"nobody answers at \S+: ",
    "connection ended": r"the connection to \S+ ended: ",
    "refused for a minute": r"\S+ has refused for \d+ s: (BUSY|UNAVAILABLE|UNKNOWN) ",
    "snapshot ended": r"the snapshot ended with the connection that held it: ",
    "snapshot gone": r"(\S+ exports, of slots \d+ to \d+|\S+ answers|snapshot \S+ cannot be read any more): "
                     r"SNAPSHOTGONE ",
}
BALLAST = 1500  # keys besides those of the bank
BALLAST_SIZE = 1024
BALLAST_DATABASE = 3


def run_cli(*words, passphrase: str = "", seconds: float = RUN_SECONDS, killed_after: Optional[float] = None) -> tuple:
    """(exit code, all it says) of `holon WORDS`; None, as code, if it was killed."""
    process = subprocess.Popen([HOLON, *map(str, words)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT, text=True, start_new_session=True,
                               env={**os.environ, "HOLON_PASSPHRASE": passphrase})
    try:
        said, _ = process.communicate(timeout=killed_after or seconds)
        return process.returncode, said
    except subprocess.TimeoutExpired:
        process.kill()
        said, _ = process.communicate()
        assert killed_after, f"holon {' '.join(map(str, words))} has not ended after {seconds} s: {said}"
        return None, said


def ballast(number: int) -> str:
    return random.Random(number).randbytes(BALLAST_SIZE // 2).hex()


def add_ballast(node) -> None:
    with node.client(60) as client:
        client.call("SELECT", BALLAST_DATABASE)
        replies = client.pipeline([("SET", f"ballast:{number}", ballast(number)) for number in range(BALLAST)])
        assert set(replies) == {"OK"}, replies


def check_ballast(node) -> None:
    with node.client(60) as client:
        client.call("SELECT", BALLAST_DATABASE)
        count = client.call("DBSIZE")
        assert count == BALLAST, f"{count} keys of ballast, not {BALLAST}"
        values = client.pipeline([("GET", f"ballast:{number}") for number in range(BALLAST)])
        wrong = [number for number, value in enumerate(values) if value != ballast(number)]
        assert wrong == [], f"ballast is not what it was: {wrong[:9]}"


@dataclass
class Backup:
    path: str
    encrypted: bool
    base: Optional["Backup"] = None
    depth: int = 0  # how many it stands on
    floors: dict = field(default_factory=dict)
    most: dict = field(default_factory=dict)

    @property
    def passphrase(self) -> str:
        return PASSPHRASE if self.encrypted else ""

    @property
    def kind(self) -> str:
        return ("encrypted " if self.encrypted else "plain ") + ("incremental" if self.base else "whole")


class Backups:
    def __init__(self, bank: Bank, directory: pathlib.Path, seed: int, pause_seconds: float):
        self.bank, self.directory, self.pause_seconds = bank, directory, pause_seconds
        self.rng = random.Random(f"backups {seed}")
        self.made: list = []
        self.last: dict = {}  # encrypted or not -> the last one
        self.kinds: collections.Counter = collections.Counter()
        self.failed: collections.Counter = collections.Counter()
        self.resumed = 0
        self.killed = 0
        self.longest = 0.0  # seconds of one command
        self.stopping = threading.Event()
        self.given_up = threading.Event()
        self.problem: Optional[BaseException] = None
        self.thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> "Backups":
        self.thread.start()
        return self

    def finish(self, seconds: float) -> None:
        """The one that is being made is made."""
        self.stopping.set()
        self.thread.join(seconds)
        self.give_up()
        assert not self.thread.is_alive(), f"a backup of a sound cluster is not made after {seconds} s"
        self.check()

    def give_up(self) -> None:
        """No command is given any more."""
        self.stopping.set()
        self.given_up.set()

    def check(self) -> None:
        if self.problem:
            raise self.problem

    def summary(self) -> str:
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(self.kinds.items()))
        failed = ", ".join(f"{count} {why}" for why, count in sorted(self.failed.items())) or "none"
        return (f"{len(self.made)} backups ({kinds}); failed commands: {failed}; killed: {self.killed}; went on at the "
                f"same snapshot: {self.resumed}; the longest took {self.longest:.1f} s")

    def _run(self) -> None:
        try:
            while not self.stopping.is_set():
                self._make(self._draw())
                self.stopping.wait(self.rng.uniform(0, self.pause_seconds))
        except BaseException as error:  # the test raises it
            self.problem = error

    def _draw(self) -> Backup:
        number = len(self.made)
        encrypted = self.rng.random() < 0.4
        base = self.last.get(encrypted)
        if base and (base.depth == CHAIN_MAX or self.rng.random() < 0.3):
            base = None
        name = f"{number}.holon" if self.rng.random() < 0.5 else f"{number}/"
        return Backup(f"{self.directory}/{name}", encrypted, base, base.depth + 1 if base else 0)

    def _make(self, backup: Backup) -> None:
        first = self.bank.floors(retired=True)
        while True:
            floors = self.bank.floors(retired=True)
            code, said = self._attempt(backup)
            if code == 0:
                break
            self._note_failure(code, said)
            if self.given_up.wait(AGAIN_SECONDS):
                return
        went_on = bool(SAME_INSTANT.search(said))
        self.resumed += went_on
        backup.floors, backup.most = first if went_on else floors, self.bank.most()
        self.last[backup.encrypted] = backup
        self.kinds[backup.kind] += 1
        self.made.append(backup)

    def _attempt(self, backup: Backup) -> tuple:
        node = self.rng.choice(self.bank.doors)
        words = ["backup", backup.path, "--node", f"{node.host}:{node.redis}"]
        if backup.base:
            words += ["--incremental", backup.base.path]
        killed_after = self.rng.uniform(0.05, 1) if self.rng.randrange(KILLED_ONE_IN) == 0 else None
        began = time.monotonic()
        result = run_cli(*words, passphrase=backup.passphrase, killed_after=killed_after)
        self.longest = max(self.longest, time.monotonic() - began)
        return result

    def _note_failure(self, code: Optional[int], said: str) -> None:
        if code is None:
            self.killed += 1
            return
        errors = re.findall(r"^holon: error: (.*)$", said, re.M)
        reasons = [why for why, pattern in EXPECTED.items() if len(errors) == 1 and re.match(pattern, errors[0])]
        assert code == 1 and reasons, f"a backup ended with {code} and says what nobody expects: {said}"
        self.failed[reasons[0]] += 1
        if reasons[0] != "nobody answers":
            print(f"           a backup fails, and is made again: {errors[0]}", flush=True)


def restore_and_check(bank: Bank, backup: Backup, cluster, number: int) -> None:
    """Into a cluster of any shape, which is emptied before."""
    node = cluster[number % len(cluster.nodes)]
    assert node.call("FLUSHALL", timeout=60) == "OK"
    for words in (("backup", "verify", backup.path), ("restore", backup.path, "--node", f"{node.host}:{node.redis}")):
        code, said = run_cli(*words, passphrase=backup.passphrase)
        assert code == 0, f"{backup.kind} {backup.path}: {said}"
    via = cluster[(number + 1) % len(cluster.nodes)]
    floors = {key: backup.floors.get(key, 0) for key in backup.most}
    values = bank.look(via, floors)
    bank.judge(values, floors, backup.most)
    assert bank.wrong == [], f"{backup.kind} {backup.path}: {bank.wrong[:5]}"
    count, wanted = via.call("DBSIZE"), sum(value is not None for value in values)
    assert count == wanted, f"{backup.kind} {backup.path}: {count} keys of the bank, not {wanted}"
    check_ballast(via)
