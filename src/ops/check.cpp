#include "ops/check.hpp"

#include "base/log.hpp"
#include "base/paths.hpp"
#include "descriptor/store.hpp"
#include "ops/prepare.hpp"
#include "ops/recover.hpp"
#include "ops/running.hpp"

namespace ploop::ops {
namespace {

tl::unexpected<Error> in_use(const std::string& device) {
  return fail(ExitCode::InUse, "Can't check, in use by device: " + device);
}

/// One image; check_file() keeps it locked for the time of the check.
Status check_one(const std::string& path, const image::CheckOptions& flags, CheckOutcome& outcome) {
  log(LogLevel::Detail, "Opening delta {}", path);
  image::CheckReport report = TRY(image::check_file(path, flags));
  log_report(report);
  if (report.exit == ExitCode::InUse) {
    log_error("{} was not closed; nothing else is wrong: 'ploop check -d {}' clears the mark", path, path);
  }
  outcome.exit = report.exit;
  outcome.reports.push_back(std::move(report));
  return {};
}

Result<CheckOutcome> check_image(const CheckRequest& request) {
  if (request.uuid) return fail(ExitCode::Param, "Option -u is only applicable to DiskDescriptor.xml syntax");
  const std::string path = TRY(canonical_path(request.target, ExitCode::Open));
  const std::vector<DeviceState> users = TRY(if_visible(devices_using(path)));
  if (!users.empty()) return in_use(device_names(users));
  CheckOutcome outcome;
  TRY(check_one(path, request.flags, outcome));
  return outcome;
}

/// Base to top. A lower image that a crash marked is repaired like the top: nobody uses any of them.
Result<CheckOutcome> check_chain(const CheckRequest& request) {
  const descriptor::Locked locked = request.flags.read_only ? TRY(descriptor::lock_and_load(request.target))
                                                            : TRY(open_disk(request.target));
  const descriptor::Disk& disk = locked.disk;
  const std::vector<DeviceState> users = TRY(if_visible(devices_of(disk, locked.path)));
  if (!users.empty()) return in_use(device_names(users));
  const std::string uuid = request.uuid.value_or(disk.top_uuid);
  if (disk.find_image(uuid) == nullptr) return fail(ExitCode::Descriptor, "Uuid " + uuid + " not found");
  image::CheckOptions flags;
  flags.read_only = request.flags.read_only;
  flags.drop_in_use = true;
  flags.silent = true;
  flags.progress = request.flags.progress;
  CheckOutcome outcome;
  for (const control::DeltaSpec& delta : TRY(chain_deltas(disk, uuid))) {
    if (delta.kind == control::ImageKind::Raw) continue;
    TRY(check_one(delta.path, flags, outcome));
    if (outcome.exit != ExitCode::Ok) break;
  }
  return outcome;
}

}  // namespace

Result<CheckOutcome> check(const CheckRequest& request) {
  return descriptor::is_descriptor_name(request.target) ? check_chain(request) : check_image(request);
}

}  // namespace ploop::ops
