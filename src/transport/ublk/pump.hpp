// The ublk pump: every tag of every hardware queue is an endless coroutine that fetches a request, runs it
// and commits its result. One command does both, the result and the wish for the next request, so a request
// costs one entry in the ring.
//
// Requests that a predecessor had not committed when it was killed are sent again by the kernel as new ones.
#pragma once

#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "base/fd.hpp"
#include "base/result.hpp"
#include "engine/device.hpp"
#include "io/uring_ring.hpp"
#include "transport/request_memory.hpp"
#include "transport/transport.hpp"
#include "transport/ublk/data_path.hpp"
#include "transport/ublk/message.hpp"

namespace ploop::transport::ublk {

/// Most tags of a device, all queues together. A ring for zero copy has room for that many buffers.
inline constexpr unsigned kMostTags = 64;

/// The shape of a device as the kernel made it.
struct Geometry {
  std::uint16_t queues = 1;
  std::uint16_t depth = 1;         ///< tags of each queue
  std::uint32_t max_transfer = 0;  ///< bytes of a tag's memory
  DataPath path = DataPath::Copy;
  bool can_resize = false;
  bool operator==(const Geometry&) const = default;
};

/// What the pump needs of the kernel, so that tests can play it.
class Server {
 public:
  virtual ~Server() = default;
  /// Starts a command; `done` gets the driver's result: 0 for a request, -ENODEV for the end, -errno.
  /// `buffer` is what auto_buffer() gave, or 0.
  virtual void submit(std::uint32_t opcode, const IoBody& body, std::uint64_t buffer,
                      io::Completion* done) = 0;
  /// Hands submitted commands over. False: they were refused.
  virtual bool push() = 0;
  /// The request that a tag has fetched.
  [[nodiscard]] virtual IoDesc request(unsigned queue, unsigned tag) const = 0;
  /// User copy and zero copy: the data of a write into memory, that of a read out of it. False: it failed.
  virtual bool copy_in(unsigned queue, unsigned tag, std::span<std::byte> data) = 0;
  virtual bool copy_out(unsigned queue, unsigned tag, std::span<const std::byte> data) = 0;
};

/// The real one. `fd` is /dev/ublkcN, owned by the caller; its descriptors are mapped here. ExitCode::Device.
Result<std::unique_ptr<Server>> open_server(io::UringRing& ring, int fd, const Geometry& geometry);

class Pump final : public Transport {
 public:
  /// Memory for requests is allocated, populated and locked here and never again. ExitCode::Malloc.
  static Result<std::unique_ptr<Pump>> create(io::Ring& ring, engine::Device& device,
                                              std::unique_ptr<Server> server, const Geometry& geometry);
  ~Pump() override;
  Pump(const Pump&) = delete;
  Pump& operator=(const Pump&) = delete;

  /// Fetches for all tags. The kernel starts the device when it has them all.
  Status greet() override;
  Status take_over() override { return greet(); }
  [[nodiscard]] TransportInfo info() const override { return {"ublk", true, geometry_.can_resize}; }
  Status run() override;
  void size_changed() override { limits_.device_bytes = device_.size_bytes(); }

 private:
  struct Tag;
  struct TagTask;
  struct Fetch;
  Pump(io::Ring& ring, engine::Device& device, std::unique_ptr<Server> server, const Geometry& geometry);

  static TagTask serve(Pump& pump, Tag& tag);
  [[nodiscard]] bool tag_has_buffer(const Tag& tag, const Decoded& decoded) const;
  void ended(int result);

  io::Ring& ring_;
  engine::Device& device_;
  std::unique_ptr<Server> server_;
  Geometry geometry_;
  Limits limits_;
  RequestMemory memory_;  ///< all tags' data
  std::vector<Tag> tags_;
  unsigned live_ = 0;       ///< tags whose command the kernel has, or that run a request
  unsigned executing_ = 0;  ///< requests that the engine has
  int broken_ = 0;          ///< -errno of an unexpected answer
};

}  // namespace ploop::transport::ublk
