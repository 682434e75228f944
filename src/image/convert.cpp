#include "image/convert.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>

#include "format/cluster_table.hpp"
#include "image/copy.hpp"
#include "image/editor.hpp"
#include "image/lifecycle.hpp"
#include "image/table_io.hpp"

namespace ploop::image {
namespace {

/// New clusters between two commits, bytes.
constexpr std::uint64_t kBatchBytes = kGiB;

tl::unexpected<Error> unable(const Delta& delta, format::Version version, std::string_view why) {
  return fail(ExitCode::Param, fmt::format("Unable to convert image to PLOOP_FMT_V{}: {} ({})",
                                           static_cast<int>(version), why, delta.file().name()));
}

/// Reserved space where the file system can, else a hole.
Status reserve(Editor& editor, Copier& copier, std::uint32_t cluster) {
  const std::uint64_t bytes = editor.cluster_bytes();
  // A hole of the image may contain anything.
  TRY(copier.zero(cluster * bytes, bytes));
  const int error = editor.file().allocate(cluster * bytes, bytes);
  if (error == 0 || error == -EOPNOTSUPP) return {};
  return fail(errno_error(ExitCode::Fallocate, -error,
                          fmt::format("Can't reserve space in {}", editor.file().name())));
}

}  // namespace

Result<std::vector<std::byte>> converted_head(const Delta& delta, format::Version version) {
  format::Header header = delta.header();
  header.version = version;
  header.in_use = format::kClosedMark;
  header.extension_sectors = 0;
  if (header.size_sectors > format::max_size_sectors(version, header.cluster_sectors)) {
    return unable(delta, version, "it is too large for that");
  }
  std::vector<std::byte> head(std::uint64_t{header.first_block_sectors} * kSectorSize);
  for (std::uint32_t page = 0; page < format::table_pages(header.table_entries); ++page) {
    const format::PageSlots slots = format::slots_of_page(header.table_entries, page);
    const auto bytes = std::span(head).subspan(format::page_offset(page), format::kTablePageSize);
    if (!format::encode_table_page(header, page, delta.table().subspan(slots.first, slots.count), bytes)) {
      return unable(delta, version, "its file is too long for that");
    }
  }
  const auto start = format::encode_header(header);
  std::copy(start.begin(), start.end(), head.begin());
  return head;
}

Status check_head(io::BlockFile& file, std::span<const std::byte> head) {
  const format::Header now = TRY(read_header(file));
  const format::Header wanted = TRY(format::decode_header(head));
  const bool fits =
      wanted.size_sectors == now.size_sectors && wanted.cluster_sectors == now.cluster_sectors &&
      wanted.table_entries == now.table_entries && wanted.first_block_sectors == now.first_block_sectors &&
      !wanted.is_in_use() && head.size() == std::uint64_t{wanted.first_block_sectors} * kSectorSize;
  if (fits) return {};
  return fail(ExitCode::Format, fmt::format("The new header does not belong to image {}", file.name()));
}

Status mark_converting(io::BlockFile& file) {
  format::Header header = TRY(read_header(file));
  header.flags |= format::kFlagConverting;
  return mark_in_use(file, header);
}

Status apply_head(io::BlockFile& file, std::span<const std::byte> head) {
  TRY(check_head(file, head));
  TRY(mark_converting(file));
  TRY(io::write_exact(file, head.subspan(format::kHeaderSize), format::kHeaderSize, "cluster table"));
  TRY(io::sync_file(file));
  TRY(io::write_exact(file, head.first(format::kHeaderSize), 0, "header"));
  return io::sync_file(file);
}

Status preallocate_image(Delta& delta, const PreallocateOptions& options) {
  Editor editor(delta);
  const auto slots = editor.table();
  const std::uint64_t bytes = editor.cluster_bytes();
  const std::uint64_t total = static_cast<std::uint64_t>(std::count(slots.begin(), slots.end(), 0u)) * bytes;
  TRY(editor.begin());
  Copier copier(editor.file(), bytes);
  std::uint64_t done = 0;
  for (std::uint32_t guest = 0; guest < editor.table().size(); ++guest) {
    if (editor.cluster_of(guest) != 0) continue;
    const std::uint32_t cluster = TRY(editor.allocate());
    TRY(reserve(editor, copier, cluster));
    editor.map(guest, cluster);
    done += bytes;
    report_progress(options.progress, done, total);
    if (done % kBatchBytes >= bytes) continue;
    TRY(editor.commit());
    if (options.cancelled && options.cancelled()) {
      return fail(ExitCode::System, fmt::format("The conversion of {} was cancelled", editor.file().name()));
    }
  }
  return editor.finish();
}

}  // namespace ploop::image
