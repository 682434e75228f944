// The /dev/fuse pump: one thread reads requests without blocking and runs each in an endless coroutine, one
// per tag, with the engine's ring underneath. See docs/design.md, sections 1 and 4.7.
//
// A request that the kernel delivers again after a worker died (bit 63 of `unique`) is served like any other
// and answered with `unique` exactly as received.
#pragma once

#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "base/result.hpp"
#include "engine/device.hpp"
#include "io/uring_ring.hpp"
#include "transport/fuse/message.hpp"
#include "transport/request_memory.hpp"
#include "transport/transport.hpp"

namespace ploop::transport::fuse {

struct PumpOptions {
  // 8 MiB of buffers: half of what a device may cost. Larger transfers were not measurably faster, fewer tags
  // were slower.
  unsigned tags = 64;                       ///< requests in progress at a time
  std::uint32_t max_transfer = 128 * 1024;  ///< most bytes of one read or write; a multiple of 4096
  std::uint32_t discard_granularity = 4096;
};

class Pump final : public Transport {
 public:
  /// `fd` is /dev/fuse (or, in tests, a packet socket), non-blocking, owned by the caller. Memory for
  /// requests is allocated, populated and locked here and never again. ExitCode::Malloc.
  static Result<std::unique_ptr<Pump>> create(io::UringRing& ring, engine::Device& device, int fd,
                                              const PumpOptions& options);
  ~Pump() override;
  Pump(const Pump&) = delete;
  Pump& operator=(const Pump&) = delete;

  Status greet() override;
  Status take_over() override;
  [[nodiscard]] TransportInfo info() const override { return {"fuse", can_resend_}; }
  Status run() override;
  bool retire() override {
    retiring_ = true;
    return true;
  }
  void stay() override { retiring_ = false; }
  [[nodiscard]] bool retired() const override { return retiring_ && !gone_; }
  void size_changed() override { limits_.device_bytes = device_.size_bytes(); }

 private:
  struct Tag;
  struct TagTask;
  struct Watch : io::Completion {
    bool armed = false;  ///< a poll for the next message is in the ring
  };
  struct NextMessage;
  Pump(io::UringRing& ring, engine::Device& device, int fd, const PumpOptions& options);

  static TagTask serve(Pump& pump, Tag& tag);
  bool drain();
  void answer_small(Tag& tag, const Decoded& d);
  void reply(Tag& tag, std::uint64_t unique, int error, std::size_t bytes);
  void send(const void* message, std::size_t bytes);
  void watch();

  io::UringRing& ring_;
  engine::Device& device_;
  int fd_;
  PumpOptions options_;
  Limits limits_;
  RequestMemory memory_;  ///< all tags' messages
  std::vector<Tag> tags_;
  Tag* free_ = nullptr;  ///< last used first: its memory is in the cache
  unsigned busy_ = 0;
  bool retiring_ = false;  ///< nothing more is read
  bool gone_ = false;      ///< the kernel has closed the connection
  int broken_ = 0;         ///< errno of an unexpected failure
  bool can_resend_ = false;
  Watch watch_;
};

}  // namespace ploop::transport::fuse
