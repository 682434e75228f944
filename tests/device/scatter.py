#!/usr/bin/env python3
"""Does the same random writes, zeroings and discards to a device and to a plain file: scatter.py DEVICE FILE SEED COUNT

The device gets them in the ways a file system uses (direct and buffered writes, discard, write-zeroes, flushes), the file as
plain writes. A discard has to read as zeros, as our devices promise.
"""
import fcntl
import mmap
import os
import random
import struct
import sys

BLKDISCARD, BLKZEROOUT = 0x1277, 0x127F
device_path, file_path, seed, count = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
rng = random.Random(seed)
buffered = os.open(device_path, os.O_RDWR)
direct = os.open(device_path, os.O_RDWR | os.O_DIRECT)
oracle = os.open(file_path, os.O_RDWR)
size = os.lseek(buffered, 0, os.SEEK_END)
assert size == os.lseek(oracle, 0, os.SEEK_END), "device and file differ in size"
page = mmap.mmap(-1, 4 << 20)


def length():
    """Mostly small, sometimes larger than a cluster."""
    return 512 * (rng.randint(1, 64) if rng.random() < 0.8 else rng.randint(1, 4096))


for step in range(count):
    n = length()
    at = 512 * rng.randint(0, (size - n) // 512)
    if rng.random() < 0.2:  # whole clusters, too
        n, at = 1 << 20, at >> 20 << 20
    kind = rng.random()
    if kind < 0.75:
        data = rng.randbytes(n)
        if kind < 0.5:
            page[:n] = data
            with memoryview(page) as view:
                assert os.pwrite(direct, view[:n], at) == n
        else:
            assert os.pwrite(buffered, data, at) == n
            os.fsync(buffered)
    else:
        data = bytes(n)
        fcntl.ioctl(buffered, BLKDISCARD if kind < 0.88 else BLKZEROOUT, struct.pack("QQ", at, n))
    os.pwrite(oracle, data, at)
    if rng.random() < 0.05:
        os.fsync(direct)
os.fsync(direct)
