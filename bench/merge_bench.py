#!/usr/bin/env python3
"""How long `ploop merge` takes, beside `cp` of the same bytes.

For each host file system: a base without data and an upper image with every cluster of the disk, in order and shuffled. XFS and btrfs
share blocks, so the merge copies nothing; on ext4 it copies as `cp` does. Both are followed by a sync of the file, both start with the
upper image in the page cache (warm) or not (cold), and take turns. The merged image is checked and compared with the source.
"""
import argparse
import contextlib
import os
import pathlib
import random
import statistics
import struct
import subprocess
import sys
import tempfile
import time

MIB = 1 << 20
CLUSTER = MIB
SECTORS = CLUSTER // 512


def run(*argv):
    """A command that has to succeed; its seconds."""
    start = time.monotonic()
    done = subprocess.run([str(a) for a in argv], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"bench: {' '.join(map(str, argv))} gave {done.returncode}:\n{done.stdout}{done.stderr}")
    return time.monotonic() - start


def file_system_type(path):
    found = subprocess.run(["stat", "-f", "-c", "%T", path], capture_output=True, text=True, check=True).stdout.strip()
    return {"ext2/ext3": "ext4"}.get(found, found)


@contextlib.contextmanager
def host(kind, directory, mib):
    """A file system of its own on a loop device over a file beside us; for ext4 the one beside us, if it is ext4: copying measures the
    disk, and the first to use the blocks of a new file would pay for them."""
    if kind == file_system_type(directory):
        folder = directory / kind
        folder.mkdir()
        yield folder
        return
    image, mount = directory / f"host.{kind}", directory / kind
    with open(image, "wb") as file:
        file.truncate(mib * MIB)
    run(f"mkfs.{kind}", "-q", image)
    mount.mkdir()
    run("mount", "-o", "loop", image, mount)
    try:
        yield mount
    finally:
        run("umount", mount)
        image.unlink()


def write_image(path, clusters, slots):
    """A ploop1 image of version 2; each data cluster begins with the number of its guest cluster."""
    header = b"WithouFreSpacExt" + struct.pack("<IIIIIQIIIQ", 2, 16, clusters * SECTORS // 1008, SECTORS, clusters,
                                               clusters * SECTORS, 0, SECTORS, 0 if any(slots) else 1, 0)
    content = os.urandom(CLUSTER)
    guest_of = {slot: guest for guest, slot in enumerate(slots) if slot}
    with open(path, "wb") as file:
        file.write(header + struct.pack(f"<{clusters}I", *slots))
        file.truncate(CLUSTER)
        file.seek(CLUSTER)
        for slot in sorted(guest_of):
            file.write(struct.pack("<Q", guest_of[slot]) + content[8:])
        file.flush()
        os.fsync(file.fileno())


def verify(ploop, base, clusters):
    """Every guest cluster of the merged image is the right one."""
    run(ploop, "check", "-f", "-c", "-r", base)
    with open(base, "rb") as file:
        slots = struct.unpack(f"<{clusters}I", file.read(64 + 4 * clusters)[64:])
        for guest, slot in enumerate(slots):
            file.seek(slot * CLUSTER)
            if struct.unpack("<Q", file.read(8))[0] != guest:
                sys.exit(f"bench: guest cluster {guest} of the merged image is another one")


def drop_caches():
    os.sync()
    pathlib.Path("/proc/sys/vm/drop_caches").write_text("3")


def measure(ploop, folder, clusters, order, cold, repetitions):
    """Median seconds of the merge and of cp."""
    slots = list(range(1, clusters + 1))
    if order == "shuffled":
        random.Random(1).shuffle(slots)
    upper, base, copy = folder / "upper", folder / "base", folder / "copy"
    write_image(upper, clusters, slots)
    merges, copies = [], []
    for _ in range(repetitions):
        write_image(base, clusters, [0] * clusters)
        drop_caches() if cold else run("dd", f"if={upper}", "of=/dev/null", "bs=1M")
        merges.append(run(ploop, "merge", upper, base))
        verify(ploop, base, clusters)
        base.unlink()
        drop_caches() if cold else run("dd", f"if={upper}", "of=/dev/null", "bs=1M")
        copies.append(run("cp", "--reflink=never", upper, copy) + run("sync", copy))
        copy.unlink()
    upper.unlink()
    return statistics.median(merges), statistics.median(copies)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ploop", required=True, type=pathlib.Path)
    parser.add_argument("--gib", type=int, default=4, help="changed data (default 4)")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--orders", nargs="+", default=["in order", "shuffled"])
    parser.add_argument("--hosts", nargs="+", default=["xfs", "btrfs", "ext4"])
    arguments = parser.parse_args()
    if os.geteuid() != 0:
        print("bench: needs root", file=sys.stderr)
        sys.exit(77)
    clusters = arguments.gib * MIB * 1024 // CLUSTER
    print("| host file system | order in the file | page cache | merge, s | `cp` and `sync`, s | ratio |\n|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory(prefix="ploop-bench.") as name:
        for kind in arguments.hosts:
            with host(kind, pathlib.Path(name), arguments.gib * 1024 * 3 + 2048) as folder:
                for order in arguments.orders:
                    for cold in (False, True):
                        merge, copy = measure(arguments.ploop.resolve(), folder, clusters, order, cold, arguments.repetitions)
                        print(f"| {kind} | {order} | {'cold' if cold else 'warm'} | {merge:.2f} | {copy:.2f} | "
                              f"{copy / merge:.2f} |", flush=True)


if __name__ == "__main__":
    main()
