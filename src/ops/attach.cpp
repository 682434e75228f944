#include "ops/attach.hpp"

#include <sys/sysmacros.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <iterator>
#include <thread>

#include "base/log.hpp"
#include "base/paths.hpp"
#include "fs/holders.hpp"
#include "fs/partition.hpp"
#include "ops/cancel.hpp"
#include "ops/running.hpp"

namespace ploop::ops {
namespace {

constexpr std::chrono::milliseconds kFirstPause{10};
constexpr std::chrono::milliseconds kLongestPause{500};

/// The device and, when the kernel has one, its partition. Nodes may be missing, or be those of another /dev.
std::vector<dev_t> numbers_of(const control::DeviceState& state) {
  std::vector<dev_t> numbers{makedev(state.major, state.minor)};
  const auto partition = fs::kernel_partition(numbers.front());
  if (partition && *partition) numbers.push_back(**partition);
  return numbers;
}

/// Everybody else who has the device or the partition open, or uses the file system: after a lazy unmount,
/// that is all there is of it.
std::string describe_users(const control::DeviceState& state) {
  const std::vector<dev_t> numbers = numbers_of(state);
  std::vector<fs::Holder> holders = fs::block_device_holders(numbers);
  for (const dev_t number : numbers)
    std::ranges::move(fs::file_system_holders(number), std::back_inserter(holders));
  std::erase_if(holders, [](const fs::Holder& holder) { return holder.program == "ploopd"; });
  return fs::describe_holders(holders);
}

void log_deltas(const control::AttachSpec& spec, const std::string& device) {
  for (const control::DeltaSpec& delta : spec.deltas) {
    log(LogLevel::Progress, "Adding delta dev={} img={} ({})", device, delta.path,
        delta.read_only ? "ro" : "rw");
  }
}

}  // namespace

Status refresh_partition(Attached& attached) {
  attached.partition.reset();
  const std::optional<dev_t> number = TRY(fs::update_kernel_partitions(attached.device));
  const std::string node = partition_path(attached.state.number, 1);
  if (!number) return fs::remove_node(node);
  TRY(fs::make_node(node, *number));
  attached.partition = node;
  return {};
}

Result<Attached> attach(const control::AttachSpec& spec) {
  if (!spec.deltas.empty()) log(LogLevel::Detail, "Opening delta {}", spec.deltas.front().path);
  control::Attachment started = TRY(control::attach_device(spec));
  Attached attached{std::move(started.state), "", std::nullopt, std::move(started.lifeline)};
  Rollback rollback;
  rollback.add(
      [&] { ignore(control::detach_device(attached.state), "the first error is the one to report"); });
  attached.device = device_name(attached.state);
  TRY(fs::make_node(attached.device, makedev(attached.state.major, attached.state.minor)));
  log_deltas(spec, attached.device);
  if (!attached.state.can_resend && !spec.read_only) {
    log_error("Warning: this kernel can't hand requests to another daemon: if {}'s dies, so does the device",
              attached.device);
  }
  if (const Status partition = refresh_partition(attached); !partition) {
    log_error("{}: {}", attached.device, partition.error().message());
  }
  TRY(stop_if_cancelled());
  rollback.commit();
  return attached;
}

Status detach(const control::DeviceState& state, std::chrono::milliseconds limit) {
  const std::string device = device_name(state);
  log(LogLevel::Progress, "Unmounting device {}", device);
  const auto deadline = std::chrono::steady_clock::now() + limit;
  std::chrono::milliseconds pause = kFirstPause;
  for (;;) {
    const Status done = control::detach_device(state);
    if (done || done.error().sys_errno != EBUSY) return done;
    if (std::chrono::steady_clock::now() >= deadline) {
      const std::string holders = describe_users(state);
      return fail(
          errno_error(ExitCode::DeviceIoctl, EBUSY,
                      "Can't detach " + device + (holders.empty() ? "" : " (used by " + holders + ")")));
    }
    std::this_thread::sleep_for(pause);
    pause = std::min(pause * 2, kLongestPause);
  }
}

Result<std::vector<fs::MountPoint>> mounts_of(const control::DeviceState& state) {
  std::vector<fs::MountPoint> all;
  for (const dev_t number : numbers_of(state)) {
    std::ranges::copy(TRY(fs::mount_points_of(number)), std::back_inserter(all));
  }
  return all;
}

Result<std::optional<fs::LiveRoot>> mounted_root(const control::DeviceState& state) {
  const dev_t whole = makedev(state.major, state.minor);
  if (const auto partition = fs::kernel_partition(whole); partition && *partition) {
    if (auto root = TRY(fs::LiveRoot::find(partition_path(state.number, 1), **partition))) return root;
  }
  return fs::LiveRoot::find(device_name(state), whole);
}

}  // namespace ploop::ops
