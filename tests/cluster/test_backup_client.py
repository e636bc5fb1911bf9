"""`holon backup`, `holon restore` and `holon backup verify` against a stand-in (export_stand_in.py): what is written
to disk, what an interruption leaves, what damage looks like. test_backup.py has real clusters."""
import json
import os
import pathlib
import pty
import random
import shutil
import signal
import subprocess
import termios
import time

import pytest

from cluster import HOLON
from export_stand_in import Server, Store
from waiting import until

PASSPHRASE = "correct horse"


def run(*words, env=None, ok=True, seconds=120) -> str:
    """All it prints; fails unless its exit code is as expected."""
    done = subprocess.run([HOLON, *map(str, words)], capture_output=True, text=True, timeout=seconds, check=False,
                          stdin=subprocess.DEVNULL, start_new_session=True, env={**os.environ, **(env or {})})
    text = done.stdout + done.stderr
    assert (done.returncode == 0) == ok, text
    assert done.returncode in (0, 1, 2), text
    return text


@pytest.fixture
def serve():
    servers = []

    def make(store: Store) -> str:
        servers.append(Server(store))
        return servers[-1].node
    yield make
    for server in servers:
        server.end()


def filled(partitions=4, keys=300, seed=1, **more) -> Store:
    store, rng = Store(partitions, **more), random.Random(seed)
    later = int(time.time() * 1000) + 3600 * 1000
    for number in range(keys):
        database = rng.choice((0, 0, 0, 3, 15))
        expiry = rng.choice((0, 0, later))
        key = b"key:%d" % number + rng.randbytes(rng.randrange(4))
        if rng.randrange(3) == 0:
            store.set(database, key, {b"f%d" % i: rng.randbytes(rng.randrange(40))
                                      for i in range(1 + rng.randrange(20))}, expiry)
        else:
            store.set(database, key, rng.randbytes(rng.randrange(400)), expiry)
    store.set(0, b"", b"the empty key")
    store.set(1, b"large", rng.randbytes(5 << 20))
    store.set(1, b"largest", bytes(16 << 20))
    store.set(2, b"many fields", {b"field %d" % i: b"value %d" % i for i in range(30000)}, later)
    store.set(2, b"great fields", {b"field %d" % i: bytes(200000) for i in range(20)})
    return store


def test_a_backup_in_a_directory_comes_back(serve, directory):
    source, target = filled(), Store(7, "other")
    node = serve(source)
    text = run("backup", f"{directory}/b/", "--node", node)
    assert "whole" in text and f"{len(source.keys)} keys" in text
    assert sorted(os.listdir(directory / "b")) == ["manifest.holon", *(f"part-0000{i}.holon" for i in range(4))]
    assert f"{len(source.keys)} keys" in run("backup", "verify", directory / "b")
    text = run("restore", directory / "b", "--node", serve(target))
    assert target.content() == source.content()
    assert f"all {len(source.keys)} keys were written" in text
    assert not source.snapshots, "the snapshot is closed at the end"
    # Tokens that are given from now on are greater than all versions.
    assert set(target.floors) == set(range(16384)) and set(target.floors.values()) == {max(source.versions)}


@pytest.mark.parametrize("name", ["b.holon", "b/"])
def test_an_encrypted_backup_needs_its_passphrase(serve, directory, name):
    source, target = filled(), Store(1)
    source.locks[0, b"lock"] = 12345
    (directory / "secret").write_text(PASSPHRASE + "\n")
    path = f"{directory}/{name}"
    run("backup", path, "--node", serve(source), "--passphrase-file", directory / "secret")
    stored = b"".join(file.read_bytes() for file in pathlib.Path(directory).rglob("*holon") if file.is_file())
    assert b"many fields" not in stored and b"cluster" not in stored
    node = serve(target)
    assert "the passphrase is wrong" in run("restore", path, "--node", node, env={"HOLON_PASSPHRASE": "x"}, ok=False)
    assert "no terminal to ask" in run("restore", path, "--node", node, ok=False)
    assert "the passphrase is wrong" in run("backup", "verify", path, env={"HOLON_PASSPHRASE": "x"}, ok=False)
    assert target.writes == 0
    run("backup", "verify", path, env={"HOLON_PASSPHRASE": PASSPHRASE})
    run("restore", path, "--node", node, env={"HOLON_PASSPHRASE": PASSPHRASE})
    assert target.content() == source.content()
    assert set(target.floors.values()) == {12345}


