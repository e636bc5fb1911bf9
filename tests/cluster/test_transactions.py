"""Transactions over three real nodes, of which some are killed, paused or cut off meanwhile: nothing is half done,
lost, done twice or seen in parts, and nobody waits for long for what a dead node left.

HOLON_BANK_SECONDS is how long the bank, and the order of everything, is disturbed, HOLON_SEED whom it hits.
test_bank.py and test_appends.py judge the judges. HOLON_TXN_AGAINST=redis runs all of it with a redis-server
(stand_in.py), to try the tests themselves."""
import os
import pathlib
import random
import shutil
import tempfile
import threading
import time

import pytest

import races
import settled
from appends import Appenders
from bank import NOT_DONE, Bank
from cluster import HOLON, Cluster
from settled import nobody_waits
from slots import SLOTS, key_in
from stand_in import StandIn
from storm import Storm, pairs_over, write
from waiting import until

BANK_SECONDS = float(os.environ.get("HOLON_BANK_SECONDS", "8"))
SEED = int(os.environ.get("HOLON_SEED", "1"))
AGAINST_REDIS = os.environ.get("HOLON_TXN_AGAINST") == "redis"
PARTITIONS = 64
ELECTION_SECONDS = 1.5
DELAY_MAX = 2.0 + ELECTION_SECONDS  # a dead coordinator delays others by 2 s, its partitions need leaders besides
SKEW_ROUNDS = 60


@pytest.fixture
def make_cluster(make_cluster, directory):
    """As in conftest.py, or the stand-in."""
    if not AGAINST_REDIS:
        yield make_cluster
        return
    made = StandIn(directory)
    yield lambda **_: made.start()
    made.end()


@pytest.fixture
def cluster(make_cluster):
    made = make_cluster(options=("--partitions", str(PARTITIONS)))
    made.wait_healthy()
    return made


@pytest.fixture(scope="module")
def steady():
    """One cluster for all tests that disturb none."""
    base = os.environ.get("HOLON_TEST_DIR", str(pathlib.Path(HOLON).resolve().parent))
    directory = pathlib.Path(tempfile.mkdtemp(prefix="cluster-", dir=base))
    made = (StandIn(directory) if AGAINST_REDIS else Cluster(directory, 3)).start()
    made.wait_healthy()
    yield made
    made.end()
    shutil.rmtree(directory, ignore_errors=True)


def wait_settled(nodes) -> None:
    """No node has an open transaction, and none complains."""
    settled.wait_settled(nodes)
    if not AGAINST_REDIS:
        settled.wait_sound(nodes)


# --- the cluster is disturbed ---------------------------------------------------------------------

def kill(cluster, goes_on, victim) -> None:
    victim.kill()
    goes_on()
    victim.start().wait_ready()


def kill_all(cluster, goes_on, victim) -> None:
    for node in cluster:
        node.process.kill()
    for node in cluster:
        node.wait_exit()
    cluster.start()


def pause(cluster, goes_on, victim) -> None:
    victim.pause()
    goes_on()
    victim.resume()


def isolate(cluster, goes_on, victim) -> None:
    cluster.network.isolate(victim.name, [node.name for node in cluster])
    goes_on()
    cluster.network.heal()


def cut_one_link(cluster, goes_on, victim) -> None:
    cluster.network.cut(victim.name, cluster.others(victim)[0].name)
    goes_on()
    cluster.network.heal()


def disturb(cluster, faults, goes_on) -> int:
    """Each of the faults once, then any of them, while goes_on() says that the clients do."""
    rng, end, done = random.Random(SEED), time.monotonic() + BANK_SECONDS, 0
    goes_on()
    while time.monotonic() < end or done < len(faults):
        fault = faults[done] if done < len(faults) else rng.choice(faults)
        fault(cluster, goes_on, rng.choice(cluster.nodes))
        done += 1
        cluster.wait_healthy(30)
        goes_on()
    return done


# --- the bank ------------------------------------------------------------------------------------

