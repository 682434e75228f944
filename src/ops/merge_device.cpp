#include "ops/merge_device.hpp"

#include <unistd.h>

#include <algorithm>
#include <vector>

#include "base/log.hpp"
#include "base/paths.hpp"
#include "control/client.hpp"
#include "descriptor/store.hpp"
#include "ops/cancel.hpp"
#include "ops/merge.hpp"
#include "ops/running.hpp"
#include "ops/snapshot_merge.hpp"

namespace ploop::ops {
namespace {

using control::Client;
using control::DeltaSpec;

Status check_range(const DeviceState& device, const LevelRange& levels) {
  if (device.deltas.size() < 2) return fail(ExitCode::Param, "Single delta, nothing to merge");
  const std::size_t top = device.deltas.size() - 1;
  if (levels.high > top) {
    return fail(ExitCode::Sysfs, "Illegal top level " + std::to_string(levels.high) + ": the top of " +
                                     device_name(device) + " is level " + std::to_string(top));
  }
  return {};
}

/// The levels of a device that was attached by its descriptor are nodes of the disk.
Status merge_nodes_of(const DeviceState& device, const LevelRange& levels,
                      const MergeDeviceRequest& request) {
  const descriptor::Disk disk = TRY(descriptor::load(device.descriptor));
  const auto node_of = [&](std::size_t level) -> std::string {
    const auto image = std::ranges::find_if(disk.images, [&](const descriptor::Image& i) {
      return is_level(device.deltas[level], NamedFile(i.file));
    });
    return image == disk.images.end() ? "" : image->uuid;
  };
  SnapshotMergeOptions options;
  options.descriptor = device.descriptor;
  options.uuid = node_of(levels.high);
  const std::string lower = node_of(levels.low);
  if (options.uuid->empty() || lower.empty()) {
    return fail(ExitCode::Descriptor,
                device.descriptor + " does not name the images of " + device_name(device));
  }
  // A pair has words of its own.
  if (levels.high != levels.low + 1) options.lower = lower;
  options.new_file = request.new_image;
  options.progress = request.progress;
  return snapshot_merge(options);
}

/// Levels below the top go into `low`, or with it into a new file. The device reads the old files until it
/// gets the new list.
Status merge_lower(const DeviceState& device, std::vector<DeltaSpec>& deltas, std::size_t low,
                   std::size_t high, const MergeDeviceRequest& request) {
  Client client = TRY(Client::connect(device.number));
  const bool to_new = !request.new_image.empty();
  MergeFiles files;
  for (std::size_t level = high; level > low; --level)
    files.sources.push_back(deltas[level].path);
  files.destination = deltas[low].path;
  files.raw = deltas[low].kind == control::ImageKind::Raw;
  files.nothing_below = low == 0;
  files.resume = true;
  files.progress = request.progress;
  std::vector<DeltaSpec> lower(deltas.begin(), deltas.end() - 1);
  if (to_new) {
    files.new_image = TRY(canonical_new_path(request.new_image, ExitCode::Create));
  } else {
    TRY(client.lend(low));
    // The device reads clusters that are about to be overwritten: it has to look where they are now.
    files.moved = [&client, &deltas, lower, low]() -> Status {
      TRY(client.set_lower(deltas, lower, {}));
      return client.lend(low);
    };
  }
  TRY(merge_files(files));
  Rollback rollback;
  if (to_new) rollback.add([&files] { ::unlink(files.new_image.c_str()); });
  lower.erase(lower.begin() + static_cast<std::ptrdiff_t>(low) + 1,
              lower.begin() + static_cast<std::ptrdiff_t>(high) + 1);
  if (to_new) lower[low] = new_level(device, files.new_image, control::ImageKind::Ploop1, true);
  Client successor = TRY(Client::connect(device.number));  // of a worker that died meanwhile
  if (const Status exchanged = successor.set_lower(deltas, lower, {}); !exchanged) {
    // Who did not hear the answer does not know whether the device has the file by now.
    const auto now = device_by_name(device_path(device.number));
    if (!now || level_of(*now, files.new_image)) rollback.commit();
    return exchanged;
  }
  rollback.commit();
  lower.push_back(deltas.back());
  deltas = std::move(lower);
  return {};
}

std::string describe(const std::vector<DeltaSpec>& deltas, const LevelRange& levels,
                     const std::string& new_image) {
  std::string text;
  for (std::size_t level = levels.high; level > levels.low; --level)
    text += deltas[level].path + " ";
  if (new_image.empty()) return text + "-> " + deltas[levels.low].path;
  return text + deltas[levels.low].path + " -> (new) " + new_image;
}

}  // namespace

Status merge_device(const MergeDeviceRequest& request) {
  const DeviceState device = TRY(device_by_name(request.device));
  const std::size_t top = device.deltas.size() - 1;
  const LevelRange levels = request.levels.value_or(LevelRange{0, top});
  TRY(check_range(device, levels));
  if (!device.descriptor.empty()) return merge_nodes_of(device, levels, request);

  TRY(confirm_names(device));
  const CleanupSection section;
  std::vector<DeltaSpec> deltas = device.deltas;
  log(LogLevel::Progress, "Merging image{}: {}",
      levels.high - levels.low + (request.new_image.empty() ? 0 : 1) > 1 ? "s" : "",
      describe(deltas, levels, request.new_image));
  const bool with_top = levels.high == top;
  const std::size_t highest = with_top ? top - 1 : levels.high;
  if (highest > levels.low || !request.new_image.empty())
    TRY(merge_lower(device, deltas, levels.low, highest, request));
  if (!with_top) return {};
  TRY(stop_if_cancelled());
  log(LogLevel::Progress, "Merging top delta");
  Client client = TRY(Client::connect(device.number));
  return client.merge_top(deltas, {}, request.progress, cancel_requested);
}

}  // namespace ploop::ops
