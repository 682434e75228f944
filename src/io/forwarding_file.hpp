// A file that passes every call on to another one. Tests use it to keep a file whose handle a delta owns, and
// to spoil single calls.
#pragma once

#include <concepts>

#include "io/block_file.hpp"

namespace ploop::io {

/// `inner` belongs to somebody else and must outlive it. Derived classes replace what they want to change. It
/// has no kernel descriptor of its own, so that no ring goes past it.
template <std::derived_from<BlockFile> Base = BlockFile>
class ForwardingFile : public Base {
 public:
  explicit ForwardingFile(BlockFile& inner) : inner_(inner) {}
  // One around a derived one would be a copy without what that one changes: pass it as a BlockFile.
  ForwardingFile(const ForwardingFile&) = delete;
  ForwardingFile& operator=(const ForwardingFile&) = delete;
  std::int64_t read(std::span<std::byte> data, std::uint64_t offset) override {
    return inner_.read(data, offset);
  }
  std::int64_t write(std::span<const std::byte> data, std::uint64_t offset) override {
    return inner_.write(data, offset);
  }
  int sync() override { return inner_.sync(); }
  int truncate(std::uint64_t size) override { return inner_.truncate(size); }
  int allocate(std::uint64_t offset, std::uint64_t length) override {
    return inner_.allocate(offset, length);
  }
  int punch(std::uint64_t offset, std::uint64_t length) override { return inner_.punch(offset, length); }
  int clone(BlockFile& source, std::uint64_t source_offset, std::uint64_t offset,
            std::uint64_t length) override {
    return inner_.clone(source, source_offset, offset, length);
  }
  std::int64_t size() override { return inner_.size(); }
  [[nodiscard]] const std::string& name() const override { return inner_.name(); }

 private:
  BlockFile& inner_;
};

}  // namespace ploop::io