def progress(bank: Bank, transfers: int = 40, reads: int = 10) -> None:
    wanted, wanted_reads = bank.transfers + transfers, bank.reads + reads
    until(f"{transfers} more transfers and {reads} more reads",
          lambda: bank.wrong or (bank.transfers >= wanted and bank.reads >= wanted_reads), 30)
    assert bank.wrong == [], bank.wrong[:5]


def disturbed_bank(cluster, faults) -> None:
    cluster.wait_healthy()
    bank = Bank(cluster, partitions=PARTITIONS, seed=SEED).start()
    done = disturb(cluster, faults, lambda: progress(bank))
    bank.say_healed()
    progress(bank, reads=1)
    bank.finish()
    print(f"bank: {done} faults, {bank.summary()}")
    wait_settled(cluster)
    counters = [bank.audit(node) for node in cluster]
    assert counters[0] == counters[1] == counters[2]
    nobody_waits(cluster, bank.accounts)
    assert bank.audit(cluster[0]) == counters[0], "something was done after everything was settled"


def test_the_bank_while_nodes_are_killed_and_paused(make_cluster):
    disturbed_bank(make_cluster(options=("--partitions", str(PARTITIONS))), (kill, pause, kill_all))


def test_the_bank_while_nodes_are_cut_off(make_cluster):
    disturbed_bank(make_cluster(options=("--partitions", str(PARTITIONS)), proxied=True), (isolate, cut_one_link, pause))


def test_the_bank_of_few_accounts(cluster):
    """Everybody is in everybody's way: it goes on all the same, and conflicts are no errors."""
    bank = Bank(cluster, accounts=3, partitions=PARTITIONS, movers=8, seed=SEED).start()
    progress(bank, transfers=300, reads=60)
    bank.finish()
    print(f"bank of three accounts: {bank.summary()}")
    wait_settled(cluster)
    counters = [bank.audit(node) for node in cluster]
    assert counters[0] == counters[1] == counters[2] and sum(counters[0].values()) == bank.transfers
    everybody = [*bank.movers, *bank.readers]
    assert sum(client.refused + client.lost for client in everybody) == 0, bank.summary()


# --- the order of everything ---------------------------------------------------------------------

def ordered(cluster, faults) -> None:
    cluster.wait_healthy()
    run = Appenders(cluster, partitions=PARTITIONS, seed=SEED).start()

    def goes_on():
        wanted = run.done + 80
        until("80 more transactions", lambda: run.wrong or run.done >= wanted, 30)
        assert run.wrong == [], run.wrong[:3]

    done = disturb(cluster, faults, goes_on)
    run.finish()
    print(f"strictly serializable: {done} faults, {run.summary()}")
    wait_settled(cluster)
    for node in cluster:
        run.judge(node)


def test_strictly_serializable_while_nodes_are_killed_and_paused(make_cluster):
    ordered(make_cluster(options=("--partitions", str(PARTITIONS))), (kill, pause, kill_all))


def test_strictly_serializable_while_nodes_are_cut_off(make_cluster):
    ordered(make_cluster(options=("--partitions", str(PARTITIONS)), proxied=True), (isolate, cut_one_link, pause))


# --- somebody goes away in the middle of it ------------------------------------------------------

def read_pairs(node, pairs) -> list:
    with node.client() as client:
        return client.pipeline([("MGET", *pair) for pair in pairs])


def write_pairs(node, pairs, number) -> None:
    with node.client() as client:
        replies = client.pipeline([command for pair in pairs for command in write(pair, number)])
        assert replies == ["OK", "QUEUED", "QUEUED", ["OK", "OK"]] * len(pairs), replies


def back(cluster, victim) -> None:
    """Running again, whatever was done to it."""
    if victim.alive:
        victim.resume()
    else:
        victim.start().wait_ready()
    cluster.wait_healthy(30)


