// Stack rules, the merged map and offline reads.
#include "image/stack.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace ploop::image {
namespace {

Status check_member(const std::vector<Delta>& deltas, std::size_t level) {
  const Delta& delta = deltas[level];
  const std::string& name = delta.file().name();
  if (delta.kind() == Kind::Raw && level != 0) {
    return fail(ExitCode::Format, fmt::format("Raw image {} can only be the base", name));
  }
  if (deltas.size() > 1 && delta.kind() == Kind::Ploop1 &&
      delta.size_sectors() % delta.cluster_sectors() != 0) {
    return fail(ExitCode::Format, fmt::format("Size {} of image {} is not a multiple of the cluster",
                                              delta.size_sectors(), name));
  }
  // Those between may be smaller than what is below them: an interrupted merge has grown its destination.
  const Delta& top = deltas.back();
  if (top.size_sectors() < delta.size_sectors()) {
    return fail(ExitCode::Format,
                fmt::format("Image {} is smaller ({} sectors) than {} below it ({} sectors)",
                            top.file().name(), top.size_sectors(), name, delta.size_sectors()));
  }
  if (level == 0) return {};
  const Delta& below = deltas[level - 1];
  if (delta.cluster_sectors() != below.cluster_sectors()) {
    return fail(ExitCode::Format, fmt::format("Wrong blocksize {} bs={} [prev bs={}]", name,
                                              delta.cluster_sectors(), below.cluster_sectors()));
  }
  if (below.kind() == Kind::Ploop1 && delta.header().version != below.header().version) {
    return fail(ExitCode::Format,
                fmt::format("Wrong version {} {} [prev {}]", name, static_cast<int>(delta.header().version),
                            static_cast<int>(below.header().version)));
  }
  return {};
}

}  // namespace

Result<Stack> Stack::make(std::vector<Delta> deltas) {
  if (deltas.empty() || deltas.size() > kMaxLevels) {
    return fail(ExitCode::Param,
                fmt::format("A stack has 1 to {} images, not {}", kMaxLevels, deltas.size()));
  }
  for (std::size_t level = 0; level < deltas.size(); ++level)
    TRY(check_member(deltas, level));
  Stack stack;
  stack.deltas_ = std::move(deltas);
  return stack;
}

Location Stack::resolve(std::uint64_t guest_cluster) const {
  for (std::size_t level = deltas_.size(); level-- > 0;) {
    const Delta& delta = deltas_[level];
    if (delta.kind() == Kind::Raw) {
      if (guest_cluster < delta.raw_clusters()) {
        return {static_cast<std::uint32_t>(guest_cluster), static_cast<std::uint16_t>(level), 0};
      }
    } else if (guest_cluster < delta.table().size() && delta.table()[guest_cluster] != 0) {
      return {delta.table()[guest_cluster], static_cast<std::uint16_t>(level), 0};
    }
  }
  return {};
}

std::vector<Location> Stack::resolve_all() const {
  std::vector<Location> map(guest_clusters());
  for (std::size_t level = 0; level < deltas_.size(); ++level) {
    const Delta& delta = deltas_[level];
    const auto number = static_cast<std::uint16_t>(level);
    if (delta.kind() == Kind::Raw) {
      const auto covered =
          static_cast<std::uint32_t>(std::min<std::uint64_t>(delta.raw_clusters(), map.size()));
      for (std::uint32_t guest = 0; guest < covered; ++guest)
        map[guest] = {guest, number, 0};
      continue;
    }
    const std::span<const std::uint32_t> table = delta.table();
    for (std::size_t guest = 0; guest < table.size(); ++guest) {
      if (table[guest] != 0) map[guest] = {table[guest], number, 0};
    }
  }
  return map;
}

Status Stack::read(std::uint64_t offset, std::span<std::byte> data) const {
  if (offset > size_bytes() || data.size() > size_bytes() - offset) {
    return fail(ExitCode::Param,
                fmt::format("Read of {} bytes at {} is outside of the device", data.size(), offset));
  }
  while (!data.empty()) {
    const std::uint64_t inside = offset % cluster_bytes();
    const auto part = data.first(std::min<std::uint64_t>(data.size(), cluster_bytes() - inside));
    const Location where = resolve(offset / cluster_bytes());
    if (!where.present()) {
      std::fill(part.begin(), part.end(), std::byte{0});
    } else {
      const Delta& delta = deltas_[where.level];
      const std::uint64_t position = where.cluster * cluster_bytes() + inside;
      if (delta.kind() == Kind::Ploop1) {
        TRY(io::read_exact(delta.file(), part, position, "data cluster"));
      } else {
        // The last cluster of a raw image may be cut short by the end of the file.
        const std::uint64_t there = delta.file_bytes() > position ? delta.file_bytes() - position : 0;
        const auto stored = part.first(std::min<std::uint64_t>(part.size(), there));
        TRY(io::read_exact(delta.file(), stored, position, "raw data"));
        std::fill(part.begin() + static_cast<std::ptrdiff_t>(stored.size()), part.end(), std::byte{0});
      }
    }
    data = data.subspan(part.size());
    offset += part.size();
  }
  return {};
}

}  // namespace ploop::image
