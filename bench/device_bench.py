#!/usr/bin/env python3
"""Device benchmark: our device, the kernel's loop device and qemu-storage-daemon side by side.

Only ratios within one run mean anything: machines, neighbours and hours differ by factors of two. So all targets exist at
the same time, every cell is measured several times, and the targets take turns inside each repetition. A cell is the median.

 1. data path: fully written images of 1 GiB on tmpfs and on disk; 4k random and 1M sequential, direct I/O
      loop    losetup --direct-io over a raw file
      ploop   our device, one ploop1 image with 1 MiB clusters
      qcow2   qemu-storage-daemon, FUSE export, losetup --direct-io over that
 2. allocating writes: 4k every 64k into an empty image, depth 32, against `qemu-img bench` on an empty qcow2
 3. chain depth: reads of the same bytes from one image and from a stack of 100
"""
import argparse
import contextlib
import json
import os
import pathlib
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
import time

import report

MIB = 1 << 20
SIZE_MIB = 1024
WORKLOADS = {  # name: (fio rw, block size, depth, unit)
    "randread 4k qd1": ("randread", "4k", 1, "iops"),
    "randread 4k qd32": ("randread", "4k", 32, "iops"),
    "randwrite 4k qd1": ("randwrite", "4k", 1, "iops"),
    "randwrite 4k qd32": ("randwrite", "4k", 32, "iops"),
    "read 1M qd4": ("read", "1M", 4, "MB/s"),
    "write 1M qd4": ("write", "1M", 4, "MB/s"),
}


