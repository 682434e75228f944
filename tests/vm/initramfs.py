"""The initramfs of a kernel: busybox, guest/init and the modules that a guest needs, decompressed."""
import hashlib
import lzma
import os
import pathlib
import shutil
import subprocess
import tempfile

from common import HERE, Unavailable, locked, system_path

# Loaded before the root disk is mounted.
EARLY = ("virtio_pci", "virtio_blk", "ext4")
# Loaded by the agent; what a kernel has built in or does not have at all is left out.
WANTED = ("virtio_console", "fuse", "loop", "ublk_drv")
# There to be loaded on demand.
ON_DEMAND = ("xfs", "btrfs", "dm_mod", "nbd", "brd", "overlay", "crc32c_generic", "crc32c_intel", "libcrc32c")


def obtain(kernel, cache):
    """The path of the kernel's initramfs, made when it is not there. Raises Unavailable."""
    busybox = shutil.which("busybox", path=system_path())
    if not busybox:
        raise Unavailable("there is no busybox (package busybox-static)")
    # Ours by content, so that several working copies can share a cache.
    key = hashlib.sha256(pathlib.Path(__file__).read_bytes() + (HERE / "guest/init").read_bytes())
    for path in (pathlib.Path(busybox), kernel.image):
        status = path.stat()
        key.update(f"{path.name} {status.st_size} {status.st_mtime_ns} {kernel.release}\n".encode())
    archive = cache / f"initramfs-{kernel.name}-{key.hexdigest()[:16]}"
    with locked(cache / f"kernel-{kernel.name}.lock"):
        if not archive.exists():
            _make(kernel, busybox, archive)
            for old in cache.glob(f"initramfs-{kernel.name}-*"):
                if old != archive:
                    old.unlink(missing_ok=True)
    return archive


def _depends(kernel, module):
    """The files of a module and what it needs, in the order to load them; none when it is built in or unknown."""
    shown = subprocess.run(["modprobe", "-d", str(kernel.root), "-S", kernel.release, "--show-depends", module],
                           capture_output=True, text=True, check=False, env=dict(os.environ, PATH=system_path(), LC_ALL="C"))
    return [pathlib.Path(line.split()[1]) for line in shown.stdout.splitlines() if line.startswith("insmod ")]


def _unpack(source, target):
    if source.suffix == ".xz":
        target.write_bytes(lzma.decompress(source.read_bytes()))
    elif source.suffix == ".zst":
        subprocess.run(["zstd", "-q", "-d", str(source), "-o", str(target)], check=True)
    elif source.suffix == ".gz":
        with open(target, "wb") as out:
            subprocess.run(["gzip", "-dc", str(source)], check=True, stdout=out)
    else:
        shutil.copyfile(source, target)


def _make(kernel, busybox, archive):
    with tempfile.TemporaryDirectory(dir=archive.parent, prefix=".initramfs-") as name:
        root = pathlib.Path(name) / "root"
        tree = root / "modules/lib/modules" / kernel.release
        for directory in ("bin", "proc", "sys", "dev", "root", "modules"):
            (root / directory).mkdir(parents=True, exist_ok=True)
        tree.mkdir(parents=True)
        order = []
        for module in (*EARLY, *WANTED, *ON_DEMAND):
            for source in _depends(kernel, module):
                inside = source.relative_to(kernel.modules)
                while inside.suffix != ".ko":
                    inside = inside.with_suffix("")
                target = tree / inside
                if not target.exists():
                    target.parent.mkdir(parents=True, exist_ok=True)
                    _unpack(source, target)
                if module in EARLY and target not in order:
                    order.append(target)
        for listed in ("modules.builtin", "modules.order", "modules.builtin.modinfo"):
            if (kernel.modules / listed).exists():
                shutil.copyfile(kernel.modules / listed, tree / listed)
        subprocess.run(["depmod", "-b", str(root / "modules"), kernel.release], check=True, capture_output=True,
                       env=dict(os.environ, PATH=system_path()))
        (root / "modules/order").write_text("".join(f"{t.relative_to(root / 'modules')}\n" for t in order))
        shutil.copy(busybox, root / "bin/busybox")
        shutil.copy(HERE / "guest/init", root / "init")
        made = pathlib.Path(name) / "archive"
        with open(made, "wb") as out:
            pack = subprocess.Popen(["cpio", "-o", "-H", "newc", "-R", "0:0", "--quiet"], cwd=root, stdin=subprocess.PIPE,
                                    stdout=subprocess.PIPE)
            press = subprocess.Popen(["gzip", "-1"], stdin=pack.stdout, stdout=out)
            pack.stdout.close()
            names = sorted(str(p.relative_to(root)) for p in root.rglob("*"))
            pack.communicate("\n".join(names).encode() + b"\n")
            if pack.returncode != 0 or press.wait() != 0:
                raise Unavailable("the initramfs could not be packed (cpio, gzip)")
        made.rename(archive)
