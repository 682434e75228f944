#include "descriptor/model.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <unordered_map>
#include <unordered_set>

namespace ploop::descriptor {
namespace {

/// UUIDs are compared without regard to case; as keys they are lower case.
std::string key(std::string_view uuid) {
  std::string lower(uuid);
  std::transform(lower.begin(), lower.end(), lower.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return lower;
}

tl::unexpected<Error> invalid(std::string what) {
  return fail(ExitCode::Lock, std::move(what));
}

Status validate_numbers(const Disk& disk) {
  const std::uint32_t cluster = disk.cluster_sectors;
  if (cluster < kMinClusterSectors || cluster > kMaxClusterSectors || (cluster & (cluster - 1)) != 0) {
    return invalid(fmt::format("Incorrect blocksize {}", cluster));
  }
  if (disk.size_sectors >= kSizeLimitSectors || disk.max_delta_sectors >= kSizeLimitSectors) {
    return invalid("Disk_size or Max_delta_size is too large");
  }
  return {};
}

Status validate_images(const Disk& disk) {
  if (disk.images.empty()) return invalid("No images found");
  std::unordered_set<std::string> uuids;
  std::unordered_set<std::string> files;
  for (const Image& image : disk.images) {
    if (!is_uuid(image.uuid)) return invalid("Incorrect image uuid " + image.uuid);
    if (same_uuid(image.uuid, kNoUuid)) return invalid("An image has the reserved uuid " + image.uuid);
    if (!uuids.insert(key(image.uuid)).second) return invalid("Two images have the uuid " + image.uuid);
    if (!image.file.starts_with('/')) return invalid("Incorrect image name " + image.file);
    if (!files.insert(image.file).second) return invalid("Two images have the name " + image.file);
  }
  return {};
}

/// Every shot leads to the one base within kMaxChain steps. Depths are remembered, so that this is linear.
Status validate_tree(const Disk& disk) {
  std::unordered_map<std::string, std::string> parent_of;
  std::size_t bases = 0;
  for (const Shot& shot : disk.shots) {
    if (!is_uuid(shot.uuid)) return invalid("Incorrect snapshot uuid " + shot.uuid);
    if (!is_uuid(shot.parent)) return invalid("Incorrect parent uuid " + shot.parent);
    if (!parent_of.emplace(key(shot.uuid), key(shot.parent)).second) {
      return invalid("Two snapshots have the uuid " + shot.uuid);
    }
    if (same_uuid(shot.parent, kNoUuid)) ++bases;
  }
  if (bases != 1) return invalid(fmt::format("{} base images instead of one", bases));

  const std::string none(kNoUuid);
  std::unordered_map<std::string, std::size_t> depth_of{{none, 0}};
  for (const Shot& shot : disk.shots) {
    std::vector<std::string> path;
    std::string node = key(shot.uuid);
    while (!depth_of.contains(node)) {
      if (path.size() >= kMaxChain) return invalid("The chain of " + shot.uuid + " is a cycle or too long");
      const auto found = parent_of.find(node);
      if (found == parent_of.end()) return invalid("Parent uuid " + node + " does not exist");
      path.push_back(node);
      node = found->second;
    }
    std::size_t depth = depth_of.at(node);
    for (auto it = path.rbegin(); it != path.rend(); ++it)
      depth_of[*it] = ++depth;
    if (depth > kMaxChain) return invalid("The chain of " + shot.uuid + " is too long");
  }
  return {};
}

}  // namespace

const Image* Disk::find_image(std::string_view uuid) const {
  const auto it =
      std::find_if(images.begin(), images.end(), [&](const Image& i) { return same_uuid(i.uuid, uuid); });
  return it == images.end() ? nullptr : &*it;
}

const Shot* Disk::find_shot(std::string_view uuid) const {
  const auto it =
      std::find_if(shots.begin(), shots.end(), [&](const Shot& s) { return same_uuid(s.uuid, uuid); });
  return it == shots.end() ? nullptr : &*it;
}

std::vector<std::string> Disk::children(std::string_view uuid) const {
  std::vector<std::string> result;
  for (const Shot& shot : shots) {
    if (same_uuid(shot.parent, uuid)) result.push_back(shot.uuid);
  }
  return result;
}

Result<std::vector<std::string>> Disk::chain(std::string_view uuid) const {
  std::vector<std::string> files;
  std::string node(uuid);
  while (files.empty() || !same_uuid(node, kNoUuid)) {
    const Image* image = find_image(node);
    const Shot* shot = find_shot(node);
    if (image == nullptr || shot == nullptr) {
      return fail(ExitCode::Descriptor, "Can't find snapshot by uuid " + node);
    }
    if (files.size() >= kMaxChain)
      return fail(ExitCode::Descriptor, "The chain of " + std::string(uuid) + " is too long");
    files.push_back(image->file);
    node = shot->parent;
  }
  std::reverse(files.begin(), files.end());
  return files;
}

std::uint64_t Disk::sectors_per_track() const {
  const std::uint64_t tracks = std::uint64_t{cylinders} * heads;
  return tracks == 0 ? 0 : size_sectors / tracks;
}

Disk new_disk(const NewDisk& p) {
  Disk disk;
  disk.directory = p.directory;
  disk.size_sectors = p.size_sectors;
  disk.cylinders = p.cylinders;
  disk.heads = p.heads;
  disk.cluster_sectors = p.cluster_sectors;
  disk.mode = p.mode;
  disk.images.push_back({std::string(kTopUuid), p.image, {}});
  disk.shots.push_back({std::string(kTopUuid), std::string(kNoUuid), false, {}});
  disk.top_uuid = kTopUuid;
  return disk;
}

Status validate(const Disk& disk) {
  TRY(validate_numbers(disk));
  TRY(validate_images(disk));
  if (disk.images.size() != disk.shots.size()) {
    return invalid(fmt::format("{} images, but {} snapshots", disk.images.size(), disk.shots.size()));
  }
  TRY(validate_tree(disk));

  std::unordered_set<std::string> shots;
  for (const Shot& shot : disk.shots)
    shots.insert(key(shot.uuid));
  for (const Image& image : disk.images) {
    if (!shots.contains(key(image.uuid))) return invalid("Image " + image.uuid + " is in no snapshot");
  }
  if (!is_uuid(disk.top_uuid)) return invalid("Incorrect top uuid " + disk.top_uuid);
  const Shot* top = disk.find_shot(disk.top_uuid);
  if (top == nullptr) return invalid("Top uuid " + disk.top_uuid + " does not exist");
  if (top->temporary) return invalid("Top snapshot " + disk.top_uuid + " is temporary");
  return {};
}

Status convert_old_format(Disk& disk) {
  if (!disk.old_format()) return {};
  if (disk.find_image(kTopUuid) != nullptr || disk.find_shot(kTopUuid) != nullptr) {
    return fail(ExitCode::Descriptor,
                "Can't convert the descriptor: another snapshot is called " + std::string(kTopUuid));
  }
  const std::string old = disk.top_uuid;
  const auto rename = [&](std::string& uuid) {
    if (same_uuid(uuid, old)) uuid = kTopUuid;
  };
  for (Image& image : disk.images)
    rename(image.uuid);
  for (Shot& shot : disk.shots) {
    rename(shot.uuid);
    rename(shot.parent);
  }
  rename(disk.top_uuid);
  return {};
}

bool is_descriptor_name(std::string_view operand) {
  const std::size_t dot = operand.rfind('.');
  return dot != std::string_view::npos && operand.substr(dot + 1) == "xml";
}

}  // namespace ploop::descriptor
