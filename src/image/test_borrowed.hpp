// A file that somebody else owns: a delta wants to own its file, and a test wants to see what became of it.
#pragma once

#include "io/block_file.hpp"

namespace ploop::image::testing {

class Borrowed final : public io::BlockFile {
 public:
  explicit Borrowed(io::BlockFile& file) : file_(file) {}
  std::int64_t read(std::span<std::byte> data, std::uint64_t offset) override { return file_.read(data, offset); }
  std::int64_t write(std::span<const std::byte> data, std::uint64_t offset) override { return file_.write(data, offset); }
  int sync() override { return file_.sync(); }
  int truncate(std::uint64_t size) override { return file_.truncate(size); }
  int allocate(std::uint64_t offset, std::uint64_t length) override { return file_.allocate(offset, length); }
  int punch(std::uint64_t offset, std::uint64_t length) override { return file_.punch(offset, length); }
  int clone(io::BlockFile& source, std::uint64_t from, std::uint64_t offset, std::uint64_t length) override {
    return file_.clone(source, from, offset, length);
  }
  std::int64_t size() override { return file_.size(); }
  [[nodiscard]] const std::string& name() const override { return file_.name(); }

 private:
  io::BlockFile& file_;
};

}  // namespace ploop::image::testing
