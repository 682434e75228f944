// Small ploop1 images and descriptors, sound or damaged on purpose.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "format/header.hpp"

namespace ploop::test {

/// Fields are changed directly; write() puts them on disk as they are, without looking whether they make
/// sense.
struct ImageBuilder {
  format::Header header;
  std::map<std::uint64_t, std::uint32_t> slots;  ///< guest cluster -> slot as stored
  std::uint64_t file_clusters = 0;               ///< length of the file in clusters
  std::string signature;                         ///< "" keeps the right one
  std::uint64_t cluster_bytes = 0;  ///< of the file's layout, whatever the header says afterwards
  std::uint32_t header_clusters = 0;

  ImageBuilder(std::uint64_t size_sectors, std::uint32_t cluster_sectors,
               format::Version version = format::Version::V2);
  /// Gives the guest cluster the next cluster of the file.
  ImageBuilder& allocate(std::uint64_t guest_cluster);
  /// Data cluster c of the file is filled with the byte c.
  void write(const std::string& path) const;
};

struct ShotText {
  std::string uuid;
  std::string parent;
  std::string file;
};

/// A DiskDescriptor.xml. No shots: the one of a disk without snapshots.
std::string descriptor_text(std::uint64_t size_sectors, std::uint32_t cluster_sectors,
                            const std::vector<ShotText>& shots, const std::string& type = "Compressed");

}  // namespace ploop::test
