#!/usr/bin/env python3
"""How long a snapshot of a running disk makes its writers wait, for disks of different sizes.

  snapshot_bench.py --ploop build/release/bin/ploop [--sizes 1G 64G 1T] [--snapshots 5] [--where /var/tmp]

A writer sends 4 KiB direct writes one after the other, all over the first GiB, and notes the longest each snapshot caused. The disk has no
file system, so that freezing one is not part of it.
"""
import argparse
import contextlib
import mmap
import os
import random
import statistics
import threading
import time

from device_bench import Area, run

BLOCK = 4096
RANGE = 1 << 30


class Writer:
    """Writes until it is stopped; knows the longest write since it was asked last."""

    def __init__(self, device):
        self.fd = os.open(device, os.O_WRONLY | os.O_DIRECT)
        self.block = mmap.mmap(-1, BLOCK)
        self.longest, self.writes, self.stopped = 0.0, 0, False
        self.thread = threading.Thread(target=self.work)
        self.thread.start()

    def work(self):
        pick = random.Random(1)
        while not self.stopped:
            start = time.monotonic()
            os.pwrite(self.fd, self.block, pick.randrange(RANGE // BLOCK) * BLOCK)
            self.longest = max(self.longest, time.monotonic() - start)
            self.writes += 1

    def take_longest(self):
        longest, self.longest = self.longest, 0.0
        return longest * 1000

    def stop(self):
        self.stopped = True
        self.thread.join()
        os.close(self.fd)


def measure(area, size, snapshots):
    disk = area.path / f"disk-{size}"
    disk.mkdir()
    run(area.ploop, "init", "-s", size, "-t", "none", disk / "root.hdd", env=area.environment)
    descriptor = disk / "DiskDescriptor.xml"
    said = run(area.ploop, "mount", descriptor, env=area.environment)
    device = said.split("dev=")[1].split()[0]
    writer = Writer(device)
    quiet, pauses, commands = [], [], []
    try:
        time.sleep(2)
        for _ in range(snapshots):
            writer.take_longest()
            time.sleep(1)
            quiet.append(writer.take_longest())
            start = time.monotonic()
            run(area.ploop, "snapshot", descriptor, env=area.environment)
            commands.append((time.monotonic() - start) * 1000)
            time.sleep(0.05)
            pauses.append(writer.take_longest())
    finally:
        writer.stop()
        run(area.ploop, "umount", descriptor, env=area.environment)
    return quiet, pauses, commands


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ploop", required=True)
    parser.add_argument("--sizes", nargs="+", default=["1G", "64G", "1T"])
    parser.add_argument("--snapshots", type=int, default=5)
    parser.add_argument("--where", default="/var/tmp")
    options = parser.parse_args()
    with contextlib.ExitStack() as undo:
        area = Area(os.path.abspath(options.ploop), options.where, undo)
        print("| disk | longest write in a second without a snapshot, ms | with one: median, worst, ms | the command, median, ms |")
        print("|---|---|---|---|")
        for size in options.sizes:
            quiet, pauses, commands = measure(area, size, options.snapshots)
            print(f"| {size} | {statistics.median(quiet):.1f} | {statistics.median(pauses):.1f}, {max(pauses):.1f} | "
                  f"{statistics.median(commands):.0f} |", flush=True)


if __name__ == "__main__":
    main()
