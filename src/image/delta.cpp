// Opening one image: everything that could make a later access wrong is refused here.
#include "image/delta.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "image/extension_file.hpp"
#include "image/table_io.hpp"

namespace ploop::image {
namespace {

/// What a writer may not do without understanding it. A damaged extension stops nobody: a writer forgets it
/// anyway.
Status check_extension(io::BlockFile& file, const format::Header& header, std::uint64_t file_bytes,
                       std::span<const std::uint32_t> table, bool writable) {
  const auto extension = read_extension(file, header, file_bytes);
  if (!extension) {
    if (extension.error().code == ExitCode::Format) return {};
    return fail(extension.error());
  }
  if (!*extension) return {};
  const std::vector<std::uint64_t> taken = extension_clusters(header, **extension);
  const auto shared = std::find_if(table.begin(), table.end(), [&](std::uint32_t cluster) {
    return cluster != 0 && std::binary_search(taken.begin(), taken.end(), cluster);
  });
  if (shared != table.end()) {
    return fail(ExitCode::Format, fmt::format("Data cluster {} is part of the format extension in image {}",
                                              *shared, file.name()));
  }
  if (writable && ((*extension)->unknown_necessary || (*extension)->unknown_transit)) {
    return fail(ExitCode::Format,
                fmt::format("Image {} has a format extension that is not understood and would be "
                            "lost by writing",
                            file.name()));
  }
  return {};
}

}  // namespace

Result<Delta> Delta::open(std::unique_ptr<io::BlockFile> file, Kind kind, const OpenOptions& options) {
  Delta delta;
  delta.kind_ = kind;
  delta.file_bytes_ = TRY(io::file_size(*file));
  delta.file_ = std::move(file);
  if (kind == Kind::Raw) {
    TRY(delta.open_raw(options));
  } else {
    TRY(delta.open_ploop1(options));
  }
  return delta;
}

Status Delta::open_raw(const OpenOptions& options) {
  if (!format::valid_cluster_sectors(options.raw_cluster_sectors)) {
    return fail(ExitCode::Param, fmt::format("Wrong cluster size {}", options.raw_cluster_sectors));
  }
  const std::string& name = file_->name();
  if (file_bytes_ == 0) return fail(ExitCode::Format, fmt::format("Raw image {} is empty", name));
  if (options.writable && file_bytes_ % kSectorSize != 0) {
    return fail(ExitCode::Format, fmt::format("Length of raw image {} is not a multiple of a sector", name));
  }
  header_.version = format::Version::V2;
  header_.cluster_sectors = options.raw_cluster_sectors;
  header_.size_sectors = div_up(file_bytes_, kSectorSize);
  raw_clusters_ = div_up(file_bytes_, header_.cluster_bytes());
  if (raw_clusters_ > kMaxTableEntries)
    return fail(ExitCode::Format, fmt::format("Raw image {} is too large", name));
  return {};
}

Status Delta::open_ploop1(const OpenOptions& options) {
  header_ = TRY(read_header(*file_));
  const std::string& name = file_->name();
  if ((header_.flags & format::kFlagConverting) != 0) {
    return fail(ExitCode::Busy, fmt::format("Image {} is in the changing version state", name));
  }
  if (header_.is_in_use() && !options.allow_in_use) {
    return fail(ExitCode::InUse, fmt::format("Image is in use {}", name));
  }
  if (options.writable && header_.size_sectors % header_.cluster_sectors != 0) {
    return fail(ExitCode::Format,
                fmt::format("Size {} of image {} is not a multiple of the cluster; it can only be read",
                            header_.size_sectors, name));
  }
  TRY(check_header_area(*file_, header_, file_bytes_));
  if (options.writable && file_bytes_ < std::uint64_t{header_.first_block_sectors} * kSectorSize) {
    return fail(ExitCode::Format,
                fmt::format("Image {} ends inside of its header area; it can only be read", name));
  }
  // Whoever allocates keeps a bit per cluster of the file; a sparse file may be as long as it likes.
  if (options.writable && file_bytes_ / header_.cluster_bytes() > format::max_image_clusters(header_)) {
    return fail(ExitCode::Format, fmt::format("Image {} is longer than its version can address", name));
  }
  TRY(load_table());
  return check_extension(*file_, header_, file_bytes_, table_, options.writable);
}

Status Delta::load_table() {
  std::vector<std::uint32_t> slots = TRY(read_slots(*file_, header_, file_bytes_));
  const auto complain = [&](std::string_view what, std::uint64_t guest) {
    return fail(ExitCode::Format,
                fmt::format("{}, vsec={} in image {}", what, guest * header_.cluster_sectors, file_->name()));
  };
  const std::uint64_t file_clusters = file_bytes_ / header_.cluster_bytes();
  end_cluster_ = header_.header_clusters();
  for (std::uint64_t guest = 0; guest < slots.size(); ++guest) {
    const std::uint32_t slot = slots[guest];
    if (slot == 0) continue;
    if (guest >= header_.table_entries) return complain("Data cluster beyond block device size", guest);
    const std::uint32_t cluster = format::cluster_from_slot(header_, slot);
    if (cluster == format::kInvalidSlot) return complain(fmt::format("Wrong slot {:#x}", slot), guest);
    if (cluster < header_.header_clusters())
      return complain(fmt::format("Data cluster {} in the header", cluster), guest);
    if (cluster >= file_clusters) return complain(fmt::format("Data cluster {} beyond EOF", cluster), guest);
    slots[guest] = cluster;
    end_cluster_ = std::max(end_cluster_, std::uint64_t{cluster} + 1);
  }
  slots.resize(header_.table_entries);
  slots.shrink_to_fit();
  if (const std::uint32_t twice = find_duplicate(slots); twice != 0) {
    return fail(ExitCode::Format,
                fmt::format("Block {} is used more than once in image {}", twice, file_->name()));
  }
  table_ = std::move(slots);
  return {};
}

}  // namespace ploop::image
