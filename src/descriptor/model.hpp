// What a DiskDescriptor.xml says, as a plain value: the disk, its image files and the tree of snapshots. A
// Disk that came from parse() or new_disk() is consistent: one base, every parent exists, no cycle, every
// image has its shot, the top exists. Whoever edits the lists keeps it so; validate() tells.
//
// A *shot* is the descriptor's word for a node of the tree. Image and shot belong together by UUID.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "base/uuid.hpp"

namespace ploop::descriptor {

inline constexpr std::string_view kFileName = "DiskDescriptor.xml";
/// Longest path from the base to a node, in images.
inline constexpr std::size_t kMaxChain = 128;
inline constexpr std::uint32_t kMinClusterSectors = 64;
inline constexpr std::uint32_t kMaxClusterSectors = 131072;
/// First size that is refused: 2^63 bytes.
inline constexpr std::uint64_t kSizeLimitSectors = std::uint64_t{1} << 54;

enum class Mode : std::uint8_t {
  Expanded,
  Preallocated,
  Raw,  ///< the base is raw; every other image is ploop1 all the same
};

struct Image {
  std::string uuid;
  std::string file;  ///< absolute; not yet trusted, see image_path.hpp
  std::string kept;  ///< elements we do not know, as XML text
  bool operator==(const Image&) const = default;
};

struct Shot {
  std::string uuid;
  std::string parent;  ///< kNoUuid for the base
  bool temporary = false;
  std::string kept;
  bool operator==(const Shot&) const = default;
};

/// Elements of other programs, carried through a rewrite: XML text per place, in canonical form.
struct Kept {
  std::string root_name = "Parallels_disk_image";
  std::string root_attributes;  ///< ` name="value"` ...
  std::string root, disk_parameters, storage_data, storage, snapshots;
  bool operator==(const Kept&) const = default;
};

struct Disk {
  std::string directory;  ///< canonical directory of the descriptor; relative names start here
  std::uint64_t size_sectors = 0;
  std::uint64_t max_delta_sectors = 0;  ///< 0: no limit
  std::uint32_t cylinders = 0;
  std::uint32_t heads = 0;
  std::uint32_t cluster_sectors = 0;
  Mode mode = Mode::Expanded;
  std::vector<Image> images;  ///< in the order of the file; never empty
  std::vector<Shot> shots;    ///< in the order of the file; one per image
  std::string top_uuid;
  std::string key_id;  ///< file system inside is encrypted with this key (later generations); "" when not
  Kept kept;
  bool operator==(const Disk&) const = default;

  /// The image that names lock files and new deltas: first in the file, usually but not always the base.
  [[nodiscard]] const Image& first_image() const { return images.front(); }
  [[nodiscard]] const Image* find_image(std::string_view uuid) const;  ///< nullptr when there is none
  [[nodiscard]] const Shot* find_shot(std::string_view uuid) const;
  /// UUIDs of the nodes whose parent this is, in the order of the file.
  [[nodiscard]] std::vector<std::string> children(std::string_view uuid) const;
  /// Absolute image files from the base to `uuid`. ExitCode::Descriptor when there is no such node or its
  /// ancestry is broken.
  [[nodiscard]] Result<std::vector<std::string>> chain(std::string_view uuid) const;
  /// Only the base of a chain can be raw.
  [[nodiscard]] bool base_is_raw() const { return mode == Mode::Raw; }
  /// The top does not carry kTopUuid: may be read; store() renames it.
  [[nodiscard]] bool old_format() const { return !same_uuid(top_uuid, kTopUuid); }
  /// size / (cylinders * heads), 0 when that is undefined.
  [[nodiscard]] std::uint64_t sectors_per_track() const;
};

struct NewDisk {
  std::string directory;  ///< canonical
  std::string image;      ///< absolute
  std::uint64_t size_sectors = 0;
  std::uint32_t cluster_sectors = 2048;
  std::uint32_t cylinders = 0;
  std::uint32_t heads = 0;
  Mode mode = Mode::Expanded;
};
/// A disk of one image, which is base and top.
Disk new_disk(const NewDisk& p);

/// All rules of a consistent descriptor. ExitCode::Lock, the historical status of an unusable descriptor.
Status validate(const Disk& disk);

/// Gives the top its fixed UUID everywhere. Refused (ExitCode::Descriptor) when another node has it already.
Status convert_old_format(Disk& disk);

/// True when a command line operand names a descriptor: the text behind its last dot is exactly "xml".
bool is_descriptor_name(std::string_view operand);

}  // namespace ploop::descriptor
