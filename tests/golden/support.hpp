// What the golden, sample and qemu tests share: a folder that goes away, unpacking, hashes.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string>

#include "base/result.hpp"
#include "image/stack.hpp"
#include "io/block_file.hpp"

namespace ploop::golden {

/// A folder below the system's temporary one; removed with everything in it.
class TemporaryDirectory {
 public:
  TemporaryDirectory();
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
  ~TemporaryDirectory();
  [[nodiscard]] std::string file(const std::string& name) const { return path_ / name; }

 private:
  std::filesystem::path path_;
};

/// Unpacks FILE.xz or FILE.bz2 to `target` with the program of that name. ExitCode::System when there is
/// none.
Status unpack(const std::string& packed, const std::string& target);

/// The file of a path, read-only or writable.
Result<std::unique_ptr<io::BlockFile>> open_path(const std::string& path, bool writable);

/// Lower-case hexadecimal SHA-256.
std::string sha256(std::span<const std::byte> bytes);
Result<std::string> sha256_of_file(const std::string& path);
/// Of all guest bytes.
Result<std::string> sha256_of_guest(const image::Stack& stack);

}  // namespace ploop::golden