@pytest.mark.alone
@pytest.mark.parametrize("fault", ["kill", "pause"])
def test_a_coordinator_goes_away(cluster, fault):
    """Full of transactions of its clients over all partitions. Through another node every key is there at once,
    with both of a pair or none of it."""
    delays = []
    for number, victim in enumerate(cluster):
        pairs = pairs_over(PARTITIONS, 32, f"c{number}")
        storm = Storm(victim, [pairs[part::4] for part in range(4)])
        until("transactions are acknowledged", lambda s=storm: s.errors or len(s.answers) >= 400, 20)
        assert storm.errors == [], storm.errors[:3]
        getattr(victim, fault)()
        began = time.monotonic()
        other, third = cluster.others(victim)
        values = read_pairs(other, pairs)
        write_pairs(other, pairs, "written by another")
        delays.append(time.monotonic() - began)
        for pair, seen in zip(pairs, values):
            storm.judge_pair(pair, seen)
        for seen in read_pairs(third, pairs):
            assert seen[0] == seen[1] is not None
        back(cluster, victim)
        storm.finish()
        for replies in storm.errors:  # of one that was away for long; otherwise its connections broke
            assert fault == "pause" and str(replies[-1]).startswith((*NOT_DONE, "UNKNOWN")), replies
        wait_settled(cluster)
        shown = [read_pairs(node, pairs) for node in cluster]
        assert shown[0] == shown[1] == shown[2] and all(left == right is not None for left, right in shown[0])
    print(f"delays after a coordinator, {fault}: {[round(delay, 2) for delay in delays]} s")
    assert max(delays) <= DELAY_MAX, delays


