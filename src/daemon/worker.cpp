#include "daemon/worker.hpp"

#include <unistd.h>

#include <cstddef>
#include <memory>
#include <optional>

#include "base/log.hpp"
#include "control/attach_spec.hpp"
#include "control/json.hpp"
#include "control/protocol.hpp"
#include "daemon/channel.hpp"
#include "daemon/command_inbox.hpp"
#include "daemon/file_source.hpp"
#include "daemon/images.hpp"
#include "daemon/kernel_side.hpp"
#include "daemon/live_map.hpp"
#include "daemon/safety.hpp"
#include "daemon/sandbox.hpp"
#include "daemon/server_message.hpp"
#include "daemon/service.hpp"
#include "engine/device.hpp"
#include "io/uring_ring.hpp"
#include "transport/fuse/pump.hpp"
#include "transport/ublk/pump.hpp"

namespace ploop::daemon {
namespace {

constexpr unsigned kRingDepth = 256;
constexpr int kOrderTimeoutMs = 10'000;
/// The kernel may have to clean up after a dead worker before it takes another one.
constexpr int kServerTimeoutMs = 60'000;

struct Order {
  control::AttachSpec spec;
  bool resend = false;     ///< the kernel shall deliver again what the predecessor had
  bool take_over = false;  ///< a predecessor was killed; its map and the requests it had are ours now
  std::optional<std::size_t>
      lent;  ///< a level that the predecessor has lent to a command, which may be at work on it
};

Result<Order> receive_order(Channel& guardian) {
  Message message = TRY(guardian.wait(kOrderTimeoutMs));
  std::optional<std::size_t> lent;
  if (message.name == "lent") {  // what a dead worker had lent is said before the order
    lent = TRY(lent_level(message));
    message = TRY(guardian.wait(kOrderTimeoutMs));
  }
  const bool resend = message.name == "take_over";
  const bool take_over = resend || message.name == "adopt";
  if (message.name != "serve" && !take_over)
    return fail(ExitCode::Protocol, "Unexpected order " + message.name);
  return Order{TRY(control::decode_attach_spec(message.body)), resend, take_over, lent};
}

/// The parts of a worker, in the order of their making; destroyed in reverse.
struct Parts {
  std::unique_ptr<io::UringRing> ring;
  std::unique_ptr<CommandInbox> inbox;
  std::unique_ptr<FileSource> files;
  std::unique_ptr<LiveMap> map;
  std::unique_ptr<engine::Device> device;
  Fd ublk;  ///< what the transport serves on, when it came later than the worker
  std::unique_ptr<transport::Transport> transport;
  std::unique_ptr<Service> service;
  bool memory_unlimited = false;
};

/// What is left when the kernel's side ended before this worker could serve it: nothing to do but to close
/// the images.
class NoTransport final : public transport::Transport {
 public:
  Status greet() override { return {}; }
  Status take_over() override { return {}; }
  [[nodiscard]] transport::TransportInfo info() const override { return {"ublk", true, false}; }
  Status run() override { return {}; }
  void size_changed() override {}
};

/// The file to serve on comes from the keeper as soon as the kernel is ready for this worker.
Status reach_ublk(Parts& parts, const Order& order, Channel& guardian) {
  Message message = TRY(guardian.wait(kServerTimeoutMs));
  if (message.name == "released") {
    parts.transport = std::make_unique<NoTransport>();
    return {};
  }
  if (message.name != "server" || !message.descriptor)
    return fail(ExitCode::Protocol, "Unexpected message " + message.name);
  const transport::ublk::Geometry geometry = TRY(decode_server(message.body)).geometry;
  parts.ublk = std::move(message.descriptor);
  auto server = TRY(transport::ublk::open_server(*parts.ring, parts.ublk.get(), geometry));
  parts.transport =
      TRY(transport::ublk::Pump::create(*parts.ring, *parts.device, std::move(server), geometry));
  // Kernels that look for partitions while the disk starts hang for good if the worker dies meanwhile. For a
  // server without CAP_SYS_ADMIN, as this one is by now, they do not look.
  return order.take_over ? parts.transport->take_over() : parts.transport->greet();
}

/// Everything that needs a privilege or a thread, then the sandbox. No byte of an image has been read.
Result<Parts> confine(const control::AttachSpec& spec, Channel& guardian, Fd control_socket) {
  Parts parts;
  parts.ring = TRY(io::UringRing::create(kRingDepth, io::UringRing::Start::Disabled));
  parts.files = std::make_unique<GuardianFiles>(Channel(Fd{kFilesFd}));
  if (ublk_path(spec.transport) == transport::ublk::DataPath::ZeroCopy) {
    TRY(parts.ring->make_room_for_buffers(transport::ublk::kMostTags));
  }
  SandboxOptions options;
  options.ring = parts.ring.get();
  options.driver_commands = is_ublk(spec.transport);
  options.required = spec.require_sandbox;
  options.start_threads = [&]() -> Status {
    parts.inbox = TRY(CommandInbox::start(std::move(control_socket)));
    return {};
  };
  const SandboxReport report = TRY(enter_sandbox(options));
  for (const std::string& missing : report.missing)
    log_error("the sandbox lacks a part, {}", missing);
  TRY(guardian.send("sandbox", control::to_line(control::Json{{"parts", report.in_force}})));
  parts.memory_unlimited = report.memory_unlimited;
  return parts;
}

Result<Parts> build(const Order& order, Channel& guardian, Fd control_socket, control::DeviceState& state) {
  const control::AttachSpec& spec = order.spec;
  Parts parts = TRY(confine(spec, guardian, std::move(control_socket)));
  std::vector<image::Delta> deltas =
      TRY(open_images(*parts.files, spec, order.take_over ? Locked::Wait : Locked::Refuse, order.lent));
  if (!spec.read_only)
    TRY(check_file_size_limit(deltas.back().size_sectors() * kSectorSize, deltas.back().cluster_bytes()));
  const std::uint64_t map_bytes = engine::Device::map_bytes(deltas);
  parts.map = std::make_unique<LiveMap>(TRY(order.take_over ? LiveMap::adopt_or_create(kMapFd, map_bytes)
                                                            : LiveMap::create(kMapFd, map_bytes)));
  state.version = deltas.back().header().version == format::Version::V1 ? 1 : 2;

  engine::DeviceConfig config;
  config.deltas = std::move(deltas);
  config.writable = !spec.read_only;
  config.overlay = spec.merging;
  config.map_memory = parts.map->memory();
  config.adopt_map = order.take_over;
  config.on_no_space =
      spec.on_enospc == control::OnEnospc::Fail ? engine::OnNoSpace::Fail : engine::OnNoSpace::Pause;
  parts.device = TRY(engine::Device::open(*parts.ring, std::move(config)));

  const auto cluster_bytes = static_cast<std::uint32_t>(parts.device->cluster_bytes());
  state.cluster_sectors = cluster_bytes / kSectorSize;
  state.deltas = spec.deltas;
  if (is_ublk(spec.transport)) {
    TRY(reach_ublk(parts, order, guardian));
  } else {
    transport::fuse::PumpOptions options;
    options.discard_granularity = discard_granularity(state);
    parts.transport = TRY(transport::fuse::Pump::create(*parts.ring, *parts.device, kTransportFd, options));
    if (!order.take_over) TRY(parts.transport->greet());
    if (order.resend) TRY(parts.transport->take_over());
  }
  Operations::Parts working{*parts.ring,  *parts.device, *parts.transport, *parts.map, guardian,
                            *parts.files, spec,          order.lent};
  parts.service =
      std::make_unique<Service>(*parts.ring, *parts.device, guardian, *parts.inbox, std::move(working));

  state.size_sectors = parts.device->size_bytes() / kSectorSize;
  state.can_resend = parts.transport->info().can_resend;
  state.can_resize = parts.transport->info().can_resize;
  return parts;
}

/// Serves until the kernel side is gone, then closes the images. True when both went well.
bool serve(Parts& parts) {
  const Status served = parts.transport->run();
  if (!served) log_error("{}", served.error().message());
  if (parts.transport->retired()) {
    parts.service->leave();
    // Nothing is closed or committed: map and images are as the successor has to find them.
    ::_exit(kRetiredStatus);
  }
  const Status closed = parts.device->close();
  if (!closed) log_error("closing the images: {}", closed.error().message());
  // The images are let go before anybody hears that the device is gone: the next command may lock them at
  // once. The service does not touch the device any more, since nothing runs the ring.
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
  lock_memory(parts->memory_unlimited);
  if (!guardian.send("ready", control::encode_device_state(state))) return 1;
  return serve(*parts) ? 0 : 1;
}

}  // namespace ploop::daemon
