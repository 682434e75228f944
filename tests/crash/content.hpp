// The bytes of a small image file, cheap to copy: 4 KiB pages shared copy-on-write, each with its hash, so
// that thousands of crash states of one file cost little more than their differences.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "io/block_file.hpp"

namespace ploop::crash {

class Content {
 public:
  static constexpr std::uint64_t kPage = 4096;

  [[nodiscard]] std::uint64_t size() const { return size_; }
  /// Shrinking zeroes what is behind the new end.
  void set_size(std::uint64_t size);
  /// Zeros where nothing was written; the size is not looked at.
  void read(std::span<std::byte> data, std::uint64_t offset) const;
  /// Does not change the size: what lies behind it may become visible later.
  void write(std::span<const std::byte> data, std::uint64_t offset);
  void fill(std::byte value, std::uint64_t offset, std::uint64_t length);
  /// The 512 bytes at `offset`, a multiple of 512.
  [[nodiscard]] const std::byte* sector(std::uint64_t offset) const;
  /// Drops what lies behind the size.
  void clip() { cut(size_); }
  /// Of size and visible bytes.
  [[nodiscard]] std::uint64_t hash() const;

 private:
  struct Page {
    std::array<std::byte, kPage> bytes;
    std::uint64_t hash = 0;
    bool hashed = false;
  };
  Page& writable_page(std::uint64_t number);
  void cut(std::uint64_t size);

  std::vector<std::shared_ptr<Page>> pages_;  ///< null: zeros
  std::uint64_t size_ = 0;
};

/// A file with a content of its own; no alignment rules. Copying the content in and out is cheap.
class ContentFile final : public io::BlockFile {
 public:
  explicit ContentFile(Content content, bool can_clone = false, std::string name = "image")
      : content_(std::move(content)), can_clone_(can_clone), name_(std::move(name)) {}

  std::int64_t read(std::span<std::byte> data, std::uint64_t offset) override;
  std::int64_t write(std::span<const std::byte> data, std::uint64_t offset) override;
  int sync() override { return 0; }
  int truncate(std::uint64_t size) override;
  int allocate(std::uint64_t offset, std::uint64_t length) override;
  int punch(std::uint64_t offset, std::uint64_t length) override;
  int clone(io::BlockFile& source, std::uint64_t source_offset, std::uint64_t offset,
            std::uint64_t length) override;
  std::int64_t size() override { return static_cast<std::int64_t>(content_.size()); }
  [[nodiscard]] const std::string& name() const override { return name_; }

  [[nodiscard]] const Content& content() const { return content_; }

 private:
  Content content_;
  bool can_clone_;
  std::string name_;
};

}  // namespace ploop::crash
