// Reading and replacing the descriptor file.
#pragma once

#include <string>

#include "base/result.hpp"
#include "descriptor/lock.hpp"
#include "descriptor/model.hpp"

namespace ploop::descriptor {

/// Canonical path of an existing descriptor. ExitCode::Descriptor ("Can't resolve X: ...") when there is
/// none.
Result<std::string> resolve(const std::string& path);

/// Reads and parses without a lock. The file must be a regular one. ExitCode::Descriptor when it can't be
/// found or read, ExitCode::Lock when it can't be understood.
Result<Disk> load(const std::string& path);

/// Replaces or creates the file: temporary file, fsync, rename, fsync of the directory. Logs "Storing PATH".
/// A disk of the old format is converted first. The disk is validated; an inconsistent one is never written.
/// ExitCode::Descriptor, ExitCode::Fsync, ExitCode::Rename... Owner and mode are those of the file that is
/// there, or of `like`, for a descriptor that is to take its place; nobody but the owner may write to a new
/// one.
Status store(Disk& disk, const std::string& path, const std::string& like = "");

/// A descriptor read under its lock; the lock lives as long as this.
struct Locked {
  DescriptorLock lock;
  std::string path;  ///< canonical
  Disk disk;
};

/// Resolves, locks, then reads: what every modifying command, mount, umount and check begin with.
Result<Locked> lock_and_load(const std::string& path, const LockOptions& options = {});

}  // namespace ploop::descriptor
