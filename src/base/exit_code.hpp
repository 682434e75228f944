// The exit statuses of ploop, which are also the error codes inside the program. The numbers are the
// historical ones: scripts and libraries compare them, so a number is never reused or changed.
// docs/compatibility.md lists them for users.
#pragma once

#include <cstdint>
#include <string_view>

namespace ploop {

enum class ExitCode : std::uint8_t {
  Ok = 0,
  Create = 1,       ///< cannot create a file; generic failure of commands that historically return 1
  Device = 2,       ///< no free device, or the device cannot be opened
  DeviceIoctl = 3,  ///< the device refused an operation (attach, detach, partition)
  Open = 4,         ///< cannot open a file; image not usable by this operation
  Malloc = 5,       ///< out of memory
  Read = 6,         ///< read error or short read
  Write = 7,        ///< write error; header needs fixing but the image is read-only
  Sysfs = 9,        ///< attribute missing or garbled; merge level above the top
  Format = 11,      ///< image corrupted or images do not fit together
  System = 12,      ///< any other system error; an external command failed
  Protocol = 13,    ///< bad copy stream or control message
  Loop = 14,        ///< copy: the frozen file system keeps changing
  Stat = 15,        ///< stat or statfs failed
  Fsync = 16,       ///< fsync failed
  Busy = 17,        ///< another maintenance operation, or a snapshot is in use
  Flock = 18,       ///< flock failed for a reason other than contention
  Truncate = 19,    ///< ftruncate failed
  Fallocate = 20,   ///< fallocate failed; balloon cannot be inflated
  Mount = 21,       ///< mounting failed; the image is already used by a device
  Umount = 22,      ///< unmounting failed
  Lock = 23,        ///< lock timeout, or the descriptor cannot be parsed
  Mkfs = 24,        ///< mkfs or tune2fs failed
  ResizeFs = 26,    ///< the file system could not be resized
  Mkdir = 27,       ///< the temporary mount point could not be made
  Rename = 28,      ///< rename failed
  Abort = 29,       ///< internal consistency check
  Reloc = 30,       ///< moving a cluster while growing the table failed
  ChangeGpt = 33,   ///< changing the partition table failed
  Unlink = 35,      ///< unlink failed
  Mknod = 36,       ///< making a device node failed
  InUse = 37,       ///< the image is marked in use, or a device uses it
  Param = 38,       ///< wrong arguments or a refused operation
  Descriptor = 39,  ///< descriptor path cannot be resolved or written, or the chain is inconsistent
  NotMounted = 40,  ///< umount of an image that is not attached
  Fsck = 41,        ///< file system check failed
  NoSnapshot = 43,  ///< no such snapshot
  NoCbt = 44,       ///< no changed-block tracking
  Crypt = 45,       ///< encryption
  UmountBusy = 46,  ///< unmounting failed because the file system is busy
};

/// The historical name, for example "SYSEXIT_PARAM"; "" for a number that has none.
std::string_view exit_code_name(ExitCode code);

}  // namespace ploop
