"""One run of a guest: what it gets, QEMU, what it reports."""
import ctypes
import dataclasses
import os
import pathlib
import re
import shlex
import shutil
import signal
import subprocess
import tarfile
import time

from common import PROJECT, Unavailable, system_path

# What of the project goes into the guest, below /payload.
_PAYLOAD = ("tests/device", "tests/golden", "tests/vm/guest", "docs")

# Kernel messages that fail a job, whatever its script says.
_DEFECT = re.compile(r"\bBUG[: ]|\bWARNING: |\bOops\b|general protection fault|UBSAN|KASAN|blocked for more than|soft lockup|"
                     r"refcount_t|list_(?:add|del) corruption|unable to handle|kernel NULL pointer|scheduling while atomic", re.I)
# A defect of kernel 7.2 that is not ours: the first buffer of several pages that ublk registers trips a check of an array whose length
# is set too late; the data is good. Only this report is let pass, and of it only what speaks of the check.
_KNOWN_REPORT = re.compile(r"UBSAN: array-index-out-of-bounds in \S*/io_uring/rsrc\.c:\d+.*\bio_buffer_register_bvec\b", re.S)
_KNOWN_LINE = re.compile(r"UBSAN", re.I)
# How a kernel dies of a breakpoint that is not, or not any more, in its code.
_STRAY_BREAKPOINT = re.compile(r"\bint3: 0000\b")
_IO_ERROR = re.compile(r"I/O error|lost (?:sync|async) page write|EXT4-fs (?:error|warning)|Aborting journal|JBD2: .*[Ee]rror|"
                       r"XFS \(.*(?:[Ss]hut|error|Corruption)|BTRFS error", re.I)


# Seconds until the first job begins: 5 on a quiet machine, 60 on a very busy one.
_BOOT_LIMIT = 240


@dataclasses.dataclass
class Job:
    """A script to run in the guest. `io_errors`: it provokes I/O errors, so the kernel may speak of some."""
    name: str
    command: list
    environment: dict = dataclasses.field(default_factory=dict)
    io_errors: bool = False


@dataclasses.dataclass
class Result:
    """What became of a job. `status`: passed, failed, skipped. `reason`: one line about why not passed. `cpu_seconds`: what the
    guest used of the host's processors meanwhile, which says more than the clock on a busy machine."""
    job: Job
    status: str
    reason: str = ""
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    output: list = dataclasses.field(default_factory=list)
    kernel_log: list = dataclasses.field(default_factory=list)


def accelerator():
    """QEMU's options: hardware virtualisation where the processor has it and /dev/kvm can be opened, else software emulation."""
    try:
        # A /dev/kvm without the processor's flags is one that runs only kernels made for it.
        if re.search(r"^flags\s*:.* (?:vmx|svm)\b", pathlib.Path("/proc/cpuinfo").read_text(), re.M):
            os.close(os.open("/dev/kvm", os.O_RDWR))
            return ["-accel", "kvm", "-accel", "tcg,thread=multi"]
    except OSError:
        pass
    return ["-accel", "tcg,thread=multi"]


def _die_with_parent():
    """In QEMU's process before it is QEMU: a runner that is killed takes its guest along."""
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)


