// Page-aligned memory for direct I/O.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdlib>
#include <memory>
#include <new>
#include <span>

#include "base/units.hpp"

namespace ploop {

inline constexpr std::size_t kPageSize = 4096;

/// Zero-filled, page-aligned bytes. Throws std::bad_alloc.
class AlignedBuffer {
 public:
  AlignedBuffer() = default;
  explicit AlignedBuffer(std::size_t size)
      : data_(static_cast<std::byte*>(
            std::aligned_alloc(kPageSize, round_up(size == 0 ? 1 : size, kPageSize)))),
        size_(size) {
    if (!data_) throw std::bad_alloc();
    std::fill_n(data_.get(), size, std::byte{0});
  }
  [[nodiscard]] std::byte* data() { return data_.get(); }
  [[nodiscard]] const std::byte* data() const { return data_.get(); }
  [[nodiscard]] std::size_t size() const { return size_; }
  [[nodiscard]] std::span<std::byte> span() { return {data_.get(), size_}; }
  [[nodiscard]] std::span<const std::byte> span() const { return {data_.get(), size_}; }

 private:
  struct Free {
    void operator()(std::byte* p) const { std::free(p); }
  };
  std::unique_ptr<std::byte[], Free> data_;
  std::size_t size_ = 0;
};

}  // namespace ploop
