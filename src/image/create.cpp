// Creation: reserve the space, write the table if it is not all zeros, the header, one sync for all. A power
// cut in between may leave a part of it, but no descriptor names the file before create_image() has returned.
#include "image/create.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <vector>

#include "base/checked.hpp"
#include "base/fd.hpp"
#include "format/cluster_table.hpp"
#include "image/lifecycle.hpp"
#include "io/posix_file.hpp"

namespace ploop::image {
namespace {

constexpr std::uint64_t kPiece = kMiB;

tl::unexpected<Error> creation_failed(int error, const io::BlockFile& file) {
  return fail(errno_error(ExitCode::Create, error, fmt::format("Can't create {}", file.name())));
}

/// The part of a creation that is asked "go on?" and told how far it is.
class Steps {
 public:
  Steps(const CreateOptions& options, std::uint64_t total) : options_(options), total_(total) {}
  Status step(std::uint64_t done) {
    report_progress(options_.progress, done, total_);
    if (options_.cancelled && options_.cancelled())
      return fail(ExitCode::Create, "Creation of the image was cancelled");
    return {};
  }

 private:
  const CreateOptions& options_;
  std::uint64_t total_;
};

Status write_zeros(io::BlockFile& file, std::uint64_t length, Steps& steps) {
  const std::vector<std::byte> zeros(kPiece);
  for (std::uint64_t offset = 0; offset < length; offset += kPiece) {
    const auto part = std::span(zeros).first(std::min(kPiece, length - offset));
    if (const std::int64_t put = file.write(part, offset); put < 0)
      return creation_failed(static_cast<int>(-put), file);
    TRY(steps.step(offset + part.size()));
  }
  return {};
}

/// Slot n points to the n-th cluster behind the header clusters. Written from byte 64 on; the header comes
/// last.
Status write_full_table(io::BlockFile& file, const format::Header& header, Steps& steps) {
  std::vector<std::uint32_t> clusters;
  std::vector<std::byte> bytes(format::kTablePageSize);
  const std::uint32_t pages = format::table_pages(header.table_entries);
  for (std::uint32_t page = 0; page < pages; ++page) {
    const format::PageSlots slots = format::slots_of_page(header.table_entries, page);
    clusters.resize(slots.count);
    for (std::uint32_t i = 0; i < slots.count; ++i) {
      clusters[i] = static_cast<std::uint32_t>(header.header_clusters() + slots.first + i);
    }
    if (!format::encode_table_page(header, page, clusters, bytes)) {
      return fail(ExitCode::Param, "A preallocated image of this size does not fit into this version");
    }
    const std::size_t skip = page == 0 ? format::kHeaderSize : 0;
    const auto part = std::span<const std::byte>(bytes).subspan(skip);
    const std::int64_t put = file.write(part, format::page_offset(page) + skip);
    if (put < 0) return creation_failed(static_cast<int>(-put), file);
    if (page % 256 == 0) TRY(steps.step(format::page_offset(page)));
  }
  return {};
}

Result<CreateResult> write_raw(io::BlockFile& file, const CreateOptions& options) {
  CreateResult result;
  result.header.cluster_sectors = options.cluster_sectors;
  result.header.size_sectors =
      TRY(format::round_size_sectors(options.size_sectors, options.cluster_sectors, format::Version::V2));
  const std::uint64_t length = result.header.size_bytes();
  Steps steps(options, length);
  TRY(steps.step(0));
  const int error = file.allocate(0, length);
  if (error == -EOPNOTSUPP) {
    TRY(write_zeros(file, length, steps));
  } else if (error < 0) {
    return creation_failed(-error, file);
  }
  return result;
}

Result<CreateResult> write_ploop1(io::BlockFile& file, const CreateOptions& options) {
  CreateResult result;
  result.header = TRY(format::make_header(options.size_sectors, options.cluster_sectors, options.version));
  const format::Header& header = result.header;
  const bool full = options.format == CreateFormat::Preallocated;
  const std::uint64_t header_bytes = std::uint64_t{header.first_block_sectors} * kSectorSize;
  const std::uint64_t length = header_bytes + (full ? header.size_bytes() : 0);
  if (full &&
      header.header_clusters() + std::uint64_t{header.table_entries} > format::max_image_clusters(header)) {
    return fail(ExitCode::Param, "A preallocated image of this size does not fit into this version");
  }
  Steps steps(options, length);
  TRY(steps.step(0));
  // The table gets its blocks now, so that no later table write can fail for lack of space.
  int error = file.allocate(0, length);
  if (error == -EOPNOTSUPP) {
    error = file.truncate(length);
    if (full) result.warning = "The file system cannot reserve space; the image is sparse";
  }
  if (error < 0) return creation_failed(-error, file);
  if (full) TRY(write_full_table(file, header, steps));
  const auto bytes = format::encode_header(header);
  if (const std::int64_t put = file.write(bytes, 0); put < 0)
    return creation_failed(static_cast<int>(-put), file);
  TRY(steps.step(length));
  return result;
}

}  // namespace

Result<CreateResult> write_new_image(io::BlockFile& file, const CreateOptions& options) {
  CreateResult result =
      TRY(options.format == CreateFormat::Raw ? write_raw(file, options) : write_ploop1(file, options));
  if (const int error = file.sync(); error < 0) return creation_failed(-error, file);
  return result;
}

Result<CreateResult> create_image(const std::string& path, const CreateOptions& options) {
  auto file = io::PosixFile::open(path, {.writable = true, .direct = false, .exclusive_create = true});
  if (!file) {
    Error error = std::move(file).error();
    // An image that is already there is the user's mistake, and its bytes are not ours to touch.
    const ExitCode code = error.sys_errno == EEXIST ? ExitCode::Param : ExitCode::Create;
    return fail(Error{code, error.sys_errno, fmt::format("Can't create {}", path)});
  }
  Rollback rollback;
  rollback.add([&path] { ::unlink(path.c_str()); });
  CreateResult result = TRY(write_new_image(**file, options));
  if (auto synced = sync_parent_directory(path); !synced) {
    return fail(Error{ExitCode::Create, synced.error().sys_errno, synced.error().what});
  }
  rollback.commit();
  return result;
}

}  // namespace ploop::image