def run(*argv, **more):
    """Runs a command that has to succeed; its output."""
    done = subprocess.run([str(a) for a in argv], capture_output=True, text=True, **more)
    if done.returncode != 0:
        sys.exit(f"bench: {' '.join(map(str, argv))} gave {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


def fio(path, rw, block, depth, seconds=None, size=None, extra=()):
    """One fio job; (operations per second, bytes per second). fio honours whole seconds only."""
    argv = ["fio", "--output-format=json", "--name=cell", f"--filename={path}", f"--rw={rw}", f"--bs={block}",
            f"--iodepth={depth}", "--ioengine=io_uring", "--direct=1", "--norandommap", "--randrepeat=0", *extra]
    argv += [f"--runtime={int(seconds)}", "--time_based"] if seconds else []
    argv += [f"--size={size}"] if size else []
    job = json.loads(run(*argv))["jobs"][0]
    side = job["read" if "read" in rw else "write"]
    return side["iops"], side["bw_bytes"]


def value_of(result, unit):
    return result[0] if unit == "iops" else result[1] / 1e6


class Area:
    """A directory for images, the ploop program with its own runtime and node directories, everything undone at the end."""

    def __init__(self, ploop, where, undo):
        self.ploop, self.undo = ploop, undo
        self.path = pathlib.Path(tempfile.mkdtemp(prefix="ploop-bench.", dir=where))
        undo.callback(lambda: run("rm", "-rf", "--one-file-system", self.path))
        memory = self.path / "mem"
        memory.mkdir()
        run("mount", "-t", "tmpfs", "-o", "size=100%,mode=700", "ploop-bench", memory)
        undo.callback(lambda: run("umount", "-l", memory))
        self.memory = memory
        (memory / "dev").mkdir()
        self.environment = dict(os.environ, PLOOP_RUNDIR=str(memory / "run"), PLOOP_DEVDIR=str(memory / "dev"))

    def images(self, backing):
        directory = (self.memory if backing == "tmpfs" else self.path) / f"images-{time.monotonic_ns()}"
        directory.mkdir()
        return directory

    def command(self, *argv):
        return run(self.ploop, *argv, env=self.environment)

    def new_image(self, directory, name, mib, *options):
        place = directory / name
        place.mkdir()
        self.command("init", "-s", f"{mib}M", "-t", "none", *options, place / "image.hds")
        return place / "image.hds"

    @contextlib.contextmanager
    def device(self, *images):
        output = self.command("mount", *images)
        node = next(line.split("dev=")[1].split()[0] for line in output.splitlines() if "dev=" in line)
        try:
            yield node
        finally:
            self.command("umount", "-d", node)


@contextlib.contextmanager
def loop_device(path):
    node = run("losetup", "-f", "--show", "--direct-io=on", path).strip()
    try:
        if pathlib.Path(f"/sys/block/{node[5:]}/loop/dio").read_text().strip() != "1":
            print(f"note: {node} over {path} has no direct I/O")
        yield node
    finally:
        run("losetup", "-d", node)


@contextlib.contextmanager
def qemu_export(directory, image, aio):
    """The guest's view of a qcow2 image as a file served by qemu-storage-daemon."""
    export, pid_file = directory / "export", directory / "qsd.pid"
    export.touch()
    run("qemu-storage-daemon", "--daemonize", "--pidfile", pid_file,
        "--blockdev", f"driver=file,node-name=file,filename={image},cache.direct=on,aio={aio}",
        "--blockdev", "driver=qcow2,node-name=disk,file=file",
        "--export", f"type=fuse,id=e,node-name=disk,mountpoint={export},writable=on")
    pid = int(pid_file.read_text())
    try:
        yield export
    finally:
        os.kill(pid, 15)
        while pathlib.Path(f"/proc/{pid}").exists():
            time.sleep(0.05)


def data_path(area, backing, options, cells):
    directory = area.images(backing)
    with contextlib.ExitStack() as stack:
        raw = directory / "raw"
        raw.touch()
        os.truncate(raw, SIZE_MIB * MIB)
        qcow2 = directory / "disk.qcow2"
        run("qemu-img", "create", "-q", "-f", "qcow2", qcow2, f"{SIZE_MIB}M")
        export = stack.enter_context(qemu_export(directory, qcow2, "threads" if backing == "tmpfs" else "io_uring"))
        targets = {
            "loop": stack.enter_context(loop_device(raw)),
            "ploop": stack.enter_context(area.device(area.new_image(directory, "ploop", SIZE_MIB))),
            "qcow2": stack.enter_context(loop_device(export)),
        }
        for node in targets.values():  # everything allocated
            fio(node, "write", "1M", 4, size=f"{SIZE_MIB}M", extra=("--end_fsync=1",))
        for repetition in range(options.repetitions):
            for workload, (rw, block, depth, unit) in WORKLOADS.items():
                for target, node in rotated(targets.items(), repetition):
                    value = value_of(fio(node, rw, block, depth, options.seconds), unit)
                    cells.add("data path", backing, workload, unit, target, value)
    run("rm", "-rf", directory)


def rotated(items, by):
    items = list(items)
    by %= len(items)
    return items[by:] + items[:by]


def allocating(area, backing, options, cells):
    """4k every 64k. Our default cluster (1 MiB) and the size of qcow2 (64 KiB: every write allocates)."""
    mib, stride = 2048 if backing == "tmpfs" else 512, 65536  # thousands of extents are slow to delete from a disk
    count = mib * MIB // stride
    aio = "threads" if backing == "tmpfs" else "io_uring"
    for repetition in range(options.repetitions):
        directory = area.images(backing)
        qcow2 = directory / "disk.qcow2"
        run("qemu-img", "create", "-q", "-f", "qcow2", qcow2, f"{mib}M")

        def qemu():
            started = time.monotonic()
            output = run("qemu-img", "bench", "-w", "-f", "qcow2", "-t", "none", "-i", aio, "-d", 32, "-c", count,
                         "-s", 4096, "-S", stride, qcow2)
            line = next((l for l in output.splitlines() if l.startswith("Run completed in")), None)
            seconds = float(line.split()[3]) if line else time.monotonic() - started
            return count / seconds

        def ours(cluster_sectors):
            image = area.new_image(directory, f"ploop{cluster_sectors}", mib, "-b", cluster_sectors)
            with area.device(image) as node:
                return fio(node, f"write:{stride - 4096}", "4k", 32, extra=(f"--io_size={count * 4096}",))[0]

        jobs = {"qcow2": qemu, "ploop": lambda: ours(2048), "ploop 64k clusters": lambda: ours(128)}
        for target, job in rotated(jobs.items(), repetition):
            cells.add("allocating writes", backing, "write 4k every 64k qd32", "iops", target, job())
        run("rm", "-rf", directory)


def chain_depth(area, backing, options, cells, depth=100):
    """The same bytes in one image and spread over a stack."""
    directory = area.images(backing)
    stack = [area.new_image(directory, f"level{i}", SIZE_MIB) for i in range(depth)]
    with area.device(stack[0]) as node:
        fio(node, "write", "1M", 4, size=f"{SIZE_MIB}M")
    for top in range(10, depth + 1, 10):  # every tenth level has a twentieth of the clusters
        with area.device(*stack[:top]) as node:
            fio(node, "randwrite", "1M", 4, extra=(f"--io_size={SIZE_MIB // 20}M",))
    flat = area.new_image(directory, "flat", SIZE_MIB)
    with area.device(*stack) as deep_node, area.device(flat) as flat_node:
        run("dd", f"if={deep_node}", f"of={flat_node}", "bs=1M", "oflag=direct", "conv=fsync,notrunc")
        run("cmp", deep_node, flat_node)
        targets = {"depth 1": flat_node, f"depth {depth}": deep_node}
        for repetition in range(max(5, options.repetitions)):
            for workload in ("randread 4k qd1", "randread 4k qd32", "read 1M qd4"):
                rw, block, queue, unit = WORKLOADS[workload]
                for target, node in rotated(targets.items(), repetition):
                    value = value_of(fio(node, rw, block, queue, options.seconds), unit)
                    cells.add("chain depth", backing, workload, unit, target, value)
    run("rm", "-rf", directory)


class Cells:
    """All samples, in the order of measuring."""

    def __init__(self):
        self.rows = {}

    def add(self, part, backing, workload, unit, target, value):
        row = self.rows.setdefault((part, backing, workload, unit), {})
        row.setdefault(target, []).append(value)
        print(f"  {part:18} {backing:6} {workload:24} {target:20} {value:12.0f} {unit}", flush=True)

    def as_json(self):
        return [{"part": part, "backing": backing, "workload": workload, "unit": unit,
                 "targets": {t: {"median": statistics.median(v), "samples": v} for t, v in row.items()}}
                for (part, backing, workload, unit), row in self.rows.items()]


def machine():
    model = next((l.split(":")[1].strip() for l in open("/proc/cpuinfo") if l.startswith("model name")), platform.machine())
    return {"kernel": platform.release(), "cpu": model, "cpus": os.cpu_count(),
            "fio": run("fio", "--version").strip(),
            "qemu": run("qemu-img", "--version").split("version ")[1].split()[0],
            "date": time.strftime("%Y-%m-%d")}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ploop", required=True, help="the ploop program")
    parser.add_argument("--out", required=True, help="directory for results.json and report.md")
    parser.add_argument("--backing", action="append", choices=("tmpfs", "disk"), help="only this one")
    parser.add_argument("--part", action="append", choices=("path", "alloc", "depth"), help="only this one")
    parser.add_argument("--disk", default=os.environ.get("BENCH_DIR", "/var/tmp"), help="directory on the disk to measure")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=2, help="length of one cell")
    parser.add_argument("--update-docs", metavar="FILE", help="also put the tables into this document")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that everything is undone
    cells = Cells()
    started = time.monotonic()
    with contextlib.ExitStack() as undo:
        area = Area(options.ploop, options.disk, undo)
        for backing in options.backing or ("tmpfs", "disk"):
            if "path" in (options.part or ["path"]):
                data_path(area, backing, options, cells)
            if "alloc" in (options.part or ["alloc"]):
                allocating(area, backing, options, cells)
            if "depth" in (options.part or ["depth"]) and backing == "tmpfs":
                chain_depth(area, backing, options, cells)
    results = {"machine": machine(), "seconds": round(time.monotonic() - started), "repetitions": options.repetitions,
               "rows": cells.as_json()}
    out = pathlib.Path(options.out)
    (out / "results.json").write_text(json.dumps(results, indent=1))
    text = report.markdown(results)
    (out / "report.md").write_text(text)
    print("\n" + text)
    if options.update_docs:
        report.replace_section(pathlib.Path(options.update_docs), text)


if __name__ == "__main__":
    main()
