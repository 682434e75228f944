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

Result<control::AttachSpec> receive_order(Channel& guardian) {
  const Message message = TRY(guardian.wait(kOrderTimeoutMs));
  if (message.name != "serve") return fail(ExitCode::Protocol, "Unexpected order " + message.name);
  return control::decode_attach_spec(message.body);
}

/// The parts of a worker, in the order of their making; destroyed in reverse.
struct Parts {
  std::unique_ptr<io::UringRing> ring;
  std::unique_ptr<LiveMap> map;
  std::unique_ptr<engine::Device> device;
  std::unique_ptr<transport::Transport> transport;
  std::unique_ptr<Service> service;
};

Result<Parts> build(const control::AttachSpec& spec, Channel& guardian, Fd control_socket, control::DeviceState& state) {
  Parts parts;
  parts.ring = TRY(io::UringRing::create(kRingDepth));
  std::vector<image::Delta> deltas = TRY(open_images(spec));
  parts.map = std::make_unique<LiveMap>(TRY(LiveMap::create(kMapFd, engine::Device::map_bytes(deltas))));
  state.version = deltas.back().header().version == format::Version::V1 ? 1 : 2;

  engine::DeviceConfig config;
  config.deltas = std::move(deltas);
  config.writable = !spec.read_only;
  config.overlay = spec.merging;
  config.map_memory = parts.map->memory();
  config.on_no_space = spec.on_enospc == control::OnEnospc::Fail ? engine::OnNoSpace::Fail : engine::OnNoSpace::Pause;
  parts.device = TRY(engine::Device::open(*parts.ring, std::move(config)));

  const auto cluster_bytes = static_cast<std::uint32_t>(parts.device->cluster_bytes());
  transport::fuse::PumpOptions options;
  // With data below, discarding a part of a cluster frees nothing but would have to be remembered.
  options.discard_granularity = parts.device->levels() == 1 ? kSingleGranularity : cluster_bytes;
  parts.transport = TRY(transport::fuse::Pump::create(*parts.ring, *parts.device, kFuseFd, options));
  TRY(parts.transport->greet());
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
  const Result<control::AttachSpec> spec = receive_order(guardian);
  if (!spec) {
    ignore(guardian.send("error", control::encode_error_object(spec.error())), "nobody to tell");
    return 1;
  }
  control::DeviceState state;
  Result<Parts> parts = build(*spec, guardian, std::move(control_socket), state);
  if (!parts) {
    ignore(guardian.send("error", control::encode_error_object(parts.error())), "nobody to tell");
    return 1;
  }
  lock_memory();
  if (!guardian.send("ready", control::encode_device_state(state))) return 1;
  return serve(*parts) ? 0 : 1;
}

}  // namespace ploop::daemon
