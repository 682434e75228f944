#!/usr/bin/env python3
"""Random sequences of snapshot, delete, switch, merge, grow and discard on one device, against a model that knows what every node
must contain.

  snapshot_model.py PLOOP DIRECTORY SEQUENCES STEPS SEED

Expects DIRECTORY/DiskDescriptor.xml of a disk without a partition table, not attached. The model keeps one byte string per node.
After each sequence every node is attached read-only and compared in full; the current state after every step.
"""
import os
import re
import subprocess
import sys

from tree_model import TOP, TreeModel

CLUSTER = 1 << 20


class Model(TreeModel):
    operations = ["write", "write", "write", "discard", "snapshot", "snapshot", "delete", "merge", "switch", "roll_back", "grow",
                  "restart"]

    def __init__(self, ploop, directory, seed):
        super().__init__(ploop, directory, seed)
        self.start()
        with open(self.device, "rb") as device:
            self.content[TOP] = bytearray(device.seek(0, 2))

    def attach(self, *options):
        out = self.ploop("mount", *options, self.xml).stdout
        return re.search(r"Adding delta dev=(\S+) ", out).group(1)

    def start(self):
        if self.device is None:
            self.device = self.attach()

    def size_text(self):
        return f"{len(self.content[TOP]) >> 20} MiB"

    def write(self):
        self.start()
        image = self.content[TOP]
        with open(self.device, "r+b", buffering=0) as device:
            for _ in range(self.dice.randint(1, 12)):
                offset = self.dice.randrange(0, len(image) // 4096) * 4096
                length = min(self.dice.choice([4096, 12288, CLUSTER, 3 * CLUSTER]), len(image) - offset)
                data = self.dice.randbytes(64) * (length // 64) if self.dice.random() < 0.85 else bytes(length)
                device.seek(offset)
                device.write(data)
                image[offset:offset + length] = data
            os.fsync(device.fileno())

    def discard(self):
        self.start()
        image = self.content[TOP]
        offset = self.dice.randrange(0, len(image) // CLUSTER) * CLUSTER
        length = min(self.dice.randint(1, 4) * CLUSTER, len(image) - offset)
        subprocess.run(["blkdiscard", "-z", "-o", str(offset), "-l", str(length), self.device], check=True)
        image[offset:offset + length] = bytes(length)

    def grow(self):
        if len(self.content[TOP]) >= 96 * CLUSTER:
            return
        self.perhaps_stop()
        size = len(self.content[TOP]) + self.dice.randint(1, 6) * CLUSTER
        # 3: this kernel's ublk can't while the device runs.
        if self.ploop("grow", "-s", str(size // 512), self.xml, expect=(0, 3)).returncode == 3:
            self.stop()
            self.ploop("grow", "-s", str(size // 512), self.xml)
        self.content[TOP].extend(bytes(size - len(self.content[TOP])))

    def compare(self, device, node):
        want = self.content[node]
        fd = os.open(device, os.O_RDONLY)
        try:
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            at = 0
            while at < len(want):
                piece = os.pread(fd, CLUSTER, at)
                if not piece or piece != want[at:at + len(piece)]:
                    self.give_up(f"{node} differs in the MiB at {at}")
                at += len(piece)
            if os.pread(fd, 1, at):
                self.give_up(f"{node} is larger than {len(want)} bytes")
        finally:
            os.close(fd)

    def check_current(self):
        self.compare(self.device, TOP)

    def verify(self):
        self.start()
        self.check_current()
        for node in self.content:
            if node != TOP:
                look = self.attach("-r", "-u", node, "-c", "look")
                self.compare(look, node)
                self.ploop("umount", "-c", "look", self.xml)


Model(sys.argv[1], sys.argv[2], int(sys.argv[5])).run(int(sys.argv[3]), int(sys.argv[4]))