def partitions_led(cluster, node, via) -> list:
    ranges = [(first, last) for first, last, who in cluster.leaders(via) if who is node]
    return [p for p in range(PARTITIONS) if any(f <= p * SLOTS // PARTITIONS <= l for f, l in ranges)]


@pytest.mark.alone
@pytest.mark.parametrize("fault", ["kill", "pause"])
def test_the_leader_of_a_participant_goes_away(cluster, fault):
    """Of one key of each pair. The clients are at other nodes: to them it is a pause, and no error."""
    delays = []
    for number in (0, 1):
        victim, survivors = cluster[number], cluster.others(cluster[number])
        led = until("the victim leads something", lambda v=victim, s=survivors: partitions_led(cluster, v, s[0]), 30)
        elsewhere = [p for p in range(PARTITIONS) if p not in led]
        pairs = [(key_in(led[n % len(led)], PARTITIONS, f"p{number}:{n}l:"),
                  key_in(elsewhere[n], PARTITIONS, f"p{number}:{n}r:")) for n in range(12)]
        storms = [Storm(node, [pairs[n::4], pairs[n + 2::4]]) for n, node in enumerate(survivors)]
        grown(storms, 200)
        getattr(victim, fault)()
        began = time.monotonic()
        grown(storms, 200)
        back(cluster, victim)
        grown(storms, 100)
        for storm in storms:
            storm.finish()
            assert storm.errors == [] and storm.broken == [], (storm.errors[:3], storm.broken)
            delays.append(storm.longest_gap_after(began))
        wait_settled(cluster)
        judge_storms(cluster, storms)
    print(f"delays after the leader of a participant, {fault}: {[round(delay, 2) for delay in delays]} s")
    assert max(delays) <= DELAY_MAX, delays


def grown(storms, more: int) -> None:
    wanted = [len(storm.answers) + more for storm in storms]
    until(f"{more} more transactions", lambda: all(
        len(storm.answers) >= count or storm.errors for storm, count in zip(storms, wanted)), 30)


def judge_storms(cluster, storms) -> None:
    for node in cluster:
        for storm in storms:
            pairs = list(storm.sent)
            for pair, seen in zip(pairs, read_pairs(node, pairs)):
                storm.judge_pair(pair, seen)


def test_all_nodes_die_in_the_middle_of_it(cluster):
    storms = []
    for number, node in enumerate(cluster):
        pairs = pairs_over(PARTITIONS, 16, f"a{number}")
        storms.append(Storm(node, [pairs[::2], pairs[1::2]]))
    grown(storms, 150)
    for node in cluster:
        node.process.kill()
    for node in cluster:
        node.wait_exit()
    cluster.start()
    cluster.wait_healthy(30)
    for storm in storms:
        storm.finish()
        assert storm.errors == [], storm.errors[:3]
    wait_settled(cluster)
    judge_storms(cluster, storms)
    nobody_waits(cluster, [key for storm in storms for pair in storm.sent for key in pair])


def test_clients_that_vanish_leave_nothing_open(cluster):
    """They send EXEC and close, without a look at the reply; or queue and close."""
    pairs = pairs_over(PARTITIONS, 16, "v")
    for number in range(1, 101):
        pair = pairs[number % len(pairs)]
        with cluster[number % 3].client() as client:
            commands = [("WATCH", *pair), *write(pair, number)]
            queued = client.pipeline(commands[:-1])
            assert queued == ["OK", "OK", "QUEUED", "QUEUED"], queued
            if number % 2:
                client.send(b"*1\r\n$4\r\nEXEC\r\n")
    wait_settled(cluster)
    for node in cluster:
        for seen in read_pairs(node, pairs):
            assert seen[0] == seen[1] and (seen[0] is None or int(seen[0]) % 2), seen
    nobody_waits(cluster, [key for pair in pairs for key in pair])


def test_what_is_watched_while_its_leader_dies(cluster):
    """Versions of rows belong to the rows: a new leader knows them."""
    victim, (one, other) = cluster[0], cluster.others(cluster[0])
    kept, changed = (until("the victim leads something", lambda p=p: cluster.key_led_by(victim, one, p), 30)
                     for p in ("kept", "changed"))
    for key in (kept, changed):
        assert one.call("SET", key, "A") == "OK"
    with one.client() as quiet, one.client() as disturbed:
        assert quiet.call("WATCH", kept) == disturbed.call("WATCH", kept, changed) == "OK"
        victim.kill()
        assert other.call("SET", changed, "B") == other.call("SET", changed, "A") == "OK"
        assert disturbed.pipeline([("MULTI",), ("SET", kept, "X"), ("EXEC",)])[-1] is None
        assert quiet.pipeline([("MULTI",), ("SET", kept, "Y"), ("GET", changed), ("EXEC",)])[-1] == ["OK", "A"]
    assert other.call("MGET", kept, changed) == ["Y", "A"]
    back(cluster, victim)
    wait_settled(cluster)


# --- nobody goes away ----------------------------------------------------------------------------

@pytest.mark.parametrize("race", races.RACES, ids=lambda race: race.name)
def test_it_is_seen_whole(steady, race):
    races.run(race, [steady[0], steady[1], steady[2]])


def test_one_of_two_stays(steady):
    """Both look at both keys, and each takes its own away if the other is there: no order of the two leaves none."""
    keys = [key_in(n, PARTITIONS, "skew:") for n in (5, 40)]
    start = threading.Barrier(3)
    took: list = [None, None]

    def leave(number):
        with steady[number].client() as client:
            for _ in range(SKEW_ROUNDS):
                start.wait(20)
                client.call("WATCH", *keys)
                if client.call("MGET", *keys) == ["1", "1"]:
                    took[number] = client.pipeline([("MULTI",), ("SET", keys[number], 0), ("EXEC",)])[-1]
                else:
                    client.call("UNWATCH")
                start.wait(20)

    threads = [threading.Thread(target=leave, args=(number,), daemon=True) for number in (0, 1)]
    for thread in threads:
        thread.start()
    left = 0
    with steady[2].client() as client:
        for _ in range(SKEW_ROUNDS):
            took[:] = [None, None]
            assert client.call("MSET", keys[0], 1, keys[1], 1) == "OK"
            start.wait(20)
            start.wait(20)
            assert took in ([["OK"], None], [None, ["OK"]], [None, None]), took
            wanted = [None if one is None else one[0] for one in took]
            assert client.call("MGET", *keys) == ["0" if one == "OK" else "1" for one in wanted], took
            left += took != [None, None]
    for thread in threads:
        thread.join(20)
    assert left > 0, "nobody ever left"


def test_nothing_is_open_when_nothing_is_done(steady):
    for number in range(20):
        write_pairs(steady[number % 3], pairs_over(PARTITIONS, 16, "open"), number)
    wait_settled(steady)
