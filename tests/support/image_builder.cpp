#include "support/image_builder.hpp"

#include <fmt/format.h>

#include <cstring>
#include <fstream>
#include <stdexcept>

#include "base/uuid.hpp"

namespace ploop::test {

ImageBuilder::ImageBuilder(std::uint64_t size_sectors, std::uint32_t cluster_sectors,
                           format::Version version) {
  auto made = format::make_header(size_sectors, cluster_sectors, version);
  if (!made) throw std::runtime_error(made.error().message());
  header = *made;
  cluster_bytes = header.cluster_bytes();
  header_clusters = header.header_clusters();
  file_clusters = header_clusters;
}

ImageBuilder& ImageBuilder::allocate(std::uint64_t guest_cluster) {
  slots[guest_cluster] = format::slot_from_cluster(header, static_cast<std::uint32_t>(file_clusters));
  ++file_clusters;
  header.flags &= ~format::kFlagEmpty;
  return *this;
}

void ImageBuilder::write(const std::string& path) const {
  std::string bytes(file_clusters * cluster_bytes, '\0');
  const auto head = format::encode_header(header);
  std::memcpy(bytes.data(), head.data(), head.size());
  if (!signature.empty())
    std::memcpy(bytes.data(), signature.data(), std::min<std::size_t>(signature.size(), 16));
  for (const auto& [guest, slot] : slots) {
    for (std::size_t i = 0; i < 4; ++i) {
      bytes.at(format::kHeaderSize + guest * 4 + i) = static_cast<char>(slot >> (8 * i) & 0xff);
    }
  }
  for (std::uint64_t c = header_clusters; c < file_clusters; ++c) {
    std::memset(bytes.data() + c * cluster_bytes, static_cast<int>(c & 0xff), cluster_bytes);
  }
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  if (!file.flush()) throw std::runtime_error("write " + path);
}

std::string descriptor_text(std::uint64_t size_sectors, std::uint32_t cluster_sectors,
                            const std::vector<ShotText>& shots, const std::string& type) {
  std::string images;
  std::string nodes;
  for (const ShotText& shot : shots) {
    images += fmt::format(
        "      <Image>\n        <GUID>{}</GUID>\n        <Type>{}</Type>\n        <File>{}</File>\n"
        "      </Image>\n",
        shot.uuid, type, shot.file);
    nodes +=
        fmt::format("    <Shot>\n      <GUID>{}</GUID>\n      <ParentGUID>{}</ParentGUID>\n    </Shot>\n",
                    shot.uuid, shot.parent);
  }
  return fmt::format(
      "<?xml version=\"1.0\"?>\n<Parallels_disk_image>\n  <Disk_Parameters>\n    <Disk_size>{0}</Disk_size>\n"
      "    <Cylinders>{1}</Cylinders>\n    <Heads>16</Heads>\n    <Sectors>63</Sectors>\n    "
      "<Padding>0</Padding>\n"
      "  </Disk_Parameters>\n  <StorageData>\n    <Storage>\n      <Start>0</Start>\n      <End>{0}</End>\n"
      "      <Blocksize>{2}</Blocksize>\n{3}    </Storage>\n  </StorageData>\n  <Snapshots>\n"
      "    <TopGUID>{4}</TopGUID>\n{5}  </Snapshots>\n</Parallels_disk_image>\n",
      size_sectors, std::max<std::uint64_t>(size_sectors / (16 * 63), 1), cluster_sectors, images, kTopUuid,
      nodes);
}

}  // namespace ploop::test
