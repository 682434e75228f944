#include "base/exit_code.hpp"

namespace ploop {

std::string_view exit_code_name(ExitCode code) {
  switch (code) {
    case ExitCode::Ok:
      return "OK";
    case ExitCode::Create:
      return "SYSEXIT_CREAT";
    case ExitCode::Device:
      return "SYSEXIT_DEVICE";
    case ExitCode::DeviceIoctl:
      return "SYSEXIT_DEVIOC";
    case ExitCode::Open:
      return "SYSEXIT_OPEN";
    case ExitCode::Malloc:
      return "SYSEXIT_MALLOC";
    case ExitCode::Read:
      return "SYSEXIT_READ";
    case ExitCode::Write:
      return "SYSEXIT_WRITE";
    case ExitCode::Sysfs:
      return "SYSEXIT_SYSFS";
    case ExitCode::Format:
      return "SYSEXIT_PLOOPFMT";
    case ExitCode::System:
      return "SYSEXIT_SYS";
    case ExitCode::Protocol:
      return "SYSEXIT_PROTOCOL";
    case ExitCode::Loop:
      return "SYSEXIT_LOOP";
    case ExitCode::Stat:
      return "SYSEXIT_FSTAT";
    case ExitCode::Fsync:
      return "SYSEXIT_FSYNC";
    case ExitCode::Busy:
      return "SYSEXIT_EBUSY";
    case ExitCode::Flock:
      return "SYSEXIT_FLOCK";
    case ExitCode::Truncate:
      return "SYSEXIT_FTRUNCATE";
    case ExitCode::Fallocate:
      return "SYSEXIT_FALLOCATE";
    case ExitCode::Mount:
      return "SYSEXIT_MOUNT";
    case ExitCode::Umount:
      return "SYSEXIT_UMOUNT";
    case ExitCode::Lock:
      return "SYSEXIT_LOCK";
    case ExitCode::Mkfs:
      return "SYSEXIT_MKFS";
    case ExitCode::ResizeFs:
      return "SYSEXIT_RESIZE_FS";
    case ExitCode::Mkdir:
      return "SYSEXIT_MKDIR";
    case ExitCode::Rename:
      return "SYSEXIT_RENAME";
    case ExitCode::Abort:
      return "SYSEXIT_ABORT";
    case ExitCode::Reloc:
      return "SYSEXIT_RELOC";
    case ExitCode::ChangeGpt:
      return "SYSEXIT_CHANGE_GPT";
    case ExitCode::Unlink:
      return "SYSEXIT_UNLINK";
    case ExitCode::Mknod:
      return "SYSEXIT_MKNOD";
    case ExitCode::InUse:
      return "SYSEXIT_PLOOPINUSE";
    case ExitCode::Param:
      return "SYSEXIT_PARAM";
    case ExitCode::Descriptor:
      return "SYSEXIT_DISKDESCR";
    case ExitCode::NotMounted:
      return "SYSEXIT_DEV_NOT_MOUNTED";
    case ExitCode::Fsck:
      return "SYSEXIT_FSCK";
    case ExitCode::NoSnapshot:
      return "SYSEXIT_NOSNAP";
    case ExitCode::NoCbt:
      return "SYSEXIT_NOCBT";
    case ExitCode::Crypt:
      return "SYSEXIT_CRYPT";
    case ExitCode::UmountBusy:
      return "SYSEXIT_UMOUNT_BUSY";
  }
  return "";
}

}  // namespace ploop