def test_all_in_one_file(serve, directory):
    source, target = filled(), Store(2)
    run("backup", directory / "b.holon", "--node", serve(source))
    assert os.listdir(directory) == ["b.holon"]
    run("backup", "verify", directory / "b.holon")
    run("restore", directory / "b.holon", "--node", serve(target))
    assert target.content() == source.content()


def test_refusals_and_lost_connections_are_met_with_patience(serve, directory):
    source, target = filled(keys=100), Store(3)
    source.refuse_one_in, source.cut_one_in = 5, 11
    run("backup", directory / "b.holon", "--node", serve(source))
    node = serve(target)
    target.refuse_one_in, target.cut_one_in = 1000, 1500
    run("restore", directory / "b.holon", "--node", node)
    assert target.content() == source.content()


@pytest.mark.parametrize("says", [1, 2, 4])
def test_a_snapshot_that_ends_before_anything_is_read_is_named(serve, directory, says):
    """Its connection is lost after OPEN, after INFO, or among the partitions: the command says so, and works again."""
    source = filled(keys=50, partitions=8)
    node = serve(source)
    source.opener_says = says
    text = run("backup", directory / "b.holon", "--node", node, ok=False)
    assert "cannot be read any more" in text and "run the same command again" in text
    assert not source.snapshots
    source.opener_says = 0
    run("backup", directory / "b.holon", "--node", node)
    run("backup", "verify", directory / "b.holon")


def change(store: Store, rng: random.Random) -> None:
    for where in rng.sample(sorted(store.keys), 40):
        store.delete(*where)
    for where in rng.sample(sorted(store.keys), 40):
        store.set(*where, rng.randbytes(30))
    for number in range(40):
        store.set(0, b"new %d %d" % (number, rng.randrange(10 ** 9)), {b"a": b"1"})
    store.set(2, b"ends", b"soon", int(time.time() * 1000) + 1000)


def test_what_was_written_since_stands_on_what_was_before(serve, directory):
    source, rng = filled(), random.Random(3)
    node = serve(source)
    run("backup", directory / "full.holon", "--node", node)
    change(source, rng)
    run("backup", f"{directory}/second/", "--node", node, "--incremental", directory / "full.holon")
    change(source, rng)
    until("the key has expired", lambda: (2, b"ends") not in source.content() or source.delete(2, b"ends"))
    text = run("backup", directory / "third.holon", "--node", node, "--incremental", directory / "second")
    assert "are only there" in text
    size = os.path.getsize(directory / "third.holon")
    assert size < os.path.getsize(directory / "full.holon") / 20
    assert f"{len(source.content())} keys" in run("backup", "verify", directory / "third.holon")
    target = Store(5)
    run("restore", directory / "third.holon", "--node", serve(target))
    assert target.content() == source.content()
    # All moved, and one is gone.
    (directory / "moved").mkdir()
    for name in ("full.holon", "second", "third.holon"):
        os.rename(directory / name, directory / "moved" / name)
    run("backup", "verify", directory / "moved/third.holon")
    os.rename(directory / "moved/second", directory / "elsewhere")
    assert "give --base" in run("backup", "verify", directory / "moved/third.holon", ok=False)
    assert "give --base" in run("restore", directory / "moved/third.holon", "--node", node, ok=False)
    os.rename(directory / "moved/full.holon", directory / "full.holon")
    run("backup", "verify", directory / "moved/third.holon", "--base", directory / "elsewhere")


def test_a_base_is_whole_and_of_this_cluster(serve, directory):
    source, other = filled(keys=10), Store(4, "other")
    run("backup", directory / "full.holon", "--node", serve(source))
    text = run("backup", directory / "b.holon", "--node", serve(other), "--incremental", directory / "full.holon",
               ok=False)
    assert "cluster other" in text
    again = Store(3, source.cluster)
    text = run("backup", directory / "b.holon", "--node", serve(again), "--incremental", directory / "full.holon",
               ok=False)
    assert "the partitions are not those of" in text


