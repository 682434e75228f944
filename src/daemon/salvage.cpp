#include "daemon/salvage.hpp"

#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <memory>
#include <thread>
#include <vector>

#include "base/log.hpp"
#include "daemon/images.hpp"
#include "daemon/live_map.hpp"
#include "engine/device.hpp"
#include "io/uring_ring.hpp"

namespace ploop::daemon {
namespace {

/// How long the last operations of a dead worker may take.
constexpr auto kLastIoTimeout = std::chrono::seconds(60);
constexpr auto kRetryPause = std::chrono::milliseconds(20);
/// A child that has not ended by then never will; the kernel ends it.
constexpr unsigned kChildLimitSeconds = 120;
constexpr unsigned kRingDepth = 64;

/// The lock is free when the last operation in flight has ended: they keep the dead worker's open files alive.
Result<std::vector<image::Delta>> open_when_quiet(const control::AttachSpec& spec) {
  const auto deadline = std::chrono::steady_clock::now() + kLastIoTimeout;
  for (;;) {
    auto deltas = open_images(spec);
    if (deltas || deltas.error().code != ExitCode::Mount || std::chrono::steady_clock::now() >= deadline) return deltas;
    std::this_thread::sleep_for(kRetryPause);
  }
}

}  // namespace

Status salvage(const control::AttachSpec& spec, const Fd& map) {
  const auto ring = TRY(io::UringRing::create(kRingDepth));
  std::vector<image::Delta> deltas = TRY(open_when_quiet(spec));
  const LiveMap live = TRY(LiveMap::adopt(map.get(), engine::Device::map_bytes(deltas)));
  engine::DeviceConfig config;
  config.deltas = std::move(deltas);
  config.map_memory = live.memory();
  config.adopt_map = true;
  config.overlay = spec.merging;
  config.on_no_space = engine::OnNoSpace::Fail;
  const auto device = TRY(engine::Device::open(*ring, std::move(config)));
  return device->close();
}

Status salvage_in_child(const control::AttachSpec& spec, const Fd& map) {
  const pid_t pid = ::fork();
  if (pid < 0) return fail_errno(ExitCode::System, "fork");
  if (pid == 0) {
    ::alarm(kChildLimitSeconds);
    const Status done = salvage(spec, map);
    if (!done) log_error("{}", done.error().message());
    ::_exit(done ? 0 : 1);
  }
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0) {
    if (errno != EINTR) return fail_errno(ExitCode::System, "wait");
  }
  if (status != 0) return fail(ExitCode::System, "the cluster map of the dead worker could not be committed");
  return {};
}

}  // namespace ploop::daemon
