#include "support/disk_content.hpp"

#include <algorithm>
#include <array>
#include <stdexcept>
#include <vector>

#include "base/endian.hpp"
#include "image/stack.hpp"
#include "io/posix_file.hpp"

namespace ploop::test {
namespace {

template <typename T>
T must(Result<T> result) {
  if (!result) throw std::runtime_error(result.error().message());
  return *std::move(result);
}
void must(const Status& status) {
  if (!status) throw std::runtime_error(status.error().message());
}

image::Stack stack_of(const descriptor::Disk& disk, const std::string& uuid) {
  std::vector<image::Delta> deltas;
  for (const std::string& file : must(disk.chain(uuid))) {
    const bool raw = deltas.empty() && disk.base_is_raw();
    deltas.push_back(must(image::Delta::open(must(io::PosixFile::open(file, {})),
                                             raw ? image::Kind::Raw : image::Kind::Ploop1,
                                             {.raw_cluster_sectors = disk.cluster_sectors})));
  }
  return must(image::Stack::make(std::move(deltas)));
}

}  // namespace

void put_cluster(const std::string& image, std::uint64_t guest, std::uint8_t value) {
  const auto file = must(io::PosixFile::open(image, {.writable = true}));
  std::array<std::byte, format::kHeaderSize> bytes{};
  must(io::read_exact(*file, bytes, 0, "header"));
  format::Header header = must(format::decode_header(bytes));
  le32 slot = 0u;
  const std::uint64_t where = format::kHeaderSize + 4 * guest;
  must(io::read_exact(*file, std::as_writable_bytes(std::span(&slot, 1)), where, "slot"));
  std::uint32_t cluster = format::cluster_from_slot(header, slot);
  if (cluster == 0) cluster = static_cast<std::uint32_t>(must(io::file_size(*file)) / header.cluster_bytes());
  const std::vector<std::byte> data(header.cluster_bytes(), std::byte{value});
  must(io::write_exact(*file, data, cluster * header.cluster_bytes(), "data"));
  slot = format::slot_from_cluster(header, cluster);
  must(io::write_exact(*file, std::as_bytes(std::span(&slot, 1)), where, "slot"));
  header.flags &= ~format::kFlagEmpty;
  must(io::write_exact(*file, format::encode_header(header), 0, "header"));
}

Content content_of(const descriptor::Disk& disk, const std::string& uuid) {
  const image::Stack stack = stack_of(disk, uuid);
  Content content;
  std::vector<std::byte> data(stack.cluster_bytes());
  for (std::uint64_t guest = 0; guest * stack.cluster_bytes() < stack.size_bytes(); ++guest) {
    if (!stack.resolve(guest).present()) continue;
    must(stack.read(guest * stack.cluster_bytes(), data));
    if (std::ranges::any_of(data, [&](std::byte b) { return b != data.front(); }))
      throw std::runtime_error("a torn cluster");
    if (data.front() != std::byte{0}) content[guest] = static_cast<std::uint8_t>(data.front());
  }
  return content;
}

}  // namespace ploop::test
