"""A database with durability memory, in real processes: `holon database`, what INFO and status say of it, processes
that die all at once, and machines that seem to have lost power (another boot id)."""
import subprocess
import time

import pytest

from cluster import HOLON
from waiting import until

BOOT_ID = "/proc/sys/kernel/random/boot_id"
KEYS = 300


def holon(node, *words):
    done = subprocess.run([HOLON, *words, "--admin", f"127.0.0.1:{node.admin}"], timeout=30, check=False,
                          capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


def set_durability(cluster, database, durability):
    code, said = holon(cluster[0], "database", "set", str(database), f"durability={durability}")
    assert code == 0, said
    wanted = [database] if durability == "memory" else []
    until("all nodes know", lambda: all(node.status()["memory_databases"] == wanted for node in cluster), 10)
    return said


def fill(node, database, prefix):
    with node.client() as client:
        client.call("SELECT", database)
        for i in range(KEYS):
            assert client.call("SET", f"{prefix}{i}", f"value{i}") == "OK"


def check(node, database, prefix):
    with node.client() as client:
        client.call("SELECT", database)
        lost = [i for i in range(KEYS) if client.call("GET", f"{prefix}{i}") != f"value{i}"]
    assert lost == [], f"{len(lost)} of {KEYS} keys are lost, the first: {lost[0]}"


def with_boot_id(node, path):
    """The node's next processes run on a machine that seems to have been started anew."""
    node.prefix = ["unshare", "-m", "sh", "-c", f'mount --bind {path} {BOOT_ID} && exec "$0" "$@"']


def can_unshare(path):
    path.write_text("00000000-0000-0000-0000-000000000001\n", encoding="ascii")
    return subprocess.run(["unshare", "-m", "mount", "--bind", str(path), BOOT_ID], check=False,
                          capture_output=True).returncode == 0


def test_the_setting_is_said_and_kill_9_of_all_loses_nothing(make_cluster):
    cluster = make_cluster(3)
    assert holon(cluster[1], "database", "set", "16", "durability=memory")[0] == 1
    assert holon(cluster[1], "database", "set", "5", "durability=sometimes")[0] == 1
    said = set_durability(cluster, 5, "memory")
    assert "may be lost" in said and "salvage" in said
    code, listed = holon(cluster[2], "database", "list")
    assert code == 0 and listed.count("memory") == 1
    assert "durability memory: database 5" in holon(cluster[1], "status")[1]
    with cluster[1].client() as client:
        assert "holon_db5_durability:memory" in client.call("INFO", "persistence")
    until("what is written counts", lambda: all((node.data / "memory").exists() for node in cluster), 10)
    fill(cluster[0], 5, "m")
    fill(cluster[0], 0, "d")
    fill(cluster[0], 5, "n")
    for node in cluster:
        node.kill()
    for node in cluster:
        node.start()
    for node in cluster:
        node.wait_ready()
    cluster.wait_healthy()
    for prefix, database in (("m", 5), ("d", 0), ("n", 5)):
        check(cluster[1], database, prefix)
    set_durability(cluster, 5, "disk")
    until("the mark goes", lambda: not any((node.data / "memory").exists() for node in cluster), 10)


@pytest.mark.long
def test_machines_that_lost_power_stay_out_until_the_others_or_an_operator_help(make_cluster, tmp_path):
    if not can_unshare(tmp_path / "boot"):
        pytest.skip("no rights to give a process another boot id")
    cluster = make_cluster(3)
    set_durability(cluster, 0, "memory")
    until("what is written counts", lambda: all((node.data / "memory").exists() for node in cluster), 10)
    fill(cluster[0], 0, "k")

    # One: its peers fill it, under new ids.
    victim = cluster[2]
    victim.kill()
    with_boot_id(victim, tmp_path / "boot")
    victim.start().wait_ready()
    assert "lost power" in victim.log()
    until("it is whole again", lambda: victim.status()["lost_power"] == 0 and not victim.status()["lost_replicas"]
          and not victim.status()["groups_moving"], 60)
    cluster.wait_healthy()
    check(victim, 0, "k")

    # All: nobody leads, and that is said; then the loss is accepted.
    (tmp_path / "boot2").write_text("00000000-0000-0000-0000-000000000002\n", encoding="ascii")
    for node in cluster:
        node.kill()
    for node in cluster:
        with_boot_id(node, tmp_path / "boot2")
        node.start()
    until("it is said", lambda: all(node.http("/status")[0] == 200 and node.status()["lost_power"] > 0
                                    for node in cluster), 20)
    assert cluster[0].status()["partitions_led"] == 0
    code, status = holon(cluster[0], "status")
    assert code == 1 and "holon salvage" in status
    for node in cluster:
        assert node.stop() == 0
        looked = subprocess.run([HOLON, "salvage", "--data", str(node.data)], check=False, capture_output=True, text=True)
        assert looked.returncode == 1 and "lost power" in looked.stdout, looked.stdout + looked.stderr
        done = subprocess.run([HOLON, "salvage", "--data", str(node.data), "--accept-loss"], check=False,
                              capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    for node in cluster:
        node.start()
    for node in cluster:
        node.wait_ready()
    cluster.wait_healthy()
    check(cluster[1], 0, "k")  # this disk forgets nothing in truth


def syncs(cluster):
    """Of the logs of all nodes."""
    return sum(int(line.split()[1]) for node in cluster for line in node.http("/metrics")[1].splitlines()
               if line.startswith("holon_log_syncs_total "))


def test_writes_in_memory_do_not_wait_for_the_disk(make_cluster):
    cluster = make_cluster(3)
    set_durability(cluster, 5, "memory")
    until("what is written counts", lambda: all((node.data / "memory").exists() for node in cluster), 10)

    def write(database):
        """(median in us, syncs), one write after the other."""
        times, before = [], syncs(cluster)
        with cluster[0].client() as client:
            client.call("SELECT", database)
            for i in range(KEYS):
                began = time.perf_counter()
                client.call("SET", f"t{i % 7}", "v")
                times.append(time.perf_counter() - began)
        return sorted(times)[KEYS // 2] * 1e6, syncs(cluster) - before

    write(0)
    on_disk, in_memory = write(0), write(5)
    print(f"a SET: disk {on_disk[0]:.0f} us, memory {in_memory[0]:.0f} us; syncs {on_disk[1]}, {in_memory[1]}")
    assert on_disk[1] >= 2 * KEYS  # each write on a quorum
    assert in_memory[1] < KEYS