def start(*words) -> subprocess.Popen:
    return subprocess.Popen([HOLON, *map(str, words)], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                            stderr=subprocess.DEVNULL)


@pytest.mark.parametrize("keep", [False, True])
def test_an_interrupted_backup_is_none_and_can_be_made_whole(serve, directory, keep):
    source = filled(partitions=8)
    source.export_pause = 0.05
    node = serve(source)
    held = Server(source)
    client = start("backup", f"{directory}/b/", "--node", node, "--streams", 1)
    until("some partitions are there", lambda: len(list((directory / "b").glob("part-*.holon"))) >= 3)
    snapshots = dict(source.snapshots)
    client.send_signal(signal.SIGKILL)
    client.wait()
    held.end()
    assert "not finished" in run("backup", "verify", directory / "b", ok=False)
    assert "not finished" in run("restore", directory / "b", "--node", node, ok=False)
    until("the connection that held it is gone", lambda: not source.snapshots)
    if keep:  # it was not noticed that the client had gone
        source.snapshots.update(snapshots)
    source.export_pause = 0
    if not keep:
        change(source, random.Random(8))
    parts = {file.name: file.read_bytes() for file in (directory / "b").glob("part-*.holon")}
    state = json.loads((directory / "b/unfinished.json").read_text())
    text = run("backup", f"{directory}/b/", "--node", node)
    assert ("goes on with" in text) == keep and ("begins anew" in text) != keep
    assert ("only what was written since" in text) != keep
    assert not (directory / "b/unfinished.json").exists()
    done = [i for i, part in enumerate(state["parts"]) if part["done"]]
    assert len(done) >= 2
    for i in done:
        same = (directory / f"b/part-{i:05}.holon").read_bytes() == parts[f"part-{i:05}.holon"]
        assert same == keep
    run("backup", "verify", directory / "b")
    target = Store(3)
    run("restore", directory / "b", "--node", serve(target))
    assert target.content() == source.content()


@pytest.mark.parametrize("base", [False, True])
def test_a_backup_that_is_interrupted_again_and_again(serve, directory, base):
    source, rng = filled(partitions=6), random.Random(8)
    node, words = serve(source), []
    if base:
        run("backup", directory / "base.holon", "--node", node)
        words = ["--incremental", directory / "base.holon"]
        change(source, rng)
    work = directory / "b.holon.unfinished"
    for least in (2, 4):
        source.export_pause = 0.05
        client = start("backup", directory / "b.holon", "--node", node, "--streams", 1, *words)
        held = until("its state is there", lambda: (work / "unfinished.json").exists() and set(source.snapshots))
        until("some partitions are done", lambda: done(work, held) >= least - 1)
        client.send_signal(signal.SIGKILL)
        client.wait()
        until("the connection that held it is gone", lambda: not source.snapshots)
        change(source, rng)
    source.export_pause = 0
    damaged = work / "part-00000.holon"  # is found when it is read, and made anew
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"x")
    run("backup", directory / "b.holon", "--node", node, *words)
    assert not work.exists()
    run("backup", "verify", directory / "b.holon")
    target = Store(3)
    run("restore", directory / "b.holon", "--node", serve(target))
    assert target.content() == source.content()


def test_putting_one_file_together_can_be_interrupted(serve, directory):
    source, rng = Store(8), random.Random(4)
    for number in range(2000):
        source.set(0, b"key:%d" % number, rng.randbytes(400))
    words = ("backup", directory / "b.holon", "--node", serve(source))
    limit = 350_000  # of any file: enough for parts, not for all of them
    client = subprocess.run(["prlimit", f"--fsize={limit}", "--core=0", HOLON, *map(str, words)],
                            capture_output=True, text=True, check=False, timeout=60)
    assert client.returncode != 0 and not (directory / "b.holon").exists()
    work = directory / "b.holon.unfinished"
    assert 0 < len(list(work.glob("part-*.holon"))) < 8, "it was not in the middle"
    assert "all partitions were read" in run(*words)
    assert os.listdir(directory) == ["b.holon"]
    run("backup", "verify", directory / "b.holon")
    target = Store(1)
    run("restore", directory / "b.holon", "--node", serve(target))
    assert target.content() == source.content()


