#!/usr/bin/env python3
"""Copies a disk in use while fio overwrites it with random 4k writes, and reports how long its file system was frozen.

  copy_bench.py --ploop build/release/bin/ploop [--size 4096] [--rates 0 5 20 50] [--where /var/tmp]

For each rate (MB/s of random 4k, direct I/O, depth 32, over the whole file) one copy to a file on the same host file system. The
frozen time is what `ploop copy` says; "stall" is the longest write that fio saw, with everything else that may have been slow.
"""
import argparse
import contextlib
import json
import os
import pathlib
import re
import signal
import subprocess
import time

from device_bench import Area, run


def copy(area, device, target):
    """One copy; what it said and the seconds it took."""
    start = time.monotonic()
    done = subprocess.run([area.ploop, "copy", "-s", device, "-d", target], env=area.environment, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"copy gave {done.returncode}: {done.stderr}")
    return done.stdout, time.monotonic() - start


def load(path, rate, log):
    """fio until it is interrupted."""
    return subprocess.Popen(
        ["fio", "--output-format=json", f"--output={log}", "--name=load", f"--filename={path}", "--rw=randwrite", "--bs=4k", "--direct=1",
         "--ioengine=libaio", "--iodepth=32", "--norandommap", f"--rate={rate}m", "--time_based", "--runtime=900"])


def measure(area, device, data, rate):
    log = area.path / "fio.json"
    writer = load(data, rate, log) if rate else None
    if writer:
        time.sleep(3)
    said, seconds = copy(area, device, area.path / "copy")
    achieved, stall = 0.0, 0.0
    if writer:
        writer.send_signal(signal.SIGINT)
        writer.wait()
        # Interrupted, fio puts a line in front of its report.
        job = json.loads(log.read_text()[log.read_text().index("{"):])["jobs"][0]["write"]
        achieved, stall = job["bw_bytes"] / 1e6, job["clat_ns"]["max"] / 1e6
    size = (area.path / "copy").stat().st_size
    (area.path / "copy").unlink()
    frozen, last = re.search(r"Frozen for (\d+) ms, (\d+) KiB", said).groups()
    rounds = re.findall(r"Round \d+: (\d+) KiB in (\d+) ms", said)
    again = sum(int(kib) for kib, _ in rounds) / 1024
    return {"rate": rate, "achieved": achieved, "seconds": seconds, "size_mib": size >> 20, "rounds": len(rounds), "again_mib": again,
            "frozen_ms": int(frozen), "frozen_kib": int(last), "stall_ms": stall}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ploop", required=True)
    parser.add_argument("--size", type=int, default=4096, help="MiB of data")
    parser.add_argument("--rates", type=int, nargs="+", default=[0, 5, 20, 50], help="MB/s")
    parser.add_argument("--where", default="/var/tmp")
    parser.add_argument("--repetitions", type=int, default=1)
    options = parser.parse_args()
    with contextlib.ExitStack() as undo:
        area = Area(os.path.abspath(options.ploop), options.where, undo)
        disk, mount = area.path / "disk", area.path / "mnt"
        disk.mkdir()
        mount.mkdir()
        run(area.ploop, "init", "-s", f"{options.size * 5 // 4 + 300}M", disk / "root.hdd", env=area.environment)
        said = run(area.ploop, "mount", "-m", mount, disk / "DiskDescriptor.xml", env=area.environment)
        undo.callback(lambda: run(area.ploop, "umount", disk / "DiskDescriptor.xml", env=area.environment))
        device = re.search(r"dev=(\S+)", said).group(1)
        data = mount / "data"
        run("fio", "--name=fill", f"--filename={data}", f"--size={options.size}m", "--rw=write", "--bs=1m", "--end_fsync=1")
        print("| writes asked, got, MB/s | copy, s | MiB | rounds | sent again, MiB | frozen, ms | sent while frozen, KiB | longest write, ms |")
        print("|---|---|---|---|---|---|---|---|")
        for _ in range(options.repetitions):
            for rate in options.rates:
                r = measure(area, device, data, rate)
                print(f"| {r['rate']}, {r['achieved']:.1f} | {r['seconds']:.1f} | {r['size_mib']} | {r['rounds']} | {r['again_mib']:.0f} | "
                      f"{r['frozen_ms']} | {r['frozen_kib']} | {r['stall_ms']:.0f} |", flush=True)


if __name__ == "__main__":
    main()
