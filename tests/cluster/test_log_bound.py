"""The log stays under --log-bytes-max (DESIGN.md 5), whatever is written."""

import os

from waiting import until

BOUND_MIB = 64


def _log_bytes(node):
    total = 0
    for entry in os.scandir(node.data / "log"):
        try:
            total += entry.stat().st_size
        except FileNotFoundError:
            pass  # a segment that was just freed
    return total


def test_five_times_the_bound_is_written_and_nothing_refused(make_cluster):
    cluster = make_cluster(
        3, options=("--log-bytes-max", f"{BOUND_MIB}MiB", "--partitions", "16")
    )
    value = "v" * 16000
    with cluster[0].client() as client:
        for batch in range(200):  # 320 MB
            keys = [f"k{(batch * 100 + i) % 3000}" for i in range(100)]
            assert client.pipeline([("SET", key, value) for key in keys]) == ["OK"] * 100
            for node in cluster:
                assert _log_bytes(node) <= (BOUND_MIB << 20) + 8192
    for node in cluster:
        metrics = node.http("/metrics")[1]
        assert f"holon_log_bytes_max {BOUND_MIB << 20}" in metrics
        assert "holon_no_space_total 0" in metrics
        node.kill()
    for node in cluster:
        node.start()
    for node in cluster:
        node.wait_ready()
    with cluster[0].client() as client:
        until("the last value is there", lambda: client.call("GET", "k2999") == value, 10)
