#include "ops/prepare.hpp"

#include <array>

#include "base/log.hpp"
#include "io/posix_file.hpp"
#include "ops/running.hpp"

namespace ploop::ops {
namespace {

std::string irrecoverable(const control::DeltaSpec& delta) {
  return delta.path + " : irrecoverable errors (" + (delta.read_only ? "ro" : "rw") + ")";
}

/// One image with the mark of a crash.
Status repair_one(const control::DeltaSpec& delta, bool is_top) {
  const auto report = image::check_file(delta.path, {.drop_in_use = true, .silent = true});
  if (report) {
    log_report(*report);
    if (report->exit != ExitCode::Ok) return fail(report->exit, irrecoverable(delta));
    return {};
  }
  if (report.error().code != ExitCode::InUse)
    return fail(Error(report.error()).with_context(irrecoverable(delta)));
  // Somebody else has it. A lower image was examined when that device was attached, and nobody writes to it.
  if (!is_top) return {};
  const std::string users = device_names(TRY(devices_using(delta.path)));
  return fail(ExitCode::Mount, "Image " + delta.path + " already used by " +
                                   (users.empty() ? "another program" : "device " + users));
}

}  // namespace

Result<format::Header> read_header(const std::string& path) {
  const auto file = TRY(io::PosixFile::open(path, {}));
  std::array<std::byte, format::kHeaderSize> bytes{};
  TRY(io::read_exact(*file, bytes, 0, "header"));
  return TRY_CONTEXT(path, format::decode_header(bytes));
}

Result<std::vector<control::DeltaSpec>> chain_deltas(const descriptor::Disk& disk, const std::string& uuid,
                                                     const descriptor::PathPolicy& policy) {
  const std::vector<std::string> files = TRY(disk.chain(uuid));
  std::vector<control::DeltaSpec> deltas;
  for (std::string& path : TRY(descriptor::image_paths(disk, files, policy)))
    deltas.push_back({std::move(path)});
  if (disk.base_is_raw()) deltas.front().kind = control::ImageKind::Raw;
  return deltas;
}

void log_report(const image::CheckReport& report) {
  for (const image::Finding& finding : report.findings) {
    const LogLevel level = finding.is_error_output() ? LogLevel::Error : LogLevel::Progress;
    log_line(level, report.text(finding));
    if (finding.prints_verdict()) log_line(level, std::string(image::verdict_text(finding.verdict)));
  }
}

Status repair_chain(const std::vector<control::DeltaSpec>& deltas, bool writable) {
  for (std::size_t level = 0; level < deltas.size(); ++level) {
    const control::DeltaSpec& delta = deltas[level];
    if (delta.kind == control::ImageKind::Raw) continue;
    const format::Header header = TRY(read_header(delta.path));
    if (header.is_in_use() && writable) TRY(repair_one(delta, level + 1 == deltas.size()));
  }
  return {};
}

Status refuse_unsound(const std::vector<control::DeltaSpec>& deltas) {
  for (const control::DeltaSpec& delta : deltas) {
    if (delta.kind == control::ImageKind::Raw) continue;
    // Devices keep the mark set; say who it is instead of suggesting a check.
    const std::vector<DeviceState> users = TRY(devices_using(delta.path));
    if (!users.empty() && !delta.read_only) {
      return fail(ExitCode::Mount, "Image " + delta.path + " already used by device " + device_names(users));
    }
    const image::CheckReport report = TRY(image::check_file(delta.path, {.read_only = true, .silent = true}));
    log_report(report);
    if (report.exit == ExitCode::InUse) {
      return fail(ExitCode::InUse, "Image " + delta.path + " is marked in use: 'ploop check -d' it first");
    }
    if (report.exit != ExitCode::Ok) return fail(report.exit, delta.path + " : irrecoverable errors (ro)");
  }
  return {};
}

}  // namespace ploop::ops
