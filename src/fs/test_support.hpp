// Scratch directory, sparse files and loop devices for this folder's tests, removed again whatever happens.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>

#include "base/random.hpp"
#include "base/subprocess.hpp"
#include "base/text.hpp"

namespace ploop::fs {

class ScratchDirectory {
 public:
  ScratchDirectory() : path_(std::filesystem::temp_directory_path() / ("ploop-fs-" + random_name(10))) {
    std::filesystem::create_directory(path_);
  }
  ScratchDirectory(const ScratchDirectory&) = delete;
  ScratchDirectory& operator=(const ScratchDirectory&) = delete;
  ~ScratchDirectory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  [[nodiscard]] std::string path(const std::string& name = {}) const {
    return name.empty() ? path_.string() : (path_ / name).string();
  }
  /// A sparse file of zeros.
  [[nodiscard]] std::string sparse_file(const std::string& name, std::uint64_t bytes) const {
    std::ofstream(path(name)).flush();
    std::filesystem::resize_file(path(name), bytes);
    return path(name);
  }

 private:
  std::filesystem::path path_;
};

/// A loop device that may have partitions over a file.
class LoopDevice {
 public:
  explicit LoopDevice(const std::string& file) {
    const auto output = run_checked({"losetup", "-f", "--show", "-P", file}, ExitCode::Device);
    if (output) path_ = std::string(trim(*output));
  }
  LoopDevice(const LoopDevice&) = delete;
  LoopDevice& operator=(const LoopDevice&) = delete;
  ~LoopDevice() {
    if (valid()) ignore(run_checked({"losetup", "-d", path_}, ExitCode::Device), "nothing more can be done");
  }
  [[nodiscard]] bool valid() const { return !path_.empty(); }
  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  std::string path_;
};

}  // namespace ploop::fs
