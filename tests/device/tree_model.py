"""What the random models of a disk share: running ploop with a history for the report of a failure, the tree of nodes as ploop shows it, and the
operations on that tree. A model adds what a node's content is and how it is changed and compared."""
import copy
import os
import random
import subprocess
import sys
import uuid

TOP = "{5fbaabe3-6958-40ff-92a7-860e329aab41}"


class TreeModel:
    """`content` has one entry per node; the one of TOP is the current state."""

    operations = []  # names of methods; one that stands there twice happens twice as often
    most_nodes = 8
    few_nodes = 4

    def __init__(self, ploop, directory, seed):
        self.program = ploop
        self.xml = os.path.join(directory, "DiskDescriptor.xml")
        self.seed = seed
        self.dice = random.Random(seed)
        self.history = []
        self.counts = {}
        self.device = None
        self.content = {}

    # --- the program

    def give_up(self, text):
        print("\n".join(self.history[-25:]))
        print(f"FAILED (seed {self.seed}): {text}")
        for args in (("-c", "look", self.xml), (self.xml,)):
            subprocess.run([self.program, "umount", *args], capture_output=True, check=False)
        sys.exit(1)

    def ploop(self, *args, expect=(0,)):
        result = subprocess.run([self.program, *args], capture_output=True, text=True, check=False, timeout=180)
        self.history.append(f"{result.returncode}: {' '.join(args)}")
        if result.returncode not in expect:
            self.give_up(f"ploop {' '.join(args)} gave {result.returncode}: {result.stdout}{result.stderr}")
        return result

    # --- the disk; start() is the model's

    def stop(self):
        if self.device is not None:
            self.ploop("umount", self.xml)
            self.device = None

    def restart(self):
        self.stop()
        self.start()

    def perhaps_stop(self):
        if self.dice.random() < 0.5:
            self.stop()

    # --- the tree, as ploop shows it

    def nodes(self):
        rows = self.ploop("snapshot-list", "-H", "-o", "uuid,parent_uuid", self.xml).stdout.splitlines()
        return {row.split()[0]: row.split()[1] for row in rows}

    def settle(self):
        """Forgets the nodes that are gone; no other may have come or gone."""
        there = set(self.nodes())
        for node in list(self.content):
            if node not in there:
                del self.content[node]
        if there != set(self.content):
            self.give_up(f"nodes {there} instead of {set(self.content)}")

    def any_snapshot(self):
        return self.dice.choice([node for node in self.content if node != TOP] or [TOP])

    # --- operations; each may be refused

    def snapshot(self):
        self.perhaps_stop()
        name = "{" + str(uuid.UUID(int=self.dice.getrandbits(128), version=4)) + "}"
        self.ploop("snapshot", "-u", name, self.xml)
        self.content[name] = copy.copy(self.content[TOP])

    def delete(self):
        self.perhaps_stop()
        self.ploop("snapshot-delete", "-u", self.any_snapshot(), self.xml, expect=(0, 38))

    def merge(self):
        self.perhaps_stop()
        one, other = self.any_snapshot(), self.any_snapshot()
        how = self.dice.choice([[], ["-u", one], ["-u", one, "-U", other], ["-A"]])
        self.ploop("snapshot-merge", *how, self.xml, expect=(0, 38))

    def roll_back(self):
        self.stop()
        parent = self.nodes()[TOP]
        if self.ploop("snapshot-delete", "-u", TOP, self.xml, expect=(0, 38)).returncode == 0:
            self.content[TOP] = copy.copy(self.content[parent])

    def switch(self):
        self.stop()
        target = self.any_snapshot()
        if self.ploop("snapshot-switch", "-u", target, self.xml, expect=(0, 38)).returncode == 0:
            self.content[TOP] = copy.copy(self.content[target])

    def shorten(self):
        """A short tree again, from time to time."""
        if len(self.content) <= self.most_nodes:
            return
        self.stop()
        while len(self.content) > self.few_nodes:
            self.ploop("snapshot-delete", "-u", self.any_snapshot(), self.xml, expect=(0, 38))
            self.settle()

    # --- running; check_current(), verify() and size_text() are the model's

    def step(self):
        name = self.dice.choice(self.operations)
        getattr(self, name)()
        self.counts[name] = self.counts.get(name, 0) + 1
        self.settle()
        if self.device is not None:
            self.check_current()

    def run(self, sequences, steps):
        print(f"seed {self.seed}", flush=True)
        for sequence in range(sequences):
            for _ in range(steps):
                self.step()
            self.verify()
            print(f"   sequence {sequence + 1}: {len(self.content)} nodes, {self.size_text()}", flush=True)
            self.shorten()
        self.stop()
        print("   " + ", ".join(f"{name} {count}" for name, count in sorted(self.counts.items())))
