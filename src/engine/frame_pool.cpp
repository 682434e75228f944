#include "engine/frame_pool.hpp"

#include <new>

namespace ploop::engine {

void* FramePool::allocate(std::size_t size) {
  std::size_t size_class = 0;
  while (size_class < kClasses && (kSmallest << size_class) < size)
    ++size_class;
  if (size_class == kClasses) throw std::bad_alloc();
  if (free_[size_class] == nullptr) {
    constexpr std::size_t kPerChunk = 16;
    const std::size_t stride = sizeof(Prefix) + (kSmallest << size_class);
    chunks_.push_back(std::make_unique<std::byte[]>(stride * kPerChunk));
    for (std::size_t i = 0; i < kPerChunk; ++i) {
      free_[size_class] = new (chunks_.back().get() + i * stride) Prefix{this, free_[size_class], size_class};
    }
  }
  Prefix* p = free_[size_class];
  free_[size_class] = p->next;
  return p + 1;
}

void FramePool::release(void* frame) {
  Prefix* p = static_cast<Prefix*>(frame) - 1;
  p->next = p->pool->free_[p->size_class];
  p->pool->free_[p->size_class] = p;
}

}  // namespace ploop::engine
