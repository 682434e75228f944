#include "daemon/worker.hpp"

#include <unistd.h>

#include <memory>

#include "base/log.hpp"
#include "control/attach_spec.hpp"
#include "control/protocol.hpp"
#include "daemon/channel.hpp"
#include "daemon/images.hpp"
#include "daemon/live_map.hpp"
#include "daemon/safety.hpp"
#include "daemon/service.hpp"
#include "engine/device.hpp"
#include "io/uring_ring.hpp"
#include "transport/fuse/pump.hpp"

namespace ploop::daemon {
namespace {

constexpr unsigned kRingDepth = 256;
constexpr int kOrderTimeoutMs = 10'000;
/// Discards below this size are not worth a request; for a single image it is the host's page.
constexpr std::uint32_t kSingleGranularity = 4096;

struct Order {
  control::AttachSpec spec;
  bool take_over = false;  ///< a predecessor was killed; its map and the requests it had are ours now
};

Result<Order> receive_order(Channel& guardian) {
  const Message message = TRY(guardian.wait(kOrderTimeoutMs));
  if (message.name != "serve" && message.name != "take_over") return fail(ExitCode::Protocol, "Unexpected order " + message.name);
  return Order{TRY(control::decode_attach_spec(message.body)), message.name == "take_over"};
}

/// The parts of a worker, in the order of their making; destroyed in reverse.
struct Parts {
  std::unique_ptr<io::UringRing> ring;
  std::unique_ptr<LiveMap> map;
  std::unique_ptr<engine::Device> device;
  std::unique_ptr<transport::Transport> transport;
  std::unique_ptr<Service> service;
};

Result<Parts> build(const Order& order, Channel& guardian, Fd control_socket, control::DeviceState& state) {
  const control::AttachSpec& spec = order.spec;
  Parts parts;
  parts.ring = TRY(io::UringRing::create(kRingDepth));
  std::vector<image::Delta> deltas = TRY(order.take_over ? open_images_when_quiet(spec) : open_images(spec));
  const std::uint64_t map_bytes = engine::Device::map_bytes(deltas);
  parts.map = std::make_unique<LiveMap>(
      TRY(order.take_over ? LiveMap::adopt_or_create(kMapFd, map_bytes) : LiveMap::create(kMapFd, map_bytes)));
  state.version = deltas.back().header().version == format::Version::V1 ? 1 : 2;

  engine::DeviceConfig config;
  config.deltas = std::move(deltas);
  config.writable = !spec.read_only;
  config.overlay = spec.merging;
  config.map_memory = parts.map->memory();
  config.adopt_map = order.take_over;
  config.on_no_space = spec.on_enospc == control::OnEnospc::Fail ? engine::OnNoSpace::Fail : engine::OnNoSpace::Pause;
  parts.device = TRY(engine::Device::open(*parts.ring, std::move(config)));

  const auto cluster_bytes = static_cast<std::uint32_t>(parts.device->cluster_bytes());
  transport::fuse::PumpOptions options;
  // With data below, discarding a part of a cluster frees nothing but would have to be remembered.
  options.discard_granularity = parts.device->levels() == 1 ? kSingleGranularity : cluster_bytes;
  parts.transport = TRY(transport::fuse::Pump::create(*parts.ring, *parts.device, kFuseFd, options));
  TRY(order.take_over ? parts.transport->take_over() : parts.transport->greet());
  Operations::Parts working{*parts.ring, *parts.device, *parts.transport, *parts.map, guardian, spec};
  parts.service = TRY(Service::start(*parts.ring, *parts.device, guardian, std::move(control_socket), std::move(working)));

  state.size_sectors = parts.device->size_bytes() / kSectorSize;
  state.cluster_sectors = cluster_bytes / kSectorSize;
  state.can_resend = parts.transport->info().can_resend;
  return parts;
}

/// Serves until the kernel side is gone, then closes the images. True when both went well.
bool serve(Parts& parts) {
  const Status served = parts.transport->run();
  if (!served) log_error("{}", served.error().message());
  const Status closed = parts.device->close();
  if (!closed) log_error("closing the images: {}", closed.error().message());
  // The images are let go before anybody hears that the device is gone: the next command may lock them at once. The service
  // does not touch the device any more, since nothing runs the ring.
  parts.transport.reset();
  parts.device.reset();
  parts.service->finish(closed);
  return served.has_value() && closed.has_value();
}

}  // namespace

int run_worker() {
  protect_process();
  raise_limits();
  raise_priority();
  Channel guardian(Fd{kGuardianFd});
  Fd control_socket{kControlSocketFd};
  const Result<Order> order = receive_order(guardian);
  if (!order) {
    ignore(guardian.send("error", control::encode_error_object(order.error())), "nobody to tell");
    return 1;
  }
  control::DeviceState state;
  Result<Parts> parts = build(*order, guardian, std::move(control_socket), state);
  if (!parts) {
    ignore(guardian.send("error", control::encode_error_object(parts.error())), "nobody to tell");
    return 1;
  }
  lock_memory();
  if (!guardian.send("ready", control::encode_device_state(state))) return 1;
  return serve(*parts) ? 0 : 1;
}

}  // namespace ploop::daemon