def test_a_file_whose_manifest_was_being_appended_can_be_finished(serve, directory):
    source = filled(partitions=2, keys=40)
    node = serve(source)
    run("backup", directory / "first.holon", "--node", node)
    whole = (directory / "first.holon").read_bytes()
    offset = int.from_bytes(whole[-32:-24], "little")  # of the manifest: before the trailer's end
    client = subprocess.run(["prlimit", f"--fsize={offset + 10}", "--core=0", HOLON, "backup", directory / "b.holon",
                             "--node", node], capture_output=True, text=True, check=False, timeout=60)
    assert client.returncode == -signal.SIGXFSZ
    work = directory / "b.holon.unfinished"
    assert (work / "whole.new").stat().st_size == offset + 10, "it was not at the manifest"
    assert "all partitions were read" in run("backup", directory / "b.holon", "--node", node)
    assert not work.exists()
    run("backup", "verify", directory / "b.holon")


@pytest.mark.parametrize("name", ["b.holon", "b/"])
def test_two_runs_do_not_write_to_one_place(serve, directory, name):
    source = filled(partitions=8, keys=100)
    source.export_pause = 0.05
    node, path = serve(source), f"{directory}/{name}"
    work = directory / ("b" if name == "b/" else "b.holon.unfinished")
    client = start("backup", path, "--node", node, "--streams", 1)
    until("it has begun", lambda: (work / "unfinished.json").exists())
    assert "another run" in run("backup", path, "--node", node, ok=False)
    assert client.wait(60) == 0
    run("backup", "verify", path)


def test_what_lies_where_a_new_file_is_written_is_not_written_to(serve, directory):
    source = filled(partitions=4, keys=40)
    (directory / "b").mkdir()
    (directory / "mine").write_text("mine")
    source.export_pause = 0.05
    node = serve(source)
    client = start("backup", f"{directory}/b/", "--node", node, "--streams", 1)
    until("it has begun", lambda: (directory / "b/unfinished.json").exists())
    client.send_signal(signal.SIGKILL)
    client.wait()
    for target in ("unfinished.json", "manifest.holon", *(f"part-0000{i}.holon" for i in range(4))):
        (directory / f"b/{target}.new").unlink(missing_ok=True)
        os.symlink(directory / "mine", directory / f"b/{target}.new")
    run("backup", f"{directory}/b/", "--node", node)
    assert (directory / "mine").read_text() == "mine"
    run("backup", "verify", directory / "b")


SECRET = {"HOLON_PASSPHRASE": PASSPHRASE}


def test_with_a_passphrase_nothing_plain_is_taken(serve, directory):
    source, target = filled(keys=20), Store(1)
    node, to = serve(source), serve(target)
    plain = directory / "plain.holon"
    run("backup", plain, "--node", node)
    assert "is not encrypted, and a passphrase is given" in run("backup", "verify", plain, env=SECRET, ok=False)
    assert "is not encrypted, and a passphrase is given" in run("restore", plain, "--node", to, env=SECRET, ok=False)
    assert target.writes == 0
    text = run("backup", directory / "next.holon", "--node", node, "--incremental", plain, env=SECRET, ok=False)
    assert "is not encrypted" in text and not (directory / "next.holon").exists()
    text = run("backup", directory / "next.holon", "--node", node, "--incremental", plain, "--encrypt", ok=False)
    assert "no encrypted backup stands on a plain one" in text


def test_an_unfinished_plain_backup_is_not_gone_on_with_as_if_it_were_encrypted(serve, directory):
    source = filled(partitions=8, keys=40)
    source.export_pause = 0.05
    node = serve(source)
    client = start("backup", f"{directory}/b/", "--node", node, "--streams", 1)
    until("it has begun", lambda: (directory / "b/unfinished.json").exists())
    client.send_signal(signal.SIGKILL)
    client.wait()
    text = run("backup", f"{directory}/b/", "--node", node, "--encrypt", ok=False)
    assert "is not encrypted, and --encrypt is given" in text
    assert "a passphrase is given" in run("backup", f"{directory}/b/", "--node", node, env=SECRET, ok=False)


