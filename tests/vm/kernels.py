"""Stock Debian kernels for the guests: found in the archive, verified, unpacked, kept.

Nothing is installed. A private apt configuration (own state, cache and sources) looks at one suite of the archive that this
machine's own apt sources name, so no mirror is written down here; signatures are checked with Debian's archive keyring.
"""
import dataclasses
import os
import pathlib
import re
import shutil
import subprocess
import tempfile

from common import Unavailable, locked

KEYRING = pathlib.Path("/usr/share/keyrings/debian-archive-keyring.gpg")

# What a guest is called here, the suite it comes from, and why it is tested.
SUITES = {
    "6.1": "bookworm",   # Debian 12: no ublk, no resend over FUSE
    "6.12": "trixie",    # Debian 13: the first ublk
    "sid": "sid",        # the newest there is
}

# Packages that hold a kernel or its modules; older suites have all in linux-image-*.
_KERNEL_PACKAGE = re.compile(r"linux-(?:image|binary|modules)-\d[\w.+~-]*-amd64")


@dataclasses.dataclass(frozen=True)
class Kernel:
    """An unpacked kernel. `modules` is the root that depmod and modprobe want with -b and -d."""
    name: str
    release: str
    image: pathlib.Path
    root: pathlib.Path

    @property
    def modules(self):
        return self.root / "lib" / "modules" / self.release


def obtain(name, cache, update=False):
    """The kernel `name` of SUITES from the cache, fetched first when it is not there or `update`. Raises Unavailable."""
    if name not in SUITES:
        raise Unavailable(f"there is no kernel '{name}'; choose one of {' '.join(SUITES)}")
    home = cache / "kernels" / name
    with locked(cache / f"kernel-{name}.lock"):
        if update or not (home / "release").exists():
            _fetch(SUITES[name], home)
    release = (home / "release").read_text().strip()
    return Kernel(name, release, home / "vmlinuz", home)


def _run(arguments, apt_config, what):
    environment = dict(os.environ, APT_CONFIG=str(apt_config), LC_ALL="C")
    try:
        done = subprocess.run(arguments, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              cwd=apt_config.parent, timeout=300)
    except FileNotFoundError:
        raise Unavailable(f"{what}: there is no {arguments[0]}") from None
    except subprocess.TimeoutExpired:
        raise Unavailable(f"{what}: no answer within 300 s") from None
    if done.returncode != 0:
        reason = [line for line in done.stderr.splitlines() if line.startswith("E:")][::-1] or done.stderr.splitlines()
        raise Unavailable(f"{what}: {reason[-1] if reason else 'apt-get failed'}")
    return done.stdout


def archive_uri():
    """Where this machine gets Debian from, by its own apt sources."""
    codename = ""
    for line in pathlib.Path("/etc/os-release").read_text().splitlines():
        if line.startswith("VERSION_CODENAME="):
            codename = line.split("=", 1)[1].strip('"')
    try:
        listed = subprocess.run(["apt-get", "indextargets", "--format", "$(ORIGIN)|$(RELEASE)|$(COMPONENT)|$(REPO_URI)",
                                 "Created-By: Packages"], capture_output=True, text=True, check=True).stdout
    except (FileNotFoundError, subprocess.CalledProcessError):
        raise Unavailable("there is no apt here that could name a mirror of Debian") from None
    for line in listed.splitlines():
        origin, release, component, uri = line.split("|", 3)
        # The origin is known only once the lists were fetched.
        if release == codename and component == "main" and origin in ("Debian", "", "$(ORIGIN)"):
            return uri
    raise Unavailable("this machine's apt sources name no archive of Debian")


def _configure(work, suite):
    """Writes the private apt configuration; returns its path."""
    for directory in ("state/lists/partial", "cache/archives/partial", "etc/parts", "etc/preferences.d"):
        (work / directory).mkdir(parents=True)
    (work / "state/status").touch()
    # A frozen or lagging mirror offers lists past their date. They are still signed; an old kernel that only ever runs in a
    # throw-away guest does no harm.
    (work / "etc/sources.list").write_text(
        f"deb [arch=amd64 signed-by={KEYRING} check-valid-until=no] {archive_uri()} {suite} main\n")
    config = work / "etc/apt.conf"
    config.write_text(
        f'Dir::State "{work}/state";\nDir::State::status "{work}/state/status";\nDir::Cache "{work}/cache";\n'
        f'Dir::Etc "{work}/etc";\nDir::Etc::parts "parts";\nDir::Etc::sourceparts "parts";\n'
        'APT::Architecture "amd64";\nAPT::Architectures "amd64";\nAPT::Sandbox::User "";\nAcquire::Languages "none";\n'
        'Acquire::http::Timeout "20";\nAcquire::Retries "2";\n')
    return config


def _packages(config):
    """The names of the packages that hold the suite's current kernel, from the dependencies of linux-image-amd64."""
    found, look = set(), ["linux-image-amd64"]
    while look:
        package = look.pop()
        record = _run(["apt-cache", "show", "--no-all-versions", package], config, f"no package {package}")
        depends = re.search(r"^Depends: (.*)$", record, re.M)
        for name in re.findall(r"[a-z][\w.+~-]*", depends.group(1) if depends else ""):
            if _KERNEL_PACKAGE.fullmatch(name) and name not in found:
                found.add(name)
                look.append(name)
    return sorted(found)


def _fetch(suite, home):
    """Fetches and unpacks the suite's kernel into `home`; what was there before goes only when that worked."""
    if not KEYRING.exists():
        raise Unavailable(f"no {KEYRING} (package debian-archive-keyring)")
    home.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=home.parent, prefix=".fetch-") as name:
        work = pathlib.Path(name)
        work.chmod(0o755)
        config = _configure(work, suite)
        _run(["apt-get", "-q", "--error-on=any", "update"], config, f"cannot read the package lists of {suite}")
        packages = _packages(config)
        if not packages:
            raise Unavailable(f"{suite} has no kernel package that is known here")
        _run(["apt-get", "-q", "download", *packages], config, f"cannot fetch {' '.join(packages)}")
        unpacked = work / "unpacked"
        for package in sorted(config.parent.glob("*.deb")):
            _run(["dpkg", "-x", str(package), str(unpacked)], config, f"cannot unpack {package.name}")
            package.unlink()
        _arrange(unpacked, work / "new", suite)
        shutil.rmtree(home, ignore_errors=True)
        (work / "new").rename(home)


def _arrange(unpacked, new, suite):
    """The image as vmlinuz, the modules as lib/modules/RELEASE with their dependencies, the release in a file of its own."""
    trees = [d for base in ("usr/lib/modules", "lib/modules") for d in (unpacked / base).glob("*") if (d / "kernel").is_dir()]
    if len(trees) != 1:
        raise Unavailable(f"the kernel packages of {suite} hold {len(trees)} module trees instead of one")
    release = trees[0].name
    images = [p for p in (unpacked / "boot" / f"vmlinuz-{release}", trees[0] / "vmlinuz") if p.is_file()]
    if not images:
        raise Unavailable(f"the kernel packages of {suite} hold no vmlinuz for {release}")
    (new / "lib/modules").mkdir(parents=True)
    shutil.move(images[0], new / "vmlinuz")
    shutil.move(trees[0], new / "lib/modules" / release)
    try:
        subprocess.run(["depmod", "-b", str(new), release], check=True, capture_output=True,
                       env=dict(os.environ, PATH=os.environ.get("PATH", "") + ":/usr/sbin:/sbin"))
    except FileNotFoundError:
        raise Unavailable("there is no depmod (package kmod)") from None
    (new / "release").write_text(release + "\n")
