// An owned file descriptor and the few whole-file helpers everybody needs.
#pragma once

#include <sys/stat.h>

#include <cstddef>
#include <span>
#include <string>
#include <utility>

#include "base/result.hpp"

namespace ploop {

/// Owns one descriptor; closes it on destruction. Movable, not copyable.
class Fd {
 public:
  Fd() = default;
  explicit Fd(int fd) : fd_(fd) {}
  Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Fd& operator=(Fd&& other) noexcept {
    if (this != &other) {
      reset();
      fd_ = std::exchange(other.fd_, -1);
    }
    return *this;
  }
  Fd(const Fd&) = delete;
  Fd& operator=(const Fd&) = delete;
  ~Fd() { reset(); }

  [[nodiscard]] int get() const { return fd_; }
  [[nodiscard]] bool valid() const { return fd_ >= 0; }
  explicit operator bool() const { return valid(); }
  [[nodiscard]] int release() { return std::exchange(fd_, -1); }
  void reset();

 private:
  int fd_ = -1;
};

/// open(2) with O_CLOEXEC added; fails with `code` and "open PATH".
Result<Fd> open_file(const std::string& path, int flags, unsigned mode = 0, ExitCode code = ExitCode::Open);

/// fstat(2), by the system call of that name: newer C libraries ask by an empty path instead, and a process
/// that may not use paths must not even do that. 0, or -1 and errno.
int file_status(int fd, struct stat& status);

/// A duplicate with close-on-exec.
Result<Fd> duplicate(const Fd& fd);

/// The whole content, at most `limit` bytes; a larger file is an error (ExitCode::Read).
Result<std::string> read_file(const std::string& path, std::size_t limit);
Result<std::string> read_all(int fd, std::size_t limit, const std::string& name);

/// Writes everything, retrying short writes; ExitCode::Write on failure.
Status write_all(int fd, std::span<const std::byte> data, const std::string& name);
Status write_all(int fd, std::string_view data, const std::string& name);

/// Replaces the file atomically and durably: exclusive temporary file in the same directory, fsync, rename,
/// fsync of the directory. An existing file's owner and mode are kept; `mode` is for a new one. With `like`,
/// owner and mode are those of that file, for something that is to take its place.
Status write_file_atomic(const std::string& path, std::string_view data, unsigned mode,
                         const std::string& like = "");

/// fsync of the directory that holds `path`.
Status sync_parent_directory(const std::string& path);

}  // namespace ploop