def _cpu_seconds(pid):
    """Processor time that a process has used."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Machine:
    """A guest that runs jobs. `directory` is private to this run and holds report, console and QEMU's scratch files."""

    def __init__(self, kernel, initramfs, disk, directory, *, cpus=2, memory=2048, interactive=False):
        self.kernel, self.initramfs, self.disk = kernel, initramfs, disk
        self.directory = pathlib.Path(directory)
        self.cpus, self.memory, self.interactive = cpus, memory, interactive
        self.report = self.directory / "report"
        self.console = self.directory / "console"
        if not shutil.which("qemu-system-x86_64", path=system_path()):
            raise Unavailable("there is no qemu-system-x86_64 (package qemu-system-x86)")

    def pack(self, jobs, programs, settings, extra=()):
        """Writes the payload: our programs, scripts, jobs and settings of the agent."""
        with tarfile.open(self.directory / "payload.tar", "w") as archive:
            for path in _PAYLOAD:
                archive.add(PROJECT / path, path, filter=_plain)
            for program in (*programs, *extra):
                archive.add(program, f"bin/{pathlib.Path(program).name}", filter=_plain)
            self._add(archive, "settings", "".join(f"{k}={shlex.quote(str(v))}\n" for k, v in settings.items()))
            for number, job in enumerate(jobs):
                lines = [f"export {key}={shlex.quote(value)}" for key, value in job.environment.items()]
                self._add(archive, f"jobs/{number:03d}", "\n".join([*lines, f"exec {shlex.join(job.command)}", ""]))

    def _add(self, archive, name, text):
        path = self.directory / "text"
        path.write_text(text)
        archive.add(path, name, filter=_plain)

    def _command(self):
        drive = "if=none,format=raw,cache=unsafe"
        console = ["-serial", "mon:stdio"] if self.interactive else ["-serial", f"file:{self.console}"]
        return ["qemu-system-x86_64", *accelerator(), "-machine", "q35", "-cpu", "max" if "kvm" in accelerator() else "Nehalem", "-smp", str(self.cpus),
                "-m", str(self.memory), "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", *console,
                "-drive", f"id=root,file={self.disk},snapshot=on,discard=unmap,{drive}", "-device", "virtio-blk-pci,drive=root",
                "-drive", f"id=payload,file={self.directory / 'payload.tar'},readonly=on,{drive}",
                "-device", "virtio-blk-pci,drive=payload",
                "-chardev", f"file,id=report,path={self.report}", "-device", "virtio-serial-pci",
                "-device", "virtserialport,chardev=report,name=report", "-device", "virtio-rng-pci",
                "-device", "isa-debug-exit,iobase=0xf4,iosize=1",
                "-kernel", str(self.kernel.image), "-initrd", str(self.initramfs),
                "-append", "console=ttyS0 loglevel=5 panic=-1 oops=panic mitigations=off nowatchdog "
                           "rcupdate.rcu_cpu_stall_suppress=1 "
                           # Emulated clocks are read late on a busy host; who distrusts them patches the scheduler while it runs.
                           "tsc=reliable "
                           "init_on_alloc=0 hardened_usercopy=off apparmor=0 audit=0 nokaslr transparent_hugepage=madvise rdinit=/init"]

    def run_all(self, jobs, pack, time_limit, progress, tries=3):
        """Runs all jobs; `pack(jobs)` puts those that a guest shall run into its payload. Returns their results, and calls
        `progress(result)` with each as it comes. A guest in which the emulation tripped is followed by another one for what is left."""
        finished, left = [], []
        for attempt in range(tries):
            pack(jobs[len(finished):])
            ended, left = self.run(jobs[len(finished):], time_limit, progress)
            finished += ended
            if not left or attempt == tries - 1 or not self.tripped():
                break
            print("the guest died of its emulation; another one goes on" if self.began() else "the guest died while it booted; once more",
                  flush=True)
            self.report.unlink(missing_ok=True)
        for result in left:
            progress(result)
        return [*finished, *left]

    def tripped(self):
        """Emulation of two processors now and then trips over a kernel that patches its own code: one of them still meets the breakpoint
        that the other one has taken out again. That says nothing about what is tested."""
        return not self.began() or bool(_STRAY_BREAKPOINT.search(self.console_text()))

    def began(self):
        """The guest came as far as its first job."""
        return self.report.exists() and self.report.read_bytes().startswith(b"@begin")

    def run(self, jobs, time_limit, progress):
        """Boots, waits at most `time_limit` seconds, calls `progress(result)` as each job ends. Returns the results of jobs that ended, and
        failures for those that did not, because the guest died or hung."""
        reader = _Report(self.report, jobs)
        process = subprocess.Popen(self._command(), stdin=None if self.interactive else subprocess.DEVNULL,
                                   stdout=None if self.interactive else subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                   preexec_fn=_die_with_parent,
                                   env=dict(os.environ, PATH=system_path(), TMPDIR=str(self.directory)))
        ends = time.monotonic() + time_limit
        boot_ends = time.monotonic() + _BOOT_LIMIT
        used = 0.0
        try:
            while process.poll() is None and time.monotonic() < ends:
                time.sleep(0.2)
                for result in reader.news():
                    result.cpu_seconds, used = _cpu_seconds(process.pid) - used, _cpu_seconds(process.pid)
                    progress(result)
                if time.monotonic() > boot_ends and not self.interactive and not self.began():
                    break
            reason = "the guest ended without a report on it"
            if process.poll() is None:
                reason = "the guest hung: " + (f"nothing more within {time_limit} s" if self.began() else "it did not boot")
        finally:
            if process.poll() is None:
                process.kill()
            said = process.communicate()[0] or ""
        for result in reader.news():
            progress(result)
        if process.returncode not in (1, 3) and reader.done:
            reason = f"QEMU gave exit status {process.returncode} instead of what the guest reported"
            reader.done = False
        ended = list(reader.results)
        return ended, reader.rest(reason, [*said.splitlines()[-10:], "-- end of the guest's console:", *self.console_text().splitlines()[-60:]])

    def console_text(self):
        try:
            return self.console.read_text(errors="replace").replace("\r", "")
        except FileNotFoundError:
            return ""


