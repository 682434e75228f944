// A mount without a mount point: no namespace sees it, no name is left behind, and it ends with the process,
// however that ends. For short, internal uses of a disk's file system.
#pragma once

#include <string>

#include "base/fd.hpp"
#include "base/result.hpp"

namespace ploop::fs {

/// Mount options with which a read-only mount leaves the device alone: a journal that would need replaying is
/// not replayed.
std::string untouched_options(const std::string& type);

class DetachedMount {
 public:
  /// Mounts the block device's file system. `type` empty: detected. `options` as for mount -o, plain words
  /// and key=value. A damaged or unknown file system: ExitCode::Mount, with the kernel's reason.
  static Result<DetachedMount> create(const std::string& device, std::string type = {},
                                      const std::string& options = {}, bool read_only = false);
  /// Another mount of a file system that is mounted already, in whatever mount namespace. The kernel refuses,
  /// with EBUSY, another type or another read-only flag than it has. Says nothing.
  static Result<DetachedMount> join(const std::string& device, const std::string& type, bool read_only);
  DetachedMount(DetachedMount&&) noexcept = default;
  DetachedMount& operator=(DetachedMount&&) = delete;
  ~DetachedMount() = default;  ///< unmounts; descriptors of files in it must be closed before

  /// A path for the root of the file system, good in this process and, when handed over as descriptor, only
  /// there.
  [[nodiscard]] std::string directory() const;
  /// For openat(2), fstatfs(2), ioctl(2).
  [[nodiscard]] int fd() const { return root_.get(); }
  [[nodiscard]] const Fd& root() const { return root_; }
  [[nodiscard]] const std::string& type() const { return type_; }
  /// Writes everything back and unmounts. ExitCode::Fsync when something could not be written.
  Status close();

 private:
  static Result<DetachedMount> make(const std::string& device, std::string type, const std::string& options,
                                    bool read_only);
  DetachedMount(Fd root, std::string device, std::string type);
  Fd root_;  ///< a directory opened for reading in the mount; the last descriptor ends the mount
  std::string device_;
  std::string type_;
};

}  // namespace ploop::fs
