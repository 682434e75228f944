"""Which device scripts run on which kernel: `full` is all of them everywhere, `normal` is what `make vmtest` does in ten minutes,
`quick` is what is part of `make test`.

README.md has the time that each script takes in a guest.
"""

# What is tested: kernel and transport.
GUESTS = (("6.1", "fuse"), ("6.12", "fuse"), ("6.12", "ublk"), ("sid", "fuse"), ("sid", "ublk"))

# Scripts that provoke I/O errors, so the guest's kernel may speak of some.
PROVOKES_IO_ERRORS = {"bad_input.sh", "copy.sh", "deaths.sh", "full_host.sh", "kill_command.sh", "kill_daemon.sh", "kill_daemon_snapshots.sh",
                      "kill_files.sh", "kill_resize.sh", "kill_snapshots.sh", "other_paths.sh", "poisoned.sh"}

FULL = (
    "tutorial.sh",
    "callers.sh",
    "other_paths.sh",
    "at_once.sh",
    "cleanup.sh",
    "flush_discard_zero.sh",
    "zero_copy.sh",
    "fio_verify.sh single",
    "fio_verify.sh stack",
    "roundtrip.sh ext4 ext4",
    "roundtrip.sh xfs xfs",
    "roundtrip.sh btrfs ext3",
    "roundtrip.sh tmpfs ext4",
    "kill_daemon.sh",
    "kill_worker_operations.sh",
    "kill_daemon_snapshots.sh",
    "deaths.sh",
    "stopped.sh",
    "kill_command.sh",
    "interrupted.sh",
    "kill_files.sh",
    "kill_snapshots.sh",
    "kill_resize.sh",
    "kill_storm.sh",
    "sandbox.sh",
    "upgrade.sh",
    "poisoned.sh",
    "oom.sh",
    "full_host_waits.sh",
    "many_devices.sh",
    "qemu_images.sh",
    "namespaces.sh",
    "hidden_mounts.sh ext4",
    "hidden_mounts.sh xfs",
    "mount_helper.sh",
    "bad_input.sh",
    "full_host.sh",
    "grow_load.sh",
    "live_files.sh",
    "online_snapshots.sh",
    "online_snapshots.sh 8 xfs",
    "snapshot_forms.sh",
    "snapshot_model.sh",
    "disk_model.sh ext4",
    "disk_model.sh xfs",
    "resize.sh ext4",
    "resize.sh ext3",
    "resize.sh xfs",
    "balloon.sh ext4",
    "balloon.sh xfs",
    "copy.sh same",
    "copy.sh hosts",
    "copy.sh load",
    "copy.sh deaths",
    "copy.sh refusals",
)

# The way of moving data that `auto` does not choose, in the guest whose kernel has it.
ZERO_COPY = tuple("PLOOP_TRANSPORT=ublk:zero-copy " + line for line in ("fio_verify.sh single", "kill_daemon.sh", "upgrade.sh"))

NORMAL = {
    ("6.1", "fuse"): ("kill_daemon.sh", "stopped.sh", "copy.sh deaths", "roundtrip.sh xfs xfs", "namespaces.sh",
                     "upgrade.sh 1"),
    ("6.12", "fuse"): ("kill_daemon.sh", "kill_worker_operations.sh", "grow_load.sh", "mount_helper.sh"),
    ("6.12", "ublk"): ("kill_daemon.sh", "kill_worker_operations.sh", "fio_verify.sh single", "flush_discard_zero.sh",
                       "roundtrip.sh ext4 ext4"),
    ("sid", "fuse"): ("kill_daemon.sh", "kill_worker_operations.sh", "qemu_images.sh"),
    ("sid", "ublk"): ("kill_daemon.sh", "kill_worker_operations.sh", "fio_verify.sh single", "online_snapshots.sh",
                      "poisoned.sh", "zero_copy.sh", ZERO_COPY[0]),
}

QUICK = {
    ("6.1", "fuse"): ("kill_daemon.sh",),
    ("6.12", "fuse"): ("kill_worker_operations.sh",),
    ("6.12", "ublk"): ("kill_daemon.sh", "fio_verify.sh single"),
    ("sid", "fuse"): ("kill_daemon.sh",),
    ("sid", "ublk"): ("kill_worker_operations.sh", "flush_discard_zero.sh"),
}


def scripts(suite, kernel, transport):
    """Command lines of the scripts of a suite for a guest; assignments before the script's name are for its environment."""
    kind = transport.partition(":")[0]
    if suite == "full":
        return FULL + (ZERO_COPY if (kernel, transport) == ("sid", "ublk") else ())
    return (NORMAL if suite == "normal" else QUICK)[kernel, kind]
