#include "transport/ublk/control.hpp"

#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <filesystem>
#include <span>
#include <string>

namespace ploop::transport::ublk {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kShort{10'000};
/// For commands that wait for requests.
constexpr milliseconds kLong{30'000};
/// For the last descriptor of a device that nobody uses: a dead server's is closed by the kernel some time
/// after its end.
constexpr milliseconds kLastClose{100};

constexpr std::uint64_t kNeeded = kFeatureUserRecovery | kFeatureReissue | kFeatureIoctlEncode;

ControlBody body_for(std::uint32_t id) {
  ControlBody body;
  body.device = id;
  return body;
}

void point_to(ControlBody& body, const void* memory, std::size_t bytes) {
  body.address = reinterpret_cast<std::uintptr_t>(memory);
  body.length = static_cast<std::uint16_t>(bytes);
}

Status outcome(int result, ExitCode code, const char* what) {
  if (result >= 0) return {};
  return fail(errno_error(code, -result, std::string("ublk: ") + what));
}

}  // namespace

Result<Control> Control::open() {
  Fd file = TRY(open_file(kControlPath, O_RDWR, 0, ExitCode::Device));
  Result<std::unique_ptr<io::CommandRing>> ring = io::CommandRing::create();
  if (!ring) return fail(errno_error(ExitCode::Device, ring.error().sys_errno, "ublk: set up io_uring"));
  Control control(std::move(file), *std::move(ring));
  std::uint64_t features = 0;
  ControlBody body = body_for(kAnyDevice);
  point_to(body, &features, sizeof features);
  TRY(outcome(control.run(kGetFeatures, body, kShort), ExitCode::Device, "ask for its features"));
  if ((features & kNeeded) != kNeeded) {
    return fail(ExitCode::Device,
                "This kernel's ublk can't hand requests to another worker; use --transport fuse");
  }
  control.features_ = features;
  return control;
}

int Control::run(std::uint32_t opcode, const ControlBody& body, milliseconds patience) {
  return ring_->run(file_.get(), opcode, std::as_bytes(std::span(&body, 1)), patience);
}

Result<DeviceInfo> Control::add(const DeviceInfo& wanted) {
  DeviceInfo info = wanted;
  ControlBody body = body_for(wanted.id);
  point_to(body, &info, sizeof info);
  TRY(outcome(run(kAddDev, body, kShort), ExitCode::Device, "add a device"));
  return info;
}

Status Control::set_params(std::uint32_t id, const Params& params) {
  ControlBody body = body_for(id);
  point_to(body, &params, sizeof params);
  return outcome(run(kSetParams, body, kShort), ExitCode::Device, "set the parameters of a device");
}

Status Control::start(std::uint32_t id, int opener) {
  ControlBody body = body_for(id);
  body.data = static_cast<std::uint64_t>(opener);
  return outcome(run(kStartDev, body, kLong), ExitCode::Device, "start a device");
}

Status Control::stop(std::uint32_t id) {
  return outcome(run(kStopDev, body_for(id), kLong), ExitCode::DeviceIoctl, "stop a device");
}

Result<bool> Control::try_stop(std::uint32_t id) {
  const int result = run(kTryStopDev, body_for(id), kLong);
  if (result == -EBUSY) return false;
  TRY(outcome(result, ExitCode::DeviceIoctl, "stop a device"));
  return true;
}

/// Only the wait at the command's end is cancelled. What comes before is the removal, and the kernel
/// remembers that it was made.
Result<bool> Control::remove(std::uint32_t id, milliseconds patience) {
  const int result = run(kDelDev, body_for(id), patience);
  if (result == -ETIMEDOUT) return false;
  if (result != -ENODEV) TRY(outcome(result, ExitCode::DeviceIoctl, "remove a device"));
  return true;
}

Result<bool> Control::start_recovery(std::uint32_t id) {
  const int result = run(kStartUserRecovery, body_for(id), kShort);
  if (result == -EBUSY) return false;
  TRY(outcome(result, ExitCode::DeviceIoctl, "begin the recovery of a device"));
  return true;
}

Result<bool> Control::end_recovery(std::uint32_t id, int opener, milliseconds patience) {
  ControlBody body = body_for(id);
  body.data = static_cast<std::uint64_t>(opener);
  const int result = run(kEndUserRecovery, body, patience);
  if (result == -ETIMEDOUT) return false;
  TRY(outcome(result, ExitCode::DeviceIoctl, "end the recovery of a device"));
  return true;
}

Status Control::update_size(std::uint32_t id, std::uint64_t sectors) {
  ControlBody body = body_for(id);
  body.data = sectors;
  return outcome(run(kUpdateSize, body, kShort), ExitCode::DeviceIoctl, "resize a device");
}

Result<DeviceInfo> Control::info(std::uint32_t id) {
  DeviceInfo info;
  ControlBody body = body_for(id);
  point_to(body, &info, sizeof info);
  TRY(outcome(run(kGetDevInfo, body, kShort), ExitCode::Device, "ask about a device"));
  return info;
}

std::vector<std::uint32_t> device_ids() {
  constexpr std::string_view kPrefix = "ublkc";
  std::vector<std::uint32_t> ids;
  std::error_code error;
  for (std::filesystem::directory_iterator it("/sys/class/ublk-char", error), end; !error && it != end;
       it.increment(error)) {
    const std::string name = it->path().filename().string();
    std::uint32_t id = 0;
    if (!name.starts_with(kPrefix)) continue;
    const char* const last = name.data() + name.size();
    const auto [stop, err] = std::from_chars(name.data() + kPrefix.size(), last, id);
    if (err == std::errc() && stop == last) ids.push_back(id);
  }
  return ids;
}

Result<bool> remove_by_token(std::uint64_t token, std::optional<std::uint32_t> number) {
  if (token == 0) return true;
  Control control = TRY(Control::open());
  std::vector<std::uint32_t> ids = device_ids();
  if (number && std::ranges::find(ids, *number) == ids.end()) ids.push_back(*number);
  bool gone = true;
  for (const std::uint32_t id : ids) {
    const Result<DeviceInfo> info = control.info(id);
    if (!info || info->server_flags != token) continue;
    const Status stopped = info->state == DeviceState::Dead ? Status{} : control.stop(id);
    // A keeper that still lives may be doing the same.
    if (!stopped && stopped.error().sys_errno != ENODEV) return fail(Error(stopped.error()));
    gone = TRY(control.remove(id, kLastClose)) && gone;
  }
  return gone;
}

}  // namespace ploop::transport::ublk
