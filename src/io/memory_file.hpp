// A file in memory: sparse, counts the space it occupies, and behaves as a file on disk does at its edges
// (holes, preallocated space, alignment of reflinks). For tests, for the simulators, and the content behind
// RecordingFile.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>

#include "io/block_file.hpp"

namespace ploop::io {

/// What the simulated file system can do, and how large a file may become.
struct MemoryFileOptions {
  bool can_clone = false;                      ///< false: clone() gives -EOPNOTSUPP
  bool can_punch = true;                       ///< false: punch() gives -EOPNOTSUPP
  bool can_allocate = true;                    ///< false: allocate() gives -EOPNOTSUPP
  std::uint64_t capacity = ~std::uint64_t{0};  ///< most allocated bytes; beyond it -ENOSPC
};

class MemoryFile final : public BlockFile {
 public:
  static constexpr std::uint64_t kPageBytes = 4096;

  explicit MemoryFile(std::string name, const MemoryFileOptions& options = {});
  /// A second file with the same content and options.
  MemoryFile(const MemoryFile& other);
  MemoryFile& operator=(const MemoryFile&) = delete;

  std::int64_t read(std::span<std::byte> data, std::uint64_t offset) override;
  std::int64_t write(std::span<const std::byte> data, std::uint64_t offset) override;
  int sync() override;
  int truncate(std::uint64_t size) override;
  int allocate(std::uint64_t offset, std::uint64_t length) override;
  int punch(std::uint64_t offset, std::uint64_t length) override;
  int clone(BlockFile& source, std::uint64_t source_offset, std::uint64_t offset,
            std::uint64_t length) override;
  std::int64_t size() override;
  [[nodiscard]] const std::string& name() const override { return name_; }

  /// Bytes of pages that hold data or are preallocated.
  [[nodiscard]] std::uint64_t allocated_bytes() const { return pages_.size() * kPageBytes; }
  /// True when any byte of the range occupies space.
  [[nodiscard]] bool allocated(std::uint64_t offset, std::uint64_t length) const;
  /// Calls of sync() so far.
  [[nodiscard]] std::uint64_t sync_count() const { return sync_count_; }
  [[nodiscard]] const MemoryFileOptions& options() const { return options_; }
  void set_options(const MemoryFileOptions& options) { options_ = options; }

 private:
  using Page = std::array<std::byte, kPageBytes>;
  bool room_for_pages(std::uint64_t offset, std::uint64_t length) const;
  void zero(std::uint64_t offset, std::uint64_t length);

  std::string name_;
  MemoryFileOptions options_;
  /// Page number to content; a null page is preallocated and reads as zeros.
  std::map<std::uint64_t, std::unique_ptr<Page>> pages_;
  std::uint64_t size_ = 0;
  std::uint64_t sync_count_ = 0;
};

}  // namespace ploop::io
