"""The bank for long: 32 clients move money between 64 accounts in 64 partitions, others count it, through all nodes,
while these are killed, stand still and are cut off at random (troubles.py), and backups are made one after the other
(backups.py). The total is the same in every read and in every backup, once that is restored into a cluster of another
shape; soon after the last trouble nobody waits, and no transaction has left anything behind.

HOLON_BANK_SECONDS is how long it goes on (60; `make soak` takes 600), HOLON_SEED what happens (else another one each
time; it is printed), HOLON_BANK_NODES how many nodes there are. If it fails, logs and data of the nodes and all backups stay in build/.
What a dead coordinator costs others: test_transactions.py. The judges are judged by test_bank.py."""
import os
import pathlib
import random
import shutil
import tempfile
import time

import pytest

from backups import Backups, add_ballast, check_ballast, restore_and_check
from bank import Bank
from cluster import HOLON, Cluster
from hosts import Hosts, what_is_missing
from settled import SETTLED_SECONDS, nobody_waits, wait_settled, wait_sound
from troubles import BACK_SECONDS, Troubles
from waiting import observe

SECONDS = float(os.environ.get("HOLON_BANK_SECONDS", "60"))
SEED = int(os.environ.get("HOLON_SEED", "0")) or random.SystemRandom().randrange(1, 10**6)
NODES = int(os.environ.get("HOLON_BANK_NODES", "3"))
PARTITIONS = 64
ACCOUNTS = 64
MOVERS = 32
READERS = 6
PAUSE_SECONDS = 0.4     # at most, before most transfers: so that a read of everything has a chance
PROGRESS = 40           # transfers,
PROGRESS_SECONDS = 30   # in so long, whatever the trouble
READS_PER_SECOND = 0.3  # at least,
KIND_PER_SECOND = 0.05  # and of each kind of them
SOUND_SECONDS = 5       # it goes on for so long after the last trouble
BACKUP_PAUSE_SECONDS = 6.0  # at most
SECONDS_PER_BACKUP = 30  # at least one in so many
LAST_BACKUP_SECONDS = 150
SHAPES = ((1, 5), (4, 16))  # nodes and partitions of those that backups are restored into


@pytest.fixture
def machines():
    """Hosts whose links lose packets, or None if there can be none here."""
    made = None if what_is_missing() else Hosts()
    yield made
    if made:
        made.close()


@pytest.fixture
def place(request):
    """As `directory` of conftest.py, but it stays if the test fails."""
    base = os.environ.get("HOLON_TEST_DIR", str(pathlib.Path(HOLON).resolve().parent))
    path = pathlib.Path(tempfile.mkdtemp(prefix=f"bank-{SEED}-", dir=base))
    yield path
    if getattr(request.node, "failed_in_call", False):
        print(f"logs, data and backups are in {path}; again: HOLON_SEED={SEED} HOLON_BANK_SECONDS={SECONDS:.0f}")
    else:
        shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def make_cluster(place):
    """make_cluster(nodes, partitions, ...) -> a started Cluster"""
    clusters = []

    def make(count: int, partitions: int, **more) -> Cluster:
        part = place / f"c{len(clusters)}"
        part.mkdir()
        clusters.append(Cluster(part, count, options=("--partitions", str(partitions)), **more))
        made = clusters[-1].start(BACK_SECONDS)
        made.wait_healthy(BACK_SECONDS)
        return made

    yield make
    for made in clusters:
        made.end()


class Watch:
    """Money moves all the while, and nobody has seen anything wrong."""

    def __init__(self, bank: Bank, backups: Backups):
        self.bank, self.backups = bank, backups
        self.transfers, self.since = bank.transfers, time.monotonic()

    def check(self) -> None:
        assert self.bank.wrong == [], self.bank.wrong[:5]
        self.backups.check()
        if self.bank.transfers >= self.transfers + PROGRESS:
            self.transfers, self.since = self.bank.transfers, time.monotonic()
        late = time.monotonic() - self.since
        assert late < PROGRESS_SECONDS, f"no {PROGRESS} transfers in {late:.0f} s: {self.bank.summary()}"


def judge_in_the_end(cluster, bank: Bank) -> dict:
    counters = [bank.audit(node) for node in cluster]
    assert all(each == counters[0] for each in counters), "two nodes show different counters"
    nobody_waits(cluster, bank.accounts)
    assert bank.audit(cluster[0]) == counters[0], "something was done after everything was settled"
    check_ballast(cluster[0])
    wait_sound(cluster)
    return counters[0]


def restore_all(bank: Bank, backups: Backups, make_cluster) -> None:
    targets = [make_cluster(*shape) for shape in SHAPES]
    for number, backup in enumerate(backups.made):
        restore_and_check(bank, backup, targets[number % len(targets)], number)
    for target in targets:
        wait_settled(target)
        wait_sound(target)


@pytest.mark.long
@pytest.mark.alone
def test_the_bank_in_trouble(machines, place, make_cluster):
    print(f"HOLON_SEED={SEED}: {NODES} nodes, {SECONDS:.0f} s, links {'lose packets' if machines else 'hold back'}")
    cluster = make_cluster(NODES, PARTITIONS, hosts=machines, proxied=not machines)
    add_ballast(cluster[0])
    bank = Bank(cluster, accounts=ACCOUNTS, partitions=PARTITIONS, movers=MOVERS, readers=READERS, seed=SEED,
                pause=PAUSE_SECONDS, snapshots=True).start()
    (place / "backups").mkdir()
    backups = Backups(bank, place / "backups", SEED, BACKUP_PAUSE_SECONDS).start()
    watch = Watch(bank, backups)
    troubles = Troubles(cluster, machines, SEED, watch.check)

    try:
        troubles.go_on(SECONDS)
        bank.say_healed()
        observe(SOUND_SECONDS, watch.check)
        stopped = time.monotonic()
        bank.finish(SETTLED_SECONDS)  # who waits is answered, and does nothing more
        answered = time.monotonic() - stopped
        wait_settled(cluster, max(1.0, stopped + SETTLED_SECONDS - time.monotonic()))
        settled = time.monotonic() - stopped
        backups.finish(LAST_BACKUP_SECONDS)
    finally:
        bank.stopping.set()
        backups.give_up()
    counters = judge_in_the_end(cluster, bank)
    print(f"bank: {bank.summary()}\ntroubles: {dict(troubles.counts)}\n{backups.summary()}\nwhen it ended all "
          f"were answered within {answered:.1f} s, and all was settled within {settled:.1f} s; {sum(counters.values())} "
          f"transfers in all")
    for text, count in bank.refusals.most_common():
        print(f"{count:6} x {text}")
    cluster.end()
    assert bank.reads >= READS_PER_SECOND * SECONDS, bank.summary()
    for kind in bank.kinds:
        assert bank.reads_by_kind[kind] >= max(1, KIND_PER_SECOND * SECONDS), f"too few by {kind}: {bank.summary()}"
    assert len(backups.made) >= max(3, SECONDS / SECONDS_PER_BACKUP), backups.summary()

    restore_all(bank, backups, make_cluster)
    print(f"{len(backups.made)} backups were restored and are right")
