// The memory in which a pump keeps its requests: taken once, in memory from the first byte on, and never
// given to swap, because the device may be where the kernel wants to write pages in order to free some.
#pragma once

#include <cstddef>
#include <utility>

#include "base/result.hpp"

namespace ploop::transport {

class RequestMemory {
 public:
  /// Page-aligned, populated and, where the limits allow it, locked. ExitCode::Malloc.
  static Result<RequestMemory> take(std::size_t bytes);
  RequestMemory() = default;
  RequestMemory(RequestMemory&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), size_(other.size_) {}
  RequestMemory& operator=(RequestMemory&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
  }
  ~RequestMemory();
  [[nodiscard]] std::byte* data() const { return data_; }

 private:
  std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace ploop::transport
