"""The guest's root disk: an ext4 image with this machine's own programs, made without privileges.

A guest runs the same user space as the host: every program of guest/programs with the libraries that it links, Python's standard
library, and a few files of /etc. Only the kernel is another one. Our own programs and scripts are not in it: they come with the
payload of each run, so that the disk is made once and kept until a program of this machine changes.
"""
import hashlib
import os
import pathlib
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile

from common import HERE, Unavailable, locked, system_path

SIZE = "8G"  # sparse; scratch space of the tests included

_DIRECTORIES = ("dev", "proc", "sys", "run", "tmp", "root", "mnt", "payload", "etc", "var/tmp", "var/lib",
                "usr/bin", "usr/sbin", "usr/lib", "usr/lib64")
_MERGED = ("bin", "sbin", "lib", "lib64")  # links into usr
_ETC = {
    "passwd": "root:x:0:0:root:/root:/bin/bash\nnobody:x:65534:65534:nobody:/nonexistent:/bin/false\n",
    "group": "root:x:0:\nnogroup:x:65534:\n",
    "fstab": "",
    "hostname": "guest\n",
}
# Settings of programs that work differently without them.
_ETC_COPIED = ("mke2fs.conf", "ld.so.conf", "ld.so.conf.d", "nsswitch.conf", "services", "protocols")


def obtain(cache, programs_here):
    """The path of a root disk that has the libraries of `programs_here` (our own programs) too. Raises Unavailable."""
    programs = _programs()
    files = sorted(_closure(programs, programs_here))
    key = _key(files)
    disk = cache / f"root-{key}.ext4"
    with locked(cache / "root.lock"):
        if not disk.exists():
            _make(files, disk)
            for old in cache.glob("root-*.ext4"):
                if old != disk:
                    old.unlink(missing_ok=True)
    return disk


def _programs():
    """Paths of the programs of guest/programs. One marked with `?` may be missing."""
    found = []
    for line in (HERE / "guest/programs").read_text().splitlines():
        for word in line.split("#")[0].split():
            path = shutil.which(word.rstrip("?"), path=system_path())
            if path:
                found.append(path)
            elif not word.endswith("?"):
                raise Unavailable(f"the guest needs the program {word}, which is not installed here")
    return found


def _libraries(paths):
    """Shared libraries that the ELF files among `paths` link, as the loader finds them on this machine."""
    listed = subprocess.run(["ldd", *paths], capture_output=True, text=True, check=False, env=dict(os.environ, LC_ALL="C"))
    missing = re.search(r"^\s*(\S+) => not found", listed.stdout, re.M)
    if missing:
        raise Unavailable(f"a program of the guest needs {missing.group(1)}, which is not installed here")
    return set(re.findall(r"(?:=> |^\s*)(/\S+) \(0x", listed.stdout, re.M))


def _python_files():
    standard = pathlib.Path(sysconfig.get_paths()["stdlib"])
    skip = {"test", "tests", "idlelib", "tkinter", "lib2to3", "ensurepip", "dist-packages", "site-packages", "pydoc_data",
            "turtledemo", "distutils"}
    for base, directories, names in os.walk(standard):
        directories[:] = [d for d in directories if d not in skip and not d.startswith("config-")]
        for name in names:
            yield os.path.join(base, name)


def _material():
    """Some small files of this system, for tests that copy real trees."""
    found = []
    for base, directories, names in os.walk("/usr/share"):
        directories.sort()
        for name in sorted(names):
            path = os.path.join(base, name)
            if os.path.isfile(path) and not os.path.islink(path) and os.access(path, os.R_OK) and os.path.getsize(path) < 32768:
                found.append(path)
        if len(found) >= 1500:
            break
    return found


def _closure(programs, programs_here):
    """Absolute paths of all files of the root disk."""
    python = list(_python_files())
    executables = programs + [os.path.realpath(sys.executable)]
    files = set(executables) | set(python) | set(_material())
    files |= _libraries(executables + [str(p) for p in programs_here] + [p for p in python if p.endswith(".so")])
    return files


def _inside(path):
    """Where a file of this machine is in the guest: the same place, with /bin and its like below /usr."""
    first = path.lstrip("/").split("/", 1)
    return "usr/" + path.lstrip("/") if first[0] in _MERGED else path.lstrip("/")


def _key(files):
    digest = hashlib.sha256((SIZE + pathlib.Path(__file__).read_text()).encode())
    for path in files:
        status = os.stat(path)
        digest.update(f"{path} {status.st_size} {status.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:16]


def _make(files, disk):
    with tempfile.TemporaryDirectory(dir=disk.parent, prefix=".root-") as name:
        root = pathlib.Path(name) / "root"
        for directory in _DIRECTORIES:
            (root / directory).mkdir(parents=True, exist_ok=True)
        for link in _MERGED:
            (root / link).symlink_to(f"usr/{link}")
        for path in files:
            target = root / _inside(path)
            target.parent.mkdir(parents=True, exist_ok=True)
            if not target.exists():
                shutil.copy2(path, target)  # what a link points to, under the link's name
        if not (root / "usr/bin/python3").exists():
            (root / "usr/bin/python3").symlink_to("/" + _inside(os.path.realpath(sys.executable)))
        if not (root / "usr/bin/sh").exists():
            (root / "usr/bin/sh").symlink_to("bash")
        _etc(root / "etc")
        image = pathlib.Path(name) / "image"
        made = subprocess.run(["mke2fs", "-q", "-t", "ext4", "-b", "4096", "-d", str(root), "-L", "guest", "-O", "^has_journal",
                               "-E", "root_owner=0:0,lazy_itable_init=1", str(image), SIZE],
                              env=dict(os.environ, PATH=system_path()), capture_output=True, text=True)
        if made.returncode != 0:
            raise Unavailable(f"mke2fs cannot make the root disk: {made.stderr.strip()}")
        image.rename(disk)


def _etc(etc):
    for name, text in _ETC.items():
        (etc / name).write_text(text)
    (etc / "mtab").symlink_to("/proc/self/mounts")
    for name in _ETC_COPIED:
        source = pathlib.Path("/etc") / name
        if source.is_dir():
            shutil.copytree(source, etc / name)
        elif source.exists():
            shutil.copy2(source, etc / name)
