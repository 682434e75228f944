// The top's image file of a running device, read beside the worker that writes it: direct I/O, so that what
// comes is what is in the file and not what the page cache remembers, and many pieces at a time, since random
// small ones are the rule under load.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "io/posix_file.hpp"
#include "io/uring_ring.hpp"

namespace ploop::ops {

class CopySource {
 public:
  /// A part of the file and where it goes: page-aligned memory.
  struct Part {
    std::uint64_t position = 0;  ///< a multiple of 4096
    std::uint64_t size = 0;
    std::byte* memory = nullptr;
  };

  /// Opens the file by its name and makes sure that it is the one that the device has open. ExitCode::Open.
  static Result<CopySource> open(const std::string& path, std::uint64_t device, std::uint64_t inode);

  /// Reads all parts side by side. ExitCode::Read, also when the file ends inside a part.
  Status read(std::span<const Part> parts);
  [[nodiscard]] const std::string& name() const { return file_->name(); }

 private:
  CopySource(std::unique_ptr<io::PosixFile> file, std::unique_ptr<io::UringRing> ring);
  Status read_tail(const Part& part);

  std::unique_ptr<io::PosixFile> file_;
  std::unique_ptr<io::UringRing> ring_;
};

}  // namespace ploop::ops
