#include "ops/live_chain.hpp"

#include <algorithm>
#include <chrono>
#include <functional>
#include <optional>
#include <thread>

#include "base/log.hpp"
#include "fs/freeze.hpp"
#include "ops/attach.hpp"
#include "ops/recover.hpp"

namespace ploop::ops {
namespace {

constexpr std::chrono::milliseconds kPause{100};
constexpr int kTries = 50;

/// The frozen file system of a device, if one is mounted.
std::optional<fs::Freeze> freeze_mounted(const DeviceState& device) {
  const auto root = mounted_root(device);
  if (root && !*root) return std::nullopt;
  auto frozen = root ? fs::Freeze::hold((*root)->fd(), (*root)->name()) : fail(Error(root.error()));
  if (frozen) return *std::move(frozen);
  log_error("Warning: the file system at {} can't be frozen, the snapshot will look as after a power cut: {}",
            root ? (*root)->name() : device_name(device), frozen.error().message());
  return std::nullopt;
}

Status wait_while(control::Client& client, const DeviceState& device,
                  const std::function<bool(const std::string&)>& is_busy) {
  control::MaintenanceState state = TRY(client.maintenance());
  for (int i = 0; i < kTries && is_busy(state.name); ++i) {
    std::this_thread::sleep_for(kPause);
    state = TRY(client.maintenance());
  }
  if (!is_busy(state.name)) return {};
  return fail(ExitCode::Busy,
              "Device " + device_name(device) + " is busy with another operation (" + state.name + ")");
}

}  // namespace

Status push_top(const DeviceState& device, const std::string& file, const control::CommitPoint& commit,
                bool freeze) {
  control::Client client = TRY(control::Client::connect(device.number));
  TRY(wait_until_idle(client, device));
  log(LogLevel::Progress, "Creating snapshot dev={} img={}", device_name(device), file);
  std::optional<fs::Freeze> frozen = freeze ? freeze_mounted(device) : std::nullopt;
  const Status pushed = client.push_delta(new_level(device, file, control::ImageKind::Ploop1, false), commit);
  if (frozen) {
    if (const Status thawed = frozen->thaw(); !thawed) {
      log_error("Warning: the snapshot may look as after a power cut: {}", thawed.error().message());
    }
  }
  return pushed;
}

Result<bool> took_place(const std::string& descriptor_path, const std::string& file, bool named,
                        Rollback& rollback) {
  const auto look = [&]() -> Result<bool> {
    TRY(unstage_descriptor(descriptor_path));
    return names(TRY(descriptor::load(descriptor_path)), file) == named;
  };
  Result<bool> known = look();
  if (known) return known;
  rollback.commit();
  return to_be_continued(std::move(known).error(), "the operation");
}

std::vector<control::DeltaSpec> lower_without(const DeviceState& device, const std::vector<std::string>& gone,
                                              const std::string& from, const std::string& to) {
  std::vector<control::DeltaSpec> lower(device.deltas.begin(), device.deltas.end() - 1);
  const std::optional<std::size_t> exchanged = from.empty() ? std::nullopt : level_of(device, from);
  if (exchanged && *exchanged < lower.size())
    lower[*exchanged] = new_level(device, to, control::ImageKind::Ploop1, true);
  const std::vector<NamedFile> files(gone.begin(), gone.end());
  std::erase_if(lower, [&](const control::DeltaSpec& d) {
    return std::ranges::any_of(files, [&](const NamedFile& file) { return is_level(d, file); });
  });
  return lower;
}

Status wait_until_idle(control::Client& client, const DeviceState& device, std::string_view joined) {
  return wait_while(client, device, [&](const std::string& name) { return name != "OFF" && name != joined; });
}

Status wait_for_end(control::Client& client, const DeviceState& device, std::string_view what) {
  return wait_while(client, device, [&](const std::string& name) { return name == what; });
}

}  // namespace ploop::ops
