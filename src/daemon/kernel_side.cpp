#include "daemon/kernel_side.hpp"

#include "base/log.hpp"
#include "base/units.hpp"
#include "daemon/fuse_side.hpp"
#include "daemon/ublk_side.hpp"

namespace ploop::daemon {
namespace {

using transport::ublk::DataPath;

constexpr std::uint32_t kHostPage = 4096;

}  // namespace

std::optional<DataPath> ublk_path(std::string_view transport) {
  if (transport == "ublk") return DataPath::Copy;
  if (transport == "ublk:user-copy") return DataPath::UserCopy;
  if (transport == "ublk:zero-copy") return DataPath::ZeroCopy;
  return std::nullopt;
}

Result<std::string> choose_transport(std::string_view wanted) {
  if (wanted == "fuse") return std::string(wanted);
  const bool any = wanted == "auto";
  const std::optional<DataPath> path = ublk_path(any ? "ublk" : wanted);
  if (!path) {
    return fail(ExitCode::Param, "Unknown transport " + std::string(wanted) +
                                     ": there are ublk, ublk:zero-copy, ublk:user-copy and fuse");
  }
  Status usable = UblkSide::usable(*path);
  if (usable) return std::string(any ? "ublk" : wanted);
  if (any) return std::string("fuse");
  return fail(std::move(usable).error());
}

std::uint32_t discard_granularity(const control::DeviceState& state) {
  return state.deltas.size() == 1 ? kHostPage
                                  : state.cluster_sectors * static_cast<std::uint32_t>(kSectorSize);
}

std::unique_ptr<KernelSide> KernelSide::make(std::string_view transport, const SideOptions& options) {
  if (const std::optional<DataPath> path = ublk_path(transport))
    return std::make_unique<UblkSide>(options, *path);
  return std::make_unique<FuseSide>(options.read_only);
}

}  // namespace ploop::daemon
