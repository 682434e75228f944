// Copy-on-write file content.
#include "content.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string_view>

namespace ploop::crash {

namespace {

constexpr std::uint64_t kPage = Content::kPage;

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

std::uint64_t mix(std::uint64_t v) {
  v ^= v >> 32;
  v *= 0xD6E8FEB86659FD93U;
  v ^= v >> 32;
  v *= 0xD6E8FEB86659FD93U;
  return v ^ (v >> 32);
}

}  // namespace

Content::Page& Content::writable_page(std::uint64_t number) {
  if (number >= pages_.size()) pages_.resize(number + 1);
  auto& page = pages_[number];
  if (!page) {
    page = std::make_shared<Page>();
    page->bytes.fill(std::byte{0});
  } else if (page.use_count() > 1) {
    page = std::make_shared<Page>(*page);
  }
  page->hashed = false;
  return *page;
}

void Content::cut(std::uint64_t size) {
  const std::uint64_t whole = (size + kPage - 1) / kPage;
  if (pages_.size() > whole) pages_.resize(whole);
  if (size % kPage != 0 && pages_.size() == whole && pages_.back()) {
    Page& page = writable_page(whole - 1);
    std::memset(page.bytes.data() + size % kPage, 0, kPage - size % kPage);
  }
}

void Content::set_size(std::uint64_t size) {
  if (size < size_) cut(size);
  size_ = size;
}

void Content::read(std::span<std::byte> data, std::uint64_t offset) const {
  for_each_page(offset, data.size(),
                [&](std::uint64_t number, std::uint64_t in_page, std::uint64_t part, std::uint64_t done) {
                  if (number < pages_.size() && pages_[number]) {
                    std::memcpy(data.data() + done, pages_[number]->bytes.data() + in_page, part);
                  } else {
                    std::memset(data.data() + done, 0, part);
                  }
                });
}

void Content::write(std::span<const std::byte> data, std::uint64_t offset) {
  for_each_page(offset, data.size(),
                [&](std::uint64_t number, std::uint64_t in_page, std::uint64_t part, std::uint64_t done) {
                  std::memcpy(writable_page(number).bytes.data() + in_page, data.data() + done, part);
                });
}

void Content::fill(std::byte value, std::uint64_t offset, std::uint64_t length) {
  for_each_page(offset, length,
                [&](std::uint64_t number, std::uint64_t in_page, std::uint64_t part, std::uint64_t) {
                  if (value == std::byte{0}) {
                    if (number >= pages_.size() || !pages_[number]) return;
                    if (part == kPage) {
                      pages_[number].reset();
                      return;
                    }
                  }
                  std::memset(writable_page(number).bytes.data() + in_page, static_cast<int>(value), part);
                });
}

const std::byte* Content::sector(std::uint64_t offset) const {
  static constexpr std::array<std::byte, 512> kZeros{};
  const std::uint64_t number = offset / kPage;
  if (number >= pages_.size() || !pages_[number]) return kZeros.data();
  return pages_[number]->bytes.data() + offset % kPage;
}

std::uint64_t Content::hash() const {
  static const Page zeros{};
  std::uint64_t sum = mix(size_);
  for (std::uint64_t i = 0; i < pages_.size(); ++i) {
    Page* const page = pages_[i].get();
    if (page == nullptr) continue;
    if (!page->hashed) {
      const std::string_view text(reinterpret_cast<const char*>(page->bytes.data()), kPage);
      // A page of zeros is the same content as no page.
      page->hash = page->bytes == zeros.bytes ? 0 : std::hash<std::string_view>{}(text) | 1;
      page->hashed = true;
    }
    if (page->hash != 0) sum += mix(page->hash + i * 0x9E3779B97F4A7C15U);
  }
  return sum;
}

std::int64_t ContentFile::read(std::span<std::byte> data, std::uint64_t offset) {
  if (offset >= content_.size()) return 0;
  const auto length =
      static_cast<std::size_t>(std::min<std::uint64_t>(data.size(), content_.size() - offset));
  content_.read(data.first(length), offset);
  return static_cast<std::int64_t>(length);
}

std::int64_t ContentFile::write(std::span<const std::byte> data, std::uint64_t offset) {
  content_.write(data, offset);
  content_.set_size(std::max(content_.size(), offset + data.size()));
  return static_cast<std::int64_t>(data.size());
}

int ContentFile::truncate(std::uint64_t size) {
  content_.set_size(size);
  return 0;
}

int ContentFile::allocate(std::uint64_t offset, std::uint64_t length) {
  content_.set_size(std::max(content_.size(), offset + length));
  return 0;
}

int ContentFile::punch(std::uint64_t offset, std::uint64_t length) {
  if (offset < content_.size())
    content_.fill(std::byte{0}, offset, std::min(length, content_.size() - offset));
  return 0;
}

int ContentFile::clone(io::BlockFile& source, std::uint64_t source_offset, std::uint64_t offset,
                       std::uint64_t length) {
  if (!can_clone_) return -EOPNOTSUPP;
  std::vector<std::byte> copy(length);
  const std::int64_t got = source.read(copy, source_offset);
  if (got != static_cast<std::int64_t>(length) || offset % kPage != 0 || source_offset % kPage != 0 ||
      length % kPage != 0) {
    return -EINVAL;
  }
  return write(copy, offset) < 0 ? -EIO : 0;
}

}  // namespace ploop::crash
