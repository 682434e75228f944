#include "ops/grow.hpp"

#include <chrono>
#include <thread>
#include <utility>

#include "base/log.hpp"
#include "base/text.hpp"
#include "control/client.hpp"
#include "fs/block_device.hpp"
#include "image/grow.hpp"
#include "ops/cancel.hpp"
#include "ops/disk_use.hpp"
#include "ops/image_files.hpp"
#include "ops/live_chain.hpp"
#include "ops/prepare.hpp"
#include "ops/running.hpp"

namespace ploop::ops {
namespace {

using image::Delta;
using image::Kind;

/// The smallest unit of a raw image's length, sectors.
constexpr std::uint64_t kRawUnit = 8;

constexpr std::string_view kOp = "grow";
constexpr const char* kSize = "size";
/// A table that gets longer moves data.
constexpr std::chrono::minutes kGrowTimeout{10};

/// What the size is now and what it will be.
struct Plan {
  std::uint64_t old_sectors = 0;
  std::uint64_t new_sectors = 0;
  std::uint32_t cylinders = 0;
  std::uint32_t heads = 0;
  [[nodiscard]] bool nothing_to_do() const { return old_sectors == new_sectors; }
};

Status check_size(std::uint64_t size_sectors, const format::Header& header) {
  const std::uint64_t max = format::max_size_sectors(header.version, header.cluster_sectors);
  if (size_sectors > max) {
    return fail(ExitCode::Param,
                "An incorrect block device size is specified: " + std::to_string(size_sectors) +
                    " sectors. The maximum allowed size is " + std::to_string(max) + " sectors");
  }
  if (size_sectors % header.cluster_sectors != 0) {
    return fail(ExitCode::Param,
                "An incorrect block device size is specified: " + std::to_string(size_sectors) +
                    " sectors. The block device size must be aligned to the cluster block size " +
                    std::to_string(header.cluster_sectors));
  }
  return {};
}

Result<Plan> plan_growth(const Delta& delta, std::uint64_t size_sectors) {
  Plan plan;
  plan.old_sectors = delta.size_sectors();
  plan.new_sectors = size_sectors;
  if (delta.kind() == Kind::Raw) {
    plan.new_sectors = round_up(size_sectors, kRawUnit);
    if (plan.new_sectors < plan.old_sectors) {
      return fail(ExitCode::Param, "Error: new size " + std::to_string(size_sectors) +
                                       " is less than the old size " + std::to_string(plan.old_sectors));
    }
  } else {
    TRY(check_size(size_sectors, delta.header()));
    TRY(image::grown_header(delta.header(), size_sectors));
  }
  const format::Header shape =
      TRY(format::make_header(plan.new_sectors, delta.cluster_sectors(), format::Version::V2));
  plan.cylinders = shape.cylinders;
  plan.heads = shape.heads;
  return plan;
}

Status apply(Delta& delta, const Plan& plan) {
  if (delta.kind() == Kind::Raw)
    return image::resize_raw(delta.file(), plan.new_sectors * kSectorSize, kSectorSize);
  return image::grow_image(delta, plan.new_sectors, {.cancelled = cancel_requested});
}

Status grow_file(const GrowRequest& request) {
  Delta delta = TRY(open_delta(request.target, request.raw ? Kind::Raw : Kind::Ploop1, {.writable = true}));
  const Plan plan = TRY(plan_growth(delta, request.size_sectors));
  if (plan.nothing_to_do()) return {};
  const CleanupSection section;
  return apply(delta, plan);
}

/// The top image of a disk.
Result<Delta> open_top(const descriptor::Disk& disk, bool allow_in_use) {
  const std::vector<control::DeltaSpec> deltas = TRY(chain_deltas(disk, disk.top_uuid));
  const Kind kind = deltas.back().kind == control::ImageKind::Raw ? Kind::Raw : Kind::Ploop1;
  return open_delta(
      deltas.back().path, kind,
      {.allow_in_use = allow_in_use, .writable = true, .raw_cluster_sectors = disk.cluster_sectors});
}

void set_size(descriptor::Disk& disk, const Plan& plan) {
  disk.size_sectors = plan.new_sectors;
  disk.cylinders = plan.cylinders;
  disk.heads = plan.heads;
}

/// A worker that dies between the new size and telling the kernel is replaced by one that tells it; the
/// kernel follows a moment later. ExitCode::Device.
Status await_kernel_size(const DeviceState& device) {
  constexpr std::chrono::seconds kPatience{20};
  constexpr std::chrono::milliseconds kPause{20};
  const auto until = std::chrono::steady_clock::now() + kPatience;
  while (TRY(fs::inspect_block_device(device_name(device))).size.value < device.size_sectors * kSectorSize) {
    if (std::chrono::steady_clock::now() > until) {
      return fail(ExitCode::Device,
                  "The kernel has not taken over the size of " + device_name(device) + " from its daemon");
    }
    std::this_thread::sleep_for(kPause);
  }
  return {};
}

/// ExitCode::Param for a size that a running device can't get, DeviceIoctl when it can get no other at all;
/// true when there is nothing to do.
Result<bool> is_size_of(const DeviceState& device, std::uint64_t size_sectors) {
  if (size_sectors < device.size_sectors) {
    return fail(ExitCode::Param, "Incorrect new size specified " + std::to_string(size_sectors) +
                                     " current size " + std::to_string(device.size_sectors));
  }
  format::Header header;
  header.version = format::Version{static_cast<std::uint8_t>(device.version)};
  header.cluster_sectors = device.cluster_sectors;
  TRY(check_size(size_sectors, header));
  if (size_sectors == device.size_sectors) return true;
  if (!device.can_resize && device.transport == "fuse") {
    return fail(ExitCode::DeviceIoctl, "The keeper of " + device_name(device) +
                                           " has ended, so that it can't be resized while it runs: unmount "
                                           "it first");
  }
  if (!device.can_resize) {
    return fail(ExitCode::DeviceIoctl,
                "This kernel can't resize " + device_name(device) +
                    " while it runs: unmount it first, or mount it with --transport fuse");
  }
  return false;
}

Status grow_running(const DeviceState& device, std::uint64_t size_sectors,
                    const control::CommitPoint& commit) {
  log(LogLevel::Progress, "Growing dev={} size={} sectors (new size={})", device_name(device),
      device.size_sectors, size_sectors);
  control::Client client = TRY(control::Client::connect(device.number));
  client.set_timeout(kGrowTimeout);
  return client.grow(size_sectors, commit);
}

/// What the device has become after a failure, or after the death of the command that asked for a size: a
/// worker that dies between the new size of the image and the commit point has a successor with the new size.
/// Asks that one; what the device published may be of the time before. Nobody can pass the commit point any
/// more.
Result<DeviceState> state_by_now(const DeviceState& device) {
  control::Client successor = TRY(control::Client::connect(device.number));
  TRY(wait_for_end(successor, device, "GROW"));
  DeviceState now = TRY(successor.info());
  TRY(await_kernel_size(now));
  return now;
}

Intent note_of(std::uint64_t size_sectors) {
  return {.op = std::string(kOp), .parameters = {{kSize, std::to_string(size_sectors)}}};
}

/// For the descriptor of a running disk.
Status set_device_size(descriptor::Disk& disk, const DeviceState& device, std::uint64_t size_sectors) {
  const format::Header shape =
      TRY(format::make_header(size_sectors, device.cluster_sectors, format::Version::V2));
  set_size(disk, {device.size_sectors, size_sectors, shape.cylinders, shape.heads});
  return {};
}

/// The device has the new size or not, and the descriptor follows.
Result<Outcome> finish_running(Interrupted& work, const DeviceState& device, std::uint64_t size_sectors) {
  const DeviceState now = TRY(state_by_now(device));
  if (now.size_sectors != work.disk.size_sectors) {
    TRY(set_device_size(work.disk, now, now.size_sectors));
    TRY(descriptor::store(work.disk, work.path));
  }
  return now.size_sectors == size_sectors ? Outcome::Finished : Outcome::Undone;
}

/// `expected`: the command named the device, and the descriptor only follows from that.
Status grow_disk(const GrowRequest& request, const DeviceState* expected = nullptr) {
  OpenedDisk locked = TRY(open_disk(request.target));
  const DiskUse use = TRY(disk_use(locked.disk, locked.path));
  if (expected != nullptr) TRY(confirm_running(use, *expected, locked.path));
  if (use.running) {
    return grow_running_disk(locked, *use.running, request.size_sectors);
  }
  Delta top = TRY(open_top(locked.disk, false));
  const Plan plan = TRY(plan_growth(top, request.size_sectors));
  if (plan.nothing_to_do() && locked.disk.size_sectors == plan.new_sectors) return {};
  const CleanupSection section;
  set_size(locked.disk, plan);
  TRY(write_intent(locked.path, note_of(plan.new_sectors)));
  TRY(stage_descriptor(locked.disk, locked.path));
  if (!plan.nothing_to_do()) {
    if (Status applied = apply(top, plan); !applied)
      return to_be_continued(std::move(applied).error(), "the new size");
  }
  TRY(commit_descriptor(locked.path));
  return remove_intent(locked.path);
}

Status grow_device(const GrowRequest& request) {
  const DeviceState device = TRY(device_by_name(request.device));
  if (!device.descriptor.empty()) return grow_disk({request.size_sectors, "", device.descriptor}, &device);
  if (TRY(is_size_of(device, request.size_sectors))) return await_kernel_size(device);
  return grow_running(device, request.size_sectors, {});
}

}  // namespace

Status grow_running_disk(OpenedDisk& locked, const DeviceState& device, std::uint64_t size_sectors) {
  const bool same = TRY(is_size_of(device, size_sectors));
  if (same) TRY(await_kernel_size(device));
  if (same && locked.disk.size_sectors == size_sectors) return {};
  descriptor::Disk next = locked.disk;
  TRY(set_device_size(next, device, size_sectors));
  const CleanupSection section;
  bool committed = false;
  if (!same) {
    TRY(write_intent(locked.path, note_of(size_sectors)));
    Rollback rollback;
    rollback.add([&] { ignore(remove_intent(locked.path), "the first error is the one to report"); });
    rollback.add([&] { ignore(unstage_descriptor(locked.path), "the first error is the one to report"); });
    TRY(stage_descriptor(next, locked.path));
    const Status grown = grow_running(device, size_sectors, TRY(commit_point(locked.path)));
    committed = grown.has_value();
    if (!committed) {
      const Status unstaged = unstage_descriptor(locked.path);
      const Result<DeviceState> now = unstaged ? state_by_now(device) : fail(Error(unstaged.error()));
      if (!now) rollback.commit();  // the note stays, so that the next command finds out
      if (!now || now->size_sectors != size_sectors) return grown;
    }
    rollback.commit();
  }
  if (!committed) TRY(descriptor::store(next, locked.path));
  locked.disk = std::move(next);
  return remove_intent(locked.path);
}

Status grow(const GrowRequest& request) {
  if (!request.device.empty()) return grow_device(request);
  return descriptor::is_descriptor_name(request.target) ? grow_disk(request) : grow_file(request);
}

Result<Outcome> finish_grow(Interrupted& work) {
  const auto wanted = work.intent.parameters.find(kSize);
  const auto size = wanted == work.intent.parameters.end() ? std::nullopt : parse_c_integer(wanted->second);
  if (!size) return fail(ExitCode::Busy, "the note does not say to which size");
  if (const DiskUse use = TRY(disk_use(work.disk, work.path)); use.running)
    return finish_running(work, *use.running, *size);
  Delta top = TRY(open_top(work.disk, true));
  const Plan plan = TRY(plan_growth(top, *size));
  // Also without a step left to do: it closes the image.
  if (const Status applied = apply(top, plan); !applied) {
    log_error("{}", applied.error().message());
    return Outcome::Undone;
  }
  set_size(work.disk, plan);
  TRY(descriptor::store(work.disk, work.path));
  return Outcome::Finished;
}

}  // namespace ploop::ops
