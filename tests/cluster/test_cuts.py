"""Machines with addresses of their own whose links break: one direction of one link, one link of
three, all links of one node; and random changes of the membership while nodes die, stand still and
are cut off. Nothing is lost or done twice, and who reaches a majority goes on."""
import os
import random
import time

import pytest

from cluster import Node
from counters import Counters
from operate import holon, loads, of_nodes, plan, run_holon, token, wait_settled
from resp import ErrorReply
from waiting import observe, until

ROUNDS = int(os.environ.get("HOLON_MEMBER_ROUNDS", "6"))
SEED = int(os.environ.get("HOLON_SEED", "1"))
PATIENCE_SECONDS = 3.0
CUT_SECONDS = 6.0    # longer than the patience, and than the connection lasts
KNOWN_SECONDS = 2.0  # by then requests go around the cut
SOON_SECONDS = 0.5
LARGE_BYTES = 3 << 20
CLEAR = ("UNAVAILABLE no quorum of partition", "UNKNOWN outcome: no quorum of partition")


def relayed(node) -> int:
    """Requests of its clients that went through a third node."""
    lines = node.http("/metrics")[1].splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("holon_gateway_relayed_total "))


def three_hosts(make_cluster, hosts, *options):
    cluster = make_cluster(hosts=hosts, options=("--partitions", "8", *options))
    cluster.wait_healthy()
    return cluster


@pytest.mark.long
@pytest.mark.parametrize("cut", ["cut_one_way", "cut"])
def test_one_broken_link(make_cluster, hosts, cut):
    """n1 and n2 do not hear each other, or only n2 does not hear n1; n3 is the bridge, whose clients
    notice nothing. Those of the other two are answered through it, without an error, and as soon as
    the cut is known in a moment (decision 0013). Each link once: whoever leads, the link between
    two leaders is among them."""
    cluster = three_hosts(make_cluster, hosts, "--patience", f"{PATIENCE_SECONDS:.0f}s")
    load = Counters(cluster, pause_seconds=0.002).start()
    for one, other in ((0, 1), (1, 2), (2, 0)):
        until("all are served", lambda: load.goes_on(cluster))
        bridge = cluster.others(cluster[one], cluster[other])
        known = len(load.errors_of(bridge))
        getattr(hosts, cut)(cluster[one], cluster[other])
        cut_at = time.monotonic()
        until("all clients are served", lambda: time.monotonic() > cut_at + CUT_SECONDS and load.goes_on(cluster), 20)
        assert len(load.errors_of(bridge)) == known, load.errors
        assert load.percentile(cut_at, time.monotonic(), 1) < PATIENCE_SECONDS
        assert load.percentile(cut_at + KNOWN_SECONDS, time.monotonic()) < SOON_SECONDS
        until("leaders beyond the cut are known", lambda: all(node.healthy for node in cluster), 10)
        hosts.heal()
        until("all are healthy", lambda: all(node.healthy for node in cluster), 30)
    load.finish()
    assert load.errors == []
    assert sum(relayed(node) for node in cluster) > 0
    for node in cluster:
        load.check(node)


def test_large_values_and_a_start_behind_a_broken_link(make_cluster, hosts):
    """Requests and replies of many frames go through the bridge, too; and a node that starts while
    a link of it is broken has never heard its other end, and serves what that leads."""
    cluster = three_hosts(make_cluster, hosts)
    values = {f"large{i}": chr(65 + i) * LARGE_BYTES for i in range(6)}
    hosts.cut(cluster[0], cluster[1])
    for node in cluster:
        with node.client(30) as client:
            for key, value in values.items():
                assert client.call("SET", key, value + node.name) == "OK"
                assert client.call("GET", key) == value + node.name
    assert relayed(cluster[0]) + relayed(cluster[1]) > 0
    cluster[0].kill()
    cluster[0].start()

    def serves():
        with cluster[0].client(30) as client:
            return all(client.call("GET", key) == value + cluster[2].name for key, value in values.items())
    until("the started node serves", serves, 30)
    until("it knows all leaders", lambda: cluster[0].healthy, 30)
    assert relayed(cluster[0]) > 0


def test_the_side_without_a_majority(make_cluster, hosts):
    cluster = three_hosts(make_cluster, hosts, "--patience", f"{PATIENCE_SECONDS:.0f}s")
    majority, alone = [cluster[0], cluster[1]], cluster[2]
    keys = [f"key{i}" for i in range(24)]
    for key in keys:
        assert cluster[0].call("SET", key, f"value of {key}") == "OK"
    load = Counters(majority, pause_seconds=0.002).start()
    inside = Counters([alone], name="alone", pause_seconds=0.002).start()
    with alone.client() as stale, alone.client() as strict:
        assert stale.call("HOLON.READS", "stale", "30000") == "OK"
        until("stale reads are fresh", lambda: all(stale.call("GET", k) == f"value of {k}" for k in keys)
              and stale.call("HOLON.READS", "LAST") < 2000)
        until("all are served", lambda: load.goes_on(majority) and inside.goes_on([alone]))
        hosts.isolate(alone, cluster)
        until("the majority goes on", lambda: load.goes_on(majority), 10)
        until("leaders that are cut off have stepped down",
              lambda: isinstance(strict.call("GET", keys[0]), ErrorReply), 20)
        began = time.monotonic()
        replies = strict.pipeline([("GET", key) for key in keys])
        took = time.monotonic() - began
        assert all(isinstance(r, ErrorReply) and r.startswith("UNAVAILABLE no quorum") for r in replies), replies
        assert took < PATIENCE_SECONDS + 1, took

        def reads_go_on():
            assert [stale.call("GET", key) for key in keys] == [f"value of {key}" for key in keys]
            assert load.goes_on(majority)
        observe(2, reads_go_on)
        assert not alone.healthy and all(node.healthy for node in majority)
        hosts.heal()
        until("all are healthy", lambda: all(node.healthy for node in cluster), 30)
        until("the node's clients go on", lambda: inside.goes_on([alone]), 20)
        assert strict.call("GET", keys[0]) == f"value of {keys[0]}"
    load.finish(), inside.finish()
    assert load.errors == []
    # Said clearly, in time: nothing else than these two, and no connection broke.
    assert inside.errors and all(text.startswith(CLEAR)
                                 for _, _, text in inside.errors), inside.errors
    for node in cluster:
        load.check(node)
        inside.check(node)


