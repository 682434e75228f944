#include "daemon/salvage.hpp"

#include <unistd.h>

#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include "base/log.hpp"
#include "base/subprocess.hpp"
#include "daemon/file_source.hpp"
#include "daemon/images.hpp"
#include "daemon/live_map.hpp"
#include "daemon/sandbox.hpp"
#include "engine/device.hpp"
#include "io/uring_ring.hpp"

namespace ploop::daemon {
namespace {

/// A child that has not ended by then never will; the kernel ends it.
constexpr unsigned kChildLimitSeconds = 120;
constexpr unsigned kRingDepth = 64;

/// What the guardian has open is none of the child's business. Nothing is closed twice: the process ends
/// without destructors.
void close_all_but(std::vector<int> kept) {
  std::ranges::sort(kept);
  auto first = static_cast<unsigned>(STDERR_FILENO) + 1;
  for (const int fd : kept) {
    const auto number = static_cast<unsigned>(std::max(fd, 0));
    if (number > first) ::close_range(first, number - 1, 0);
    first = std::max(first, number + 1);
  }
  ::close_range(first, ~0u, 0);
}

/// In the child: descriptors first, then the sandbox, and only then a byte of an image.
Status salvage_confined(const control::AttachSpec& spec, LevelFiles& levels, const Fd& map,
                        std::optional<std::size_t> lent) {
  std::vector<int> kept = levels.descriptors();
  kept.push_back(map.get());
  close_all_but(std::move(kept));
  const auto ring = TRY(io::UringRing::create(kRingDepth, io::UringRing::Start::Disabled));
  PreparedFiles files = TRY(PreparedFiles::open_all(spec, levels));
  SandboxOptions options;
  options.ring = ring.get();
  options.required = spec.require_sandbox;
  TRY(enter_sandbox(options));
  return salvage(*ring, files, spec, map, lent);
}

}  // namespace

Status salvage(io::UringRing& ring, FileSource& files, const control::AttachSpec& spec, const Fd& map,
               std::optional<std::size_t> lent) {
  std::vector<image::Delta> deltas = TRY(open_images(files, spec, Locked::Wait, lent));
  const LiveMap live = TRY(LiveMap::adopt(map.get(), engine::Device::map_bytes(deltas)));
  engine::DeviceConfig config;
  config.deltas = std::move(deltas);
  config.map_memory = live.memory();
  config.adopt_map = true;
  config.overlay = spec.merging;
  config.on_no_space = engine::OnNoSpace::Fail;
  const auto device = TRY(engine::Device::open(ring, std::move(config)));
  return device->close();
}

Status salvage_in_child(const control::AttachSpec& spec, LevelFiles& levels, const Fd& map,
                        std::optional<std::size_t> lent) {
  const pid_t pid = ::fork();
  if (pid < 0) return fail_errno(ExitCode::System, "fork");
  if (pid == 0) {
    ::alarm(kChildLimitSeconds);
    const Status done = salvage_confined(spec, levels, map, lent);
    if (!done) log_error("{}", done.error().message());
    ::_exit(done ? 0 : 1);
  }
  const int status = wait_for_child(pid);
  if (status < 0) return fail_errno(ExitCode::System, "wait");
  if (status != 0) return fail(ExitCode::System, "the cluster map of the dead worker could not be committed");
  return {};
}

}  // namespace ploop::daemon
