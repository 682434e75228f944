#!/usr/bin/env python3
"""Random sequences of everything that can be done to a disk with a file system, mounted and not, against a model that knows which
files with which content every snapshot must hold.

  disk_model.py PLOOP DIRECTORY TYPE SEQUENCES STEPS SEED

Expects DIRECTORY/DiskDescriptor.xml with a file system of TYPE (ext4 or xfs), not attached. After each sequence every snapshot is
mounted read-only and compared file by file; the current state after every step.
"""
import hashlib
import os
import re
import sys

from tree_model import TOP, TreeModel

MIB = 1 << 20
LARGEST, SMALLEST = 900, 256  # MiB


def files_in(directory):
    """Name -> hash of content, of everything the model writes."""
    found = {}
    for entry in os.scandir(directory):
        if entry.name.startswith("f"):
            with open(entry.path, "rb") as file:
                found[entry.name] = hashlib.sha256(file.read()).hexdigest()
    return found


class Model(TreeModel):
    operations = ["write", "write", "write", "remove", "snapshot", "snapshot", "delete", "merge", "switch", "roll_back", "grow", "shrink",
                  "discard", "copy", "restart"]

    def __init__(self, ploop, directory, fs_type, seed):
        super().__init__(ploop, directory, seed)
        self.fs_type = fs_type
        self.directory = directory
        self.mount_point, self.look = os.path.join(directory, "mnt"), os.path.join(directory, "look")
        os.makedirs(self.mount_point, exist_ok=True)
        os.makedirs(self.look, exist_ok=True)
        self.size = int(re.search(r"size:\s*(\d+)", self.ploop("info", "-s", self.xml).stdout).group(1)) // 2048
        self.content[TOP] = {}

    def start(self):
        if self.device is None:
            out = self.ploop("mount", "-m", self.mount_point, self.xml).stdout
            self.device = re.search(r"Adding delta dev=(\S+) ", out).group(1)

    def size_text(self):
        return f"{self.size} MiB"

    def room(self):
        facts = os.statvfs(self.mount_point)
        return facts.f_bavail * facts.f_frsize - 12 * MIB

    def write(self):
        self.start()
        files = self.content[TOP]
        for _ in range(self.dice.randint(1, 8)):
            name = f"f{self.dice.randrange(40)}"
            length = self.dice.choice([100, 5000, 300000, MIB, 3 * MIB])
            if length > self.room():
                continue
            data = self.dice.randbytes(64) * (length // 64 + 1)
            with open(os.path.join(self.mount_point, name), "wb") as file:
                file.write(data)
                if self.dice.random() < 0.3:
                    os.fsync(file.fileno())
            files[name] = hashlib.sha256(data).hexdigest()

    def remove(self):
        self.start()
        files = self.content[TOP]
        for name in self.dice.sample(sorted(files), len(files) // 2):
            os.unlink(os.path.join(self.mount_point, name))
            del files[name]

    def grow(self):
        if self.size >= LARGEST:
            return
        # Growing a mounted ext4 needs a capability that test machines often withhold.
        if self.fs_type == "ext4" or self.dice.random() < 0.3:
            self.stop()
        self.size += self.dice.randint(8, 40)
        # 3: this kernel's ublk can't while the device runs.
        if self.ploop("resize", "-s", f"{self.size}M", self.xml, expect=(0, 3)).returncode == 3:
            self.stop()
            self.ploop("resize", "-s", f"{self.size}M", self.xml)

    def shrink(self):
        """Refused with 38 where there are snapshots, with 25 or 26 where more is in use than would fit."""
        size = self.size - self.dice.randint(4, 30)
        if self.fs_type != "ext4" or size < SMALLEST:
            return
        self.stop()
        if self.ploop("resize", "-s", f"{size}M", self.xml, expect=(0, 25, 26, 38)).returncode == 0:
            self.size = size

    def discard(self):
        self.start()
        self.ploop("balloon", "discard", "--automount", self.xml)

    def copy(self):
        """The running top, copied; over the same lower images it is the same disk."""
        self.start()
        name = os.path.join(self.directory, "copy")
        self.ploop("copy", "-s", self.device, "-d", name)
        # A frozen xfs keeps its log marked for a replay, which has nothing to do but needs a writable device.
        options = ["-o", "norecovery"] if self.fs_type == "xfs" else []
        out = self.ploop("mount", "-r", *options, "-m", self.look, *self.lower_images(), name).stdout
        self.compare(self.look, TOP)
        self.ploop("umount", "-d", re.search(r"Adding delta dev=(\S+) ", out).group(1))
        os.unlink(name)

    def lower_images(self):
        """Files of the levels below the current state, base first."""
        rows = self.ploop("snapshot-list", "-H", "-o", "uuid,parent_uuid,fname", "-u", TOP, self.xml).stdout.splitlines()
        nodes = {node: (parent, file) for node, parent, file in (row.split() for row in rows)}
        images = []
        at = nodes[TOP][0]
        while at in nodes:
            images.insert(0, nodes[at][1])
            at = nodes[at][0]
        return images

    def compare(self, directory, node):
        found = files_in(directory)
        if found != self.content[node]:
            wrong = sorted(name for name in found.keys() | self.content[node].keys()
                           if found.get(name) != self.content[node].get(name))
            self.give_up(f"{node} differs in {wrong}")

    def check_current(self):
        self.compare(self.mount_point, TOP)

    def verify(self):
        for node in self.content:
            if node != TOP:
                self.ploop("mount", "-r", "-u", node, "-c", "look", "-m", self.look, self.xml)
                self.compare(self.look, node)
                self.ploop("umount", "-c", "look", self.xml)


Model(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[6])).run(int(sys.argv[4]), int(sys.argv[5]))
