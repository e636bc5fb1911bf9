"""An idle cluster costs nothing: processor, disk, memory."""
import os
import time

from waiting import observe, until

SECONDS = float(os.environ.get("HOLON_IDLE_SECONDS", "10"))
CPU_PERCENT_MAX = 1.0        # of one core, all three nodes in sum
WINDOWS = 3
RESIDENT_MAX = 80 << 20      # per node


def cpu_percent(cluster) -> float:
    cpu, start = sum(node.cpu_seconds() for node in cluster), time.monotonic()
    observe(SECONDS, lambda: None, every=0.5)
    return (sum(node.cpu_seconds() for node in cluster) - cpu) / (time.monotonic() - start) * 100


def test_an_idle_cluster_uses_next_to_nothing(three):
    """Once, 1.28 % were seen between runs of 0.64 to 0.82 %; other work on the machine can only make it
    more, so the best of three windows counts."""
    for number in range(100):
        assert three[number % 3].call("SET", f"key{number}", "x" * 64) == "OK"
    settle(three)
    written = [node.bytes_written() for node in three]
    windows = [cpu_percent(three)]
    while windows[-1] > CPU_PERCENT_MAX and len(windows) < WINDOWS:
        windows.append(cpu_percent(three))
    written = [node.bytes_written() - before for node, before in zip(three, written)]
    resident = [node.resident() >> 20 for node in three]
    proportional = [node.proportional() >> 20 for node in three]
    print(f"idle: {', '.join(f'{percent:.2f}' for percent in windows)} % CPU in sum, bytes written "
          f"{written}, resident {resident} MiB, proportional {proportional} MiB")
    assert written == [0, 0, 0]
    assert min(windows) <= CPU_PERCENT_MAX
    assert max(resident) <= RESIDENT_MAX >> 20


def settle(cluster) -> None:
    """Until nothing was written for six seconds: what the start and the writes left is done."""
    last = {"written": None, "since": time.monotonic()}

    def quiet() -> bool:
        written = [node.bytes_written() for node in cluster]
        if written != last["written"]:
            last.update(written=written, since=time.monotonic())
        return time.monotonic() - last["since"] >= 6

    until("the cluster stops writing", quiet, 60, every=0.2)