@pytest.mark.parametrize("end", ["interrupt", "terminate"])
def test_a_terminal_shows_again_what_is_typed(serve, directory, end):
    source = filled(keys=5)
    node = serve(source)
    master, slave = pty.openpty()
    client = subprocess.Popen(["setsid", "--ctty", HOLON, "backup", str(directory / "b.holon"), "--node", node,
                               "--encrypt"], stdin=slave, stdout=slave, stderr=slave)
    try:
        said = b""
        while not said.endswith(b"passphrase: "):
            said += os.read(master, 1000)
        assert not termios.tcgetattr(slave)[3] & termios.ECHO
        if end == "interrupt":
            os.write(master, b"abc\x03")
        else:
            client.terminate()
        number = signal.SIGINT if end == "interrupt" else signal.SIGTERM
        assert client.wait(20) == -number
        assert termios.tcgetattr(slave)[3] & termios.ECHO
    finally:
        client.kill()
        os.close(master)
        os.close(slave)


def test_a_pipe_in_the_place_of_a_backup_is_not_waited_for(serve, directory):
    node = serve(filled(keys=5))
    run("backup", directory / "full.holon", "--node", node)
    run("backup", directory / "next.holon", "--node", node, "--incremental", directory / "full.holon")
    os.remove(directory / "full.holon")
    os.mkfifo(directory / "full.holon")
    assert "full.holon is no regular file" in run("backup", "verify", directory / "next.holon", ok=False, seconds=20)
    (directory / "d").mkdir()
    os.mkfifo(directory / "d/manifest.holon")
    assert "is no regular file" in run("backup", "verify", directory / "d", ok=False, seconds=20)


@pytest.mark.parametrize("size", [1000, 100 << 10, 240 << 10])
def test_fields_of_any_size_fit_into_the_commands_of_a_restore(serve, directory, size):
    source, target = Store(1), Store(1)
    source.set(0, b"some and a great one", {b"f%d" % i: bytes(900) for i in range(100)} | {b"g": bytes(256 << 10)})
    source.set(0, b"k" * 26000, {b"f%02d" % i: bytes(90) for i in range(38)} | {b"g": bytes(256 << 10)})
    source.set(0, b"great ones", {b"%d" % i: bytes(rest) for i, rest in enumerate((90 << 10, 256 << 10) * 3)})
    source.set(0, b"alike", {b"%d" % i: bytes(size) for i in range(20)})
    source.set(0, b"a name in each command" * 2800, {b"%d" % i: b"" for i in range(150000)})
    source.set(0, b"n" * 20000, {b"n" * 3000 + b"%d" % i: b"" for i in range(200)})
    run("backup", directory / "b.holon", "--node", serve(source))
    run("restore", directory / "b.holon", "--node", serve(target))
    assert target.content() == source.content()


def test_a_token_above_all_floors_does_not_end_a_restore(serve, directory):
    source, target = filled(keys=5), Store(3)
    source.locks[0, b"lock"] = (1 << 62) + 5
    run("backup", directory / "b.holon", "--node", serve(source))
    text = run("restore", directory / "b.holon", "--node", serve(target))
    assert str((1 << 62) + 5) in text
    assert set(target.floors.values()) == {1 << 62}
    assert target.content() == source.content()


def done(work: pathlib.Path, held: set) -> int:
    state = json.loads((work / "unfinished.json").read_text())
    return state["snapshot"] in held and sum(part["done"] for part in state["parts"])


def test_an_interrupted_restore_goes_on(serve, directory):
    source, target = filled(partitions=3), Store(5)
    run("backup", directory / "b.holon", "--node", serve(source))
    node = serve(target)
    target.stop_after = 150
    client = start("restore", directory / "b.holon", "--node", node, "--streams", 2)
    until("it has come so far", lambda: target.writes > target.stop_after)
    until("that is noted", lambda: any(part["keys"] for part in json.loads(
        next(directory.glob("b.holon.restore-*")).read_text())["parts"]))
    client.send_signal(signal.SIGKILL)
    client.wait()
    assert 0 < len(target.content()) < len(source.content())
    # What was begun may be half there, and what was not noted is written again.
    assert "goes on" in run("restore", directory / "b.holon", "--node", serve(with_limit(target, 0)))
    assert target.content() == source.content()
    assert not list(directory.glob("b.holon.restore-*"))


def with_limit(store: Store, limit: int) -> Store:
    store.stop_after, store.writes = limit, 0
    return store


