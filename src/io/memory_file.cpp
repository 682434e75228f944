// The sparse in-memory file: a map of 4 KiB pages.
#include "io/memory_file.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>
#include <vector>

#include "base/units.hpp"

namespace ploop::io {

namespace {

constexpr std::uint64_t kPage = MemoryFile::kPageBytes;
/// As on a file system with 63-bit offsets.
constexpr std::uint64_t kMaxSize = std::uint64_t{1} << 62;

bool outside(std::uint64_t offset, std::uint64_t length) {
  return offset > kMaxSize || length > kMaxSize - offset;
}

/// Calls f(page number, offset in page, bytes, bytes before) for each page of a range.
template <typename F>
void for_each_page(std::uint64_t offset, std::uint64_t length, F f) {
  for (std::uint64_t done = 0; done < length;) {
    const std::uint64_t in_page = (offset + done) % kPage;
    const std::uint64_t part = std::min(kPage - in_page, length - done);
    f((offset + done) / kPage, in_page, part, done);
    done += part;
  }
}

}  // namespace

MemoryFile::MemoryFile(std::string name, const MemoryFileOptions& options)
    : name_(std::move(name)), options_(options) {}

MemoryFile::MemoryFile(const MemoryFile& other)
    : BlockFile(), name_(other.name_), options_(other.options_), size_(other.size_) {
  for (const auto& [number, page] : other.pages_) {
    pages_.emplace_hint(pages_.end(), number, page ? std::make_unique<Page>(*page) : nullptr);
  }
}

std::int64_t MemoryFile::read(std::span<std::byte> data, std::uint64_t offset) {
  if (outside(offset, data.size())) return -EINVAL;
  if (offset >= size_) return 0;
  const std::uint64_t length = std::min<std::uint64_t>(data.size(), size_ - offset);
  for_each_page(offset, length,
                [&](std::uint64_t number, std::uint64_t in_page, std::uint64_t part, std::uint64_t done) {
                  const auto it = pages_.find(number);
                  if (it == pages_.end() || !it->second) {
                    std::memset(data.data() + done, 0, part);
                  } else {
                    std::memcpy(data.data() + done, it->second->data() + in_page, part);
                  }
                });
  return static_cast<std::int64_t>(length);
}

bool MemoryFile::room_for_pages(std::uint64_t offset, std::uint64_t length) const {
  if (options_.capacity == ~std::uint64_t{0}) return true;
  std::uint64_t extra = 0;
  for_each_page(offset, length, [&](std::uint64_t number, std::uint64_t, std::uint64_t, std::uint64_t) {
    if (!pages_.contains(number)) ++extra;
  });
  return extra == 0 || (pages_.size() + extra) * kPage <= options_.capacity;
}

std::int64_t MemoryFile::write(std::span<const std::byte> data, std::uint64_t offset) {
  if (outside(offset, data.size())) return -EFBIG;
  if (!room_for_pages(offset, data.size())) return -ENOSPC;
  for_each_page(offset, data.size(),
                [&](std::uint64_t number, std::uint64_t in_page, std::uint64_t part, std::uint64_t done) {
                  auto& page = pages_[number];
                  if (!page) {
                    page = std::make_unique<Page>();
                    page->fill(std::byte{0});
                  }
                  std::memcpy(page->data() + in_page, data.data() + done, part);
                });
  size_ = std::max(size_, offset + data.size());
  return static_cast<std::int64_t>(data.size());
}

int MemoryFile::sync() {
  ++sync_count_;
  return 0;
}

int MemoryFile::truncate(std::uint64_t size) {
  if (size > kMaxSize) return -EFBIG;
  if (size < size_) zero(size, kMaxSize - size);
  size_ = size;
  return 0;
}

int MemoryFile::allocate(std::uint64_t offset, std::uint64_t length) {
  if (!options_.can_allocate) return -EOPNOTSUPP;
  if (length == 0) return -EINVAL;
  if (outside(offset, length)) return -EFBIG;
  if (!room_for_pages(offset, length)) return -ENOSPC;
  for_each_page(offset, length,
                [&](std::uint64_t number, std::uint64_t, std::uint64_t, std::uint64_t) { pages_[number]; });
  size_ = std::max(size_, offset + length);
  return 0;
}

void MemoryFile::zero(std::uint64_t offset, std::uint64_t length) {
  const std::uint64_t end = offset + length;
  for (auto it = pages_.lower_bound(offset / kPage); it != pages_.end() && it->first * kPage < end;) {
    const std::uint64_t page_start = it->first * kPage;
    const std::uint64_t from = std::max(offset, page_start);
    const std::uint64_t to = std::min(end, page_start + kPage);
    if (to - from == kPage) {
      it = pages_.erase(it);
      continue;
    }
    if (it->second) std::memset(it->second->data() + (from - page_start), 0, to - from);
    ++it;
  }
}

int MemoryFile::punch(std::uint64_t offset, std::uint64_t length) {
  if (!options_.can_punch) return -EOPNOTSUPP;
  if (length == 0) return -EINVAL;
  if (outside(offset, length)) return -EFBIG;
  zero(offset, length);
  return 0;
}

int MemoryFile::clone(BlockFile& source, std::uint64_t source_offset, std::uint64_t offset,
                      std::uint64_t length) {
  if (!options_.can_clone) return -EOPNOTSUPP;
  const std::int64_t source_size = source.size();
  if (source_size < 0) return static_cast<int>(source_size);
  if (outside(offset, length) || outside(source_offset, length)) return -EINVAL;
  const std::uint64_t source_end = source_offset + length;
  const bool ends_at_eof = source_end == static_cast<std::uint64_t>(source_size);
  if (length == 0 || source_end > static_cast<std::uint64_t>(source_size) || source_offset % kPage != 0 ||
      offset % kPage != 0 || (length % kPage != 0 && !(ends_at_eof && offset + length >= size_))) {
    return -EINVAL;
  }
  if (!room_for_pages(offset, length)) return -ENOSPC;
  std::vector<std::byte> copy(length);
  const std::int64_t got = source.read(copy, source_offset);
  if (got < 0) return static_cast<int>(got);
  zero(offset, round_up(length, kPage));
  for_each_page(offset, length,
                [&](std::uint64_t number, std::uint64_t, std::uint64_t part, std::uint64_t done) {
                  const auto from = copy.begin() + static_cast<std::ptrdiff_t>(done);
                  const auto to = from + static_cast<std::ptrdiff_t>(part);
                  if (std::all_of(from, to, [](std::byte b) { return b == std::byte{0}; }))
                    return;  // a hole stays a hole
                  auto page = std::make_unique<Page>();
                  page->fill(std::byte{0});
                  std::copy(from, to, page->begin());
                  pages_[number] = std::move(page);
                });
  size_ = std::max(size_, offset + length);
  return 0;
}

std::int64_t MemoryFile::size() {
  return static_cast<std::int64_t>(size_);
}

bool MemoryFile::allocated(std::uint64_t offset, std::uint64_t length) const {
  const auto it = pages_.lower_bound(offset / kPage);
  return it != pages_.end() && it->first * kPage < offset + length;
}

}  // namespace ploop::io
