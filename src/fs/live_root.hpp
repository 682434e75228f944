// The file system that is mounted from a block device, reached by its root directory, wherever it is mounted:
// what a mount point leads to can be another file system that was mounted above it, a part of ours, or
// nothing that this mount namespace knows of.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <utility>

#include "base/fd.hpp"
#include "base/result.hpp"

namespace ploop::fs {

/// Holds the file system: it stays what it is, mounted, as long as this exists.
class LiveRoot {
 public:
  /// Of the block device `node` with this number; nothing when it is mounted nowhere. Uses a mount point of
  /// this mount namespace where one leads to the root; otherwise the kernel is asked for another mount of the
  /// same file system, without a mount point, so that no name of another namespace is followed. Never mounts
  /// what is not mounted. ExitCode::Mount, when it is mounted but can't be reached.
  static Result<std::optional<LiveRoot>> find(const std::string& node, dev_t number);

  /// The root directory, open for reading.
  [[nodiscard]] int fd() const { return fd_.get(); }
  /// A path for it, good in this process.
  [[nodiscard]] std::string directory() const;
  /// For messages: the mount point here, or the block device.
  [[nodiscard]] const std::string& name() const { return name_; }

 private:
  LiveRoot(Fd fd, std::string name, bool is_here)
      : fd_(std::move(fd)), name_(std::move(name)), is_here_(is_here) {}
  Fd fd_;
  std::string name_;
  bool is_here_;  ///< the name is a mount point that leads there
};

}  // namespace ploop::fs
