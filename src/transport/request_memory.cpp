#include "transport/request_memory.hpp"

#include <sys/mman.h>

#include "base/log.hpp"

namespace ploop::transport {

Result<RequestMemory> RequestMemory::take(std::size_t bytes) {
  void* memory =
      ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  if (memory == MAP_FAILED) return fail_errno(ExitCode::Malloc, "memory for requests");
  if (::mlock(memory, bytes) != 0) log(LogLevel::Detail, "Can't lock the memory for requests");
  RequestMemory taken;
  taken.data_ = static_cast<std::byte*>(memory);
  taken.size_ = bytes;
  return taken;
}

RequestMemory::~RequestMemory() {
  if (data_ != nullptr) ::munmap(data_, size_);
}

}  // namespace ploop::transport
