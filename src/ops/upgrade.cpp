#include "ops/upgrade.hpp"

#include <algorithm>
#include <cerrno>

#include "base/paths.hpp"
#include "control/launcher.hpp"
#include "control/registry.hpp"
#include "descriptor/store.hpp"
#include "ops/running.hpp"

namespace ploop::ops {
namespace {

Result<std::vector<DeviceState>> devices_of_target(const std::string& target) {
  if (!descriptor::is_descriptor_name(target)) return std::vector<DeviceState>{TRY(device_by_name(target))};
  const std::string path = TRY(descriptor::resolve(target));
  const descriptor::Disk disk = TRY(descriptor::load(path));
  std::vector<DeviceState> devices = TRY(devices_of(disk, path));
  if (devices.empty())
    return fail(ExitCode::NotMounted, "Image " + disk.first_image().file + " is not mounted");
  return devices;
}

Result<std::vector<DeviceState>> chosen(const UpgradeOptions& options) {
  if (options.all) return control::list_devices();
  std::vector<DeviceState> all;
  for (const std::string& target : options.targets) {
    for (DeviceState& device : TRY(devices_of_target(target))) {
      const bool known =
          std::ranges::any_of(all, [&](const DeviceState& d) { return d.number == device.number; });
      if (!known) all.push_back(std::move(device));
    }
  }
  return all;
}

Result<control::UpgradeResult> upgrade_one(const DeviceState& device, const std::string& program) {
  Result<control::Client> client = control::Client::connect_admin(device.number);
  if (!client) {
    if (client.error().sys_errno != ENOENT || client.error().code == ExitCode::Device)
      return fail(std::move(client).error());
    return fail(ExitCode::Param, "The daemon is too old to be upgraded; unmount and mount the disk");
  }
  return client->upgrade(program);
}

}  // namespace

Result<std::vector<UpgradeOutcome>> upgrade(const UpgradeOptions& options) {
  const std::string named = options.program.empty() ? TRY(control::find_daemon()) : options.program;
  const std::string program = TRY(canonical_path(named, ExitCode::Param));
  std::vector<UpgradeOutcome> outcomes;
  for (const DeviceState& device : TRY(chosen(options))) {
    outcomes.push_back({device_name(device), upgrade_one(device, program)});
  }
  return outcomes;
}

}  // namespace ploop::ops
