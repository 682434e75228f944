#!/usr/bin/env python3
"""Random sequences of snapshot, delete, switch, merge, grow and discard on one device, against a model that knows what every node
must contain.

  snapshot_model.py PLOOP DIRECTORY SEQUENCES STEPS SEED

Expects DIRECTORY/DiskDescriptor.xml of a disk without a partition table, not attached. The model keeps one byte string per node.
After each sequence every node is attached read-only and compared in full; the current state after every step.
"""
import os
import random
import re
import subprocess
import sys
import uuid

PLOOP, DIRECTORY, SEQUENCES, STEPS, SEED = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5])
XML = os.path.join(DIRECTORY, "DiskDescriptor.xml")
TOP = "{5fbaabe3-6958-40ff-92a7-860e329aab41}"
CLUSTER = 1 << 20
dice = random.Random(SEED)
history = []
counts = {}


def give_up(text):
    print("\n".join(history[-25:]))
    print(f"FAILED (seed {SEED}): {text}")
    subprocess.run([PLOOP, "umount", XML], capture_output=True, check=False)
    sys.exit(1)


def ploop(*args, expect=(0,)):
    result = subprocess.run([PLOOP, *args], capture_output=True, text=True, check=False, timeout=120)
    history.append(f"{result.returncode}: {' '.join(args)}")
    if result.returncode not in expect:
        give_up(f"ploop {' '.join(args)} gave {result.returncode}: {result.stdout}{result.stderr}")
    return result


class Model:
    def __init__(self):
        self.device = None
        self.content = {TOP: bytearray()}

    # --- the device

    def attach(self, *options):
        out = ploop("mount", *options, XML).stdout
        return re.search(r"Adding delta dev=(\S+) ", out).group(1)

    def start(self):
        if self.device is None:
            self.device = self.attach()

    def stop(self):
        if self.device is not None:
            ploop("umount", XML)
            self.device = None

    def size(self):
        with open(self.device, "rb") as device:
            return device.seek(0, 2)

    def write(self):
        self.start()
        image = self.content[TOP]
        with open(self.device, "r+b", buffering=0) as device:
            for _ in range(dice.randint(1, 12)):
                offset = dice.randrange(0, len(image) // 4096) * 4096
                length = min(dice.choice([4096, 12288, CLUSTER, 3 * CLUSTER]), len(image) - offset)
                data = dice.randbytes(64) * (length // 64) if dice.random() < 0.85 else bytes(length)
                device.seek(offset)
                device.write(data)
                image[offset:offset + length] = data
            os.fsync(device.fileno())

    def discard(self):
        self.start()
        image = self.content[TOP]
        offset = dice.randrange(0, len(image) // CLUSTER) * CLUSTER
        length = min(dice.randint(1, 4) * CLUSTER, len(image) - offset)
        subprocess.run(["blkdiscard", "-z", "-o", str(offset), "-l", str(length), self.device], check=True)
        image[offset:offset + length] = bytes(length)

    def compare(self, device, node):
        want = self.content[node]
        fd = os.open(device, os.O_RDONLY)
        try:
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            at = 0
            while at < len(want):
                piece = os.pread(fd, CLUSTER, at)
                if not piece or piece != want[at:at + len(piece)]:
                    give_up(f"{node} differs in the MiB at {at}")
                at += len(piece)
            if os.pread(fd, 1, at):
                give_up(f"{node} is larger than {len(want)} bytes")
        finally:
            os.close(fd)

    # --- the tree, as ploop shows it

    def nodes(self):
        rows = ploop("snapshot-list", "-H", "-o", "uuid,parent_uuid", XML).stdout.splitlines()
        return {row.split()[0]: row.split()[1] for row in rows}

    def settle(self):
        there = set(self.nodes())
        for node in list(self.content):
            if node not in there:
                del self.content[node]
        if there != set(self.content):
            give_up(f"nodes {there} instead of {set(self.content)}")

    # --- operations; each may be refused

    def snapshot(self):
        name = "{" + str(uuid.UUID(int=dice.getrandbits(128), version=4)) + "}"
        ploop("snapshot", "-u", name, XML)
        self.content[name] = bytearray(self.content[TOP])

    def any_snapshot(self):
        return dice.choice([node for node in self.content if node != TOP] or [TOP])

    def delete(self):
        ploop("snapshot-delete", "-u", self.any_snapshot(), XML, expect=(0, 38))

    def roll_back(self):
        self.stop()
        parent = self.nodes()[TOP]
        if ploop("snapshot-delete", "-u", TOP, XML, expect=(0, 38)).returncode == 0:
            self.content[TOP] = bytearray(self.content[parent])

    def switch(self):
        self.stop()
        target = self.any_snapshot()
        if ploop("snapshot-switch", "-u", target, XML, expect=(0, 38)).returncode == 0:
            self.content[TOP] = bytearray(self.content[target])

    def merge(self):
        how = dice.choice([[], ["-u", self.any_snapshot()], ["-u", self.any_snapshot(), "-U", self.any_snapshot()], ["-A"]])
        ploop("snapshot-merge", *how, XML, expect=(0, 38))

    def grow(self):
        if len(self.content[TOP]) >= 96 * CLUSTER:
            return
        self.stop()
        size = len(self.content[TOP]) + dice.randint(1, 6) * CLUSTER
        ploop("grow", "-s", str(size // 512), XML)
        self.content[TOP].extend(bytes(size - len(self.content[TOP])))

    def restart(self):
        self.stop()
        self.start()

    def step(self):
        operations = [self.write, self.write, self.write, self.discard, self.snapshot, self.snapshot, self.delete, self.merge,
                      self.switch, self.roll_back, self.grow, self.restart]
        operation = dice.choice(operations)
        operation()
        counts[operation.__name__] = counts.get(operation.__name__, 0) + 1
        self.settle()

    def verify(self):
        self.start()
        self.compare(self.device, TOP)
        for node in self.content:
            if node != TOP:
                look = self.attach("-r", "-u", node, "-c", "look")
                self.compare(look, node)
                ploop("umount", "-c", "look", XML)


def main():
    print(f"seed {SEED}", flush=True)
    model = Model()
    model.start()
    model.content[TOP] = bytearray(model.size())
    for sequence in range(SEQUENCES):
        for _ in range(STEPS):
            model.step()
            if model.device is not None:
                model.compare(model.device, TOP)
        model.verify()
        print(f"   sequence {sequence + 1}: {len(model.content)} nodes, {len(model.content[TOP]) >> 20} MiB", flush=True)
        # From time to time a short tree again.
        if len(model.content) > 8:
            model.stop()
            while len(model.content) > 4:
                ploop("snapshot-delete", "-u", model.any_snapshot(), XML, expect=(0, 38))
                model.settle()
    model.stop()
    print("   " + ", ".join(f"{name} {count}" for name, count in sorted(counts.items())))


main()