def test_a_cluster_with_keys_is_left_alone(serve, directory):
    source, target = filled(keys=50), Store(5)
    run("backup", directory / "b.holon", "--node", serve(source))
    target.set(3, b"mine", b"x")
    target.set(2, b"many fields", {b"stale": b"field"})
    node = serve(target)
    text = run("restore", directory / "b.holon", "--node", node, ok=False)
    assert "database 2" in text and "--overwrite" in text and target.writes == 0
    text = run("restore", directory / "b.holon", "--node", node, "--overwrite")
    content = target.content()
    assert content.pop((3, b"mine")) == (b"x", 0)
    assert content == source.content()
    assert "others were there" in text


def test_damage_is_found_and_named(serve, directory):
    source, target = filled(partitions=2, keys=40), Store(1)
    run("backup", f"{directory}/b/", "--node", serve(source))
    rng, node = random.Random(9), serve(target)
    files = sorted((directory / "b").iterdir())
    for _ in range(60):
        file = rng.choice(files)
        whole = file.read_bytes()
        at = rng.choice((rng.randrange(len(whole)), rng.randrange(200), len(whole) - 1 - rng.randrange(40)))
        at = max(0, min(at, len(whole) - 1))
        how = rng.randrange(4)
        broken = {0: whole[:at] + bytes([whole[at] ^ 1 << rng.randrange(8)]) + whole[at + 1:], 1: whole[:at],
                  2: whole + b"x", 3: b""}[how]
        file.write_bytes(broken)
        text = run("backup", "verify", directory / "b", ok=False)
        assert file.name in text or "manifest" in text, text
        if file.name == "manifest.holon" or how:
            run("restore", directory / "b", "--node", node, ok=False)
            assert target.writes == 0
        file.write_bytes(whole)
    run("backup", "verify", directory / "b")
    os.rename(files[1], directory / "away")
    shutil.copy(files[2], files[1])  # a right file at a wrong place
    run("backup", "verify", directory / "b", ok=False)


def test_parts_of_different_backups_do_not_mix(serve, directory):
    source = filled(partitions=2, keys=40)
    node = serve(source)
    run("backup", f"{directory}/one/", "--node", node)
    run("backup", f"{directory}/two/", "--node", node)
    first, second = (directory / name / "part-00000.holon" for name in ("one", "two"))
    assert first.stat().st_size == second.stat().st_size
    shutil.copy(first, second)
    assert "another backup" in run("backup", "verify", directory / "two", ok=False)


def test_what_is_no_backup_is_said_to_be_none(serve, directory):
    (directory / "text.txt").write_text("nothing " * 100)
    (directory / "empty").mkdir()
    (directory / "other").mkdir()
    (directory / "other/file").write_text("x")
    node = serve(Store())
    assert "no backup" in run("restore", directory / "text.txt", "--node", node, ok=False)
    assert "holds no backup" in run("restore", directory / "empty", "--node", node, ok=False)
    assert "No such file" in run("backup", "verify", directory / "nothing", ok=False)
    assert "overwrites nothing" in run("backup", directory / "text.txt", "--node", node, ok=False)
    assert "not empty" in run("backup", directory / "other", "--node", node, ok=False)
    run("backup", directory / "empty", "--node", node)
    assert "whole backup already" in run("backup", directory / "empty", "--node", node, ok=False)


def test_a_cluster_that_cannot_is_told_from_one_that_is_not_there(serve, directory):
    began = time.monotonic()
    assert "nobody answers" in run("backup", directory / "b.holon", "--node", "127.0.0.1:1", ok=False)
    assert time.monotonic() - began < 10 and not os.listdir(directory)
    old = Store()
    old.old = True
    assert "unknown command" in run("backup", directory / "b.holon", "--node", serve(old), ok=False)
    source, target = filled(keys=5), Store()
    run("backup", directory / "c.holon", "--node", serve(source))
    target.old = True  # knows no locks: and there are none
    assert "has no locks" in run("restore", directory / "c.holon", "--node", serve(target))
    assert target.content() == source.content()
    source.locks[0, b"lock"] = 5
    run("backup", directory / "d.holon", "--node", serve(source))
    again = Store()
    again.old = True
    assert "fencing tokens" in run("restore", directory / "d.holon", "--node", serve(again), ok=False)
    assert again.writes == 0
