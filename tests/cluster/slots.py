"""slots.py - where a key lives: its slot (CRC16 of XMODEM, as Redis Cluster has it) and the partition of that
slot, so that a test can choose keys that surely lie in different partitions, or surely in one."""
SLOTS = 16384
PARTITIONS = 256  # the default of --partitions


def crc16(data: bytes) -> int:
    crc = 0
    for byte in data:
        crc ^= byte << 8
        for _ in range(8):
            crc = (crc << 1) ^ 0x1021 if crc & 0x8000 else crc << 1
        crc &= 0xFFFF
    return crc


def slot_of(key: str) -> int:
    first = key.find("{")
    last = key.find("}", first + 1) if first >= 0 else -1
    hashed = key[first + 1:last] if last > first + 1 else key
    return crc16(hashed.encode()) % SLOTS


def partition_of(key: str, partitions: int = PARTITIONS) -> int:
    """Ranges of slots of equal size; the number of the range."""
    return slot_of(key) * partitions // SLOTS


def key_in(partition: int, partitions: int, prefix: str) -> str:
    """The first key of that prefix and a number that lies there."""
    return next(key for key in (f"{prefix}{n}" for n in range(1_000_000))
                if partition_of(key, partitions) == partition)


def keys_over(count: int, partitions: int, prefix: str) -> list:
    """So many keys, each in another partition as long as there are partitions, spread over all of them."""
    keys = []
    for number in range(count):
        partition = number * max(1, partitions // count) % partitions
        keys.append(key_in(partition, partitions, f"{prefix}{number}."))
    return keys
