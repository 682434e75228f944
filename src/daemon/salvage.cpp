#include "daemon/salvage.hpp"

#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <memory>
#include <vector>

#include "base/log.hpp"
#include "daemon/images.hpp"
#include "daemon/live_map.hpp"
#include "engine/device.hpp"
#include "io/uring_ring.hpp"

namespace ploop::daemon {
namespace {

/// A child that has not ended by then never will; the kernel ends it.
constexpr unsigned kChildLimitSeconds = 120;
constexpr unsigned kRingDepth = 64;

}  // namespace

Status salvage(const control::AttachSpec& spec, const Fd& map) {
  const auto ring = TRY(io::UringRing::create(kRingDepth));
  std::vector<image::Delta> deltas = TRY(open_images_when_quiet(spec));
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