class Members:
    """A cluster whose membership changes at random: what is in it, and what an operator does."""

    def __init__(self, cluster, hosts, directory, rng):
        self.cluster, self.hosts, self.directory, self.rng = cluster, hosts, directory, rng
        self.nodes = list(cluster.nodes)  # members
        self.drained: list = []
        self.told: list = []              # what was done, for a failure

    def __repr__(self):
        return "; ".join(self.told)

    def unwell(self):
        """Those that do not serve, and those whose replicas could not take the place of one that is
        lost: while an old replica makes room for its successor a group has a voter less."""
        down = [node.name for node in self.nodes if not node.alive or not node.healthy]
        return down or [name for name, count in of_nodes(self.nodes[0], "behind").items() if count > 0]

    def do(self, via, *words):
        code, text = run_holon(via, "node", *words)
        self.told.append(f"{' '.join(words)}: {code} {text.strip().splitlines()[0] if text.strip() else ''}")
        return code == 0

    def join(self, via):
        number = len(self.hosts.namespaces) + 1
        node = Node(f"n{number}", self.directory, ["--workers", "1", "--token", token(via, "token")])
        self.hosts.place(node)
        node.options += ["--join", ",".join(f"{n.host}:{n.peer}" for n in self.nodes)]
        self.cluster.nodes.append(node)
        self.nodes.append(node)
        node.start()
        self.told.append(f"{node} joins")

    def change(self, via, keep):
        """One operation; `keep` stay whatever happens: clients are there."""
        free = [node for node in self.nodes if node not in keep]
        empty = [node for node in self.drained if loads(via).get(node.name) == 0 and plan(via)["left"] == 0]
        if empty and self.rng.random() < 0.7:
            if self.do(via, "remove", empty[0].name):
                self.drained.remove(empty[0])
                self.nodes.remove(empty[0])
        elif self.drained and self.rng.random() < 0.3:
            if self.do(via, "undrain", self.drained[0].name):
                self.drained.pop(0)
        elif len(self.nodes) < 5:
            self.join(via)
        elif not self.drained:
            node = self.rng.choice(free)
            if self.do(via, "drain", node.name):
                self.drained.append(node)

    def disturb(self, load, watched):
        """One node dies, stands still or loses links, and all is well again afterwards."""
        victim = self.rng.choice(self.nodes)
        kind = self.rng.choice(["kill", "pause", "isolate", "cut", "cut_one_way"])
        other = self.rng.choice([node for node in self.nodes if node is not victim])
        self.told.append(f"{kind} {victim} {other if kind.startswith('cut') else ''}")
        if kind == "kill":
            victim.kill()
        elif kind == "pause":
            victim.pause()
        elif kind == "isolate":
            self.hosts.isolate(victim, self.nodes)
        else:
            getattr(self.hosts, kind)(victim, other)
        hit = [victim, other] if kind.startswith("cut") else [victim]
        rest = [node for node in watched if node not in hit]
        began = time.monotonic()
        until("the others' clients go on", lambda: time.monotonic() > began + 1.5 and load.goes_on(rest), 25)
        if kind == "kill":
            victim.start()
        elif kind == "pause":
            victim.resume()
        self.hosts.heal()


@pytest.mark.long
def test_members_come_and_go_while_nodes_die_stand_still_and_are_cut_off(make_cluster, hosts, directory):
    rng = random.Random(SEED)
    cluster = three_hosts(make_cluster, hosts, "--repair-after", "60s")
    watched = list(cluster.nodes)
    members = Members(cluster, hosts, directory, rng)
    load = Counters(watched, pause_seconds=0.004).start()
    until("all are served", lambda: load.goes_on(watched))
    try:
        for _ in range(ROUNDS):
            via = rng.choice(watched)
            members.change(via, keep=watched)
            members.disturb(load, watched)
            until("all members run again", lambda: members.unwell() == [], 60)
        one = watched[0]
        for node in list(members.drained):
            holon(one, "node", "undrain", node.name)
        wait_settled(one, members.nodes, 90)
        load.finish()
        # Those of a node that was hit broke off or waited in vain; nobody was told anything else.
        allowed = ("UNAVAILABLE no quorum", "UNKNOWN outcome", "ConnectionResetError", "ConnectionRefusedError",
                   "ConnectionError", "BrokenPipeError")
        assert all(text.startswith(allowed) for _, _, text in load.errors), load.errors
        for node in members.nodes:
            load.check(node)
    except BaseException:
        print(members, "; unwell:", members.unwell(), load.errors)
        for node in members.nodes:
            print(node, node.alive and node.http("/health"))
        raise