def _plain(entry):
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = "root"
    return None if entry.name.endswith("__pycache__") else entry


class _Report:
    """Reads the guest's report as it grows."""

    def __init__(self, path, jobs):
        self.path, self.jobs = path, jobs
        self.results, self.done = [], False
        self._at, self._rest, self._current = 0, "", None

    def news(self):
        """Results of jobs that ended since the last call."""
        try:
            with open(self.path, encoding="utf-8", errors="replace", newline="\n") as file:
                file.seek(self._at)
                text = file.read()
                self._at = file.tell()
        except FileNotFoundError:
            return []
        *lines, self._rest = (self._rest + text).split("\n")
        before = len(self.results)
        for line in lines:
            self._take(line)
        return self.results[before:]

    def _take(self, line):
        if line.startswith("@begin "):
            self._current = Result(self.jobs[int(line.split()[1])], "failed")
        elif line.startswith("@done"):
            self.done = True
        elif self._current is None:
            return
        elif line.startswith("@end "):
            _, _, status, tenths = line.split()
            self._current.seconds = int(tenths) / 10
            _judge(self._current, int(status))
            self.results.append(self._current)
            self._current = None
        elif line.startswith("#"):
            self._current.kernel_log.append(line[1:])
        else:
            self._current.output.append(line.removeprefix("|"))

    def rest(self, reason, console):
        """Failures for the jobs that did not end; none when the guest said that it was done with all."""
        if self.done and len(self.results) == len(self.jobs):
            return []
        left = []
        for job in self.jobs[len(self.results):] or self.jobs[-1:]:
            result = self._current if self._current and self._current.job is job else Result(job, "failed")
            result.reason, reason = reason, "the guest was gone before its turn"
            result.output, console = [*result.output, *console], []
            left.append(result)
        self.results += left
        return left


def _defects(log):
    """The lines of a kernel log that fail a job."""
    found, report = [], []
    for line in log:
        if "[ cut here ]" in line:
            report = []
        report.append(line)
        if _DEFECT.search(line):
            found.append(line)
        if "[ end trace" in line and _KNOWN_REPORT.search("\n".join(report)):
            found = [other for other in found if other not in report or not _KNOWN_LINE.search(other)]
    return found


def _judge(result, status):
    """Fills in status and reason of a job that ended with this exit status."""
    defects = _defects(result.kernel_log)
    errors = [m for m in result.kernel_log if _IO_ERROR.search(m)]
    skipped = [line for line in result.output if line.startswith("SKIP:")]
    if status == 77 and not defects:
        result.status, result.reason = "skipped", skipped[-1].removeprefix("SKIP:").strip() if skipped else "no reason given"
    elif status != 0:
        result.status = "failed"
        result.reason = "took too long" if status in (124, 137) else f"exit status {status}"
    elif defects:
        result.status, result.reason = "failed", f"the kernel complained: {defects[0]}"
    elif errors and not result.job.io_errors:
        result.status, result.reason = "failed", f"the kernel saw I/O errors: {errors[0]}"
    else:
        result.status = "passed"
