// Memory for coroutine frames of one device: blocks of a few sizes, kept in free lists, returned to the
// system only with the pool. After warm-up no request allocates. Frames that are still suspended when the
// device is dropped go with the pool, unrun; they hold nothing but plain values.
#pragma once

#include <array>
#include <cstddef>
#include <memory>
#include <vector>

namespace ploop::engine {

class FramePool {
 public:
  FramePool() = default;
  FramePool(const FramePool&) = delete;
  FramePool& operator=(const FramePool&) = delete;

  void* allocate(std::size_t size);
  /// Takes back what allocate() of any pool gave.
  static void release(void* frame);

 private:
  struct alignas(std::max_align_t) Prefix {
    FramePool* pool;
    Prefix* next;
    std::size_t size_class;
  };
  static constexpr std::size_t kSmallest = 256;
  static constexpr std::size_t kClasses = 6;  // 256 .. 8192
  std::array<Prefix*, kClasses> free_{};
  std::vector<std::unique_ptr<std::byte[]>> chunks_;
};

}  // namespace ploop::engine
