// Table pages are built from the whole table in memory. That is right because commit() is the only one who
// writes them and its first barrier covers the data of every staged slot: no page carries a passenger.
#include "image/editor.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "format/cluster_table.hpp"
#include "image/lifecycle.hpp"

namespace ploop::image {

Editor::Editor(Delta& delta)
    : file_(delta.file()), header_(delta.header()), table_(delta.table().begin(), delta.table().end()) {
  delta.drop_table();
  collect_free();
}

void Editor::collect_free() {
  used_.clear();
  std::copy_if(table_.begin(), table_.end(), std::back_inserter(used_),
               [](std::uint32_t cluster) { return cluster != 0; });
  std::sort(used_.begin(), used_.end());
  used_position_ = 0;
  next_free_ = header_.header_clusters();
}

Status Editor::begin() {
  TRY(mark_in_use(file_, header_));
  // New clusters at the end are expected to read as zeros.
  const std::uint64_t end = end_cluster() * cluster_bytes();
  if (TRY(io::file_size(file_)) <= end) return {};
  if (const int error = file_.truncate(end); error < 0) {
    return fail(errno_error(ExitCode::Truncate, -error, fmt::format("truncate {}", file_.name())));
  }
  return io::sync_file(file_);
}

std::uint32_t Editor::next_free() {
  while (used_position_ < used_.size() && used_[used_position_] <= next_free_) {
    if (used_[used_position_] == next_free_) ++next_free_;
    ++used_position_;
  }
  return next_free_;
}

Result<std::uint32_t> Editor::allocate() {
  const std::uint32_t cluster = next_free();
  if (cluster >= format::max_image_clusters(header_)) {
    return fail(ExitCode::Fallocate, fmt::format("No room for another cluster in image {}", file_.name()));
  }
  ++next_free_;
  return cluster;
}

void Editor::keep_free_below(std::uint32_t cluster) {
  next_free_ = std::max(next_free_, cluster);
}

void Editor::map(std::uint64_t guest, std::uint32_t cluster) {
  table_[guest] = cluster;
  staged_pages_.insert(format::page_of_slot(guest));
}

Status Editor::commit() {
  if (staged_pages_.empty()) return {};
  TRY(io::sync_file(file_));
  for (const std::uint32_t page : staged_pages_)
    TRY(write_page(page));
  TRY(io::sync_file(file_));
  staged_pages_.clear();
  return {};
}

/// Without the header bytes of page 0.
Status Editor::write_page(std::uint32_t page) {
  std::vector<std::byte> bytes(format::kTablePageSize);
  const format::PageSlots slots = format::slots_of_page(header_.table_entries, page);
  if (!format::encode_table_page(header_, page, std::span(table_).subspan(slots.first, slots.count), bytes)) {
    return fail(ExitCode::Abort, fmt::format("Cluster without a number in image {}", file_.name()));
  }
  const std::size_t skip = page == 0 ? format::kHeaderSize : 0;
  return io::write_exact(file_, std::span<const std::byte>(bytes).subspan(skip),
                         format::page_offset(page) + skip, "cluster table");
}

Status Editor::change_size(const format::Header& resized) {
  format::Header header = resized;
  header.in_use = header_.in_use;
  header.flags = header_.flags;
  header.extension_sectors = 0;
  TRY(io::sync_file(file_));
  TRY(write_header(file_, header));
  TRY(io::sync_file(file_));
  header_ = header;
  table_.resize(header_.table_entries);
  keep_free_below(header_.header_clusters());
  return {};
}

Status Editor::finish() {
  TRY(commit());
  return close_image(file_, header_, end_cluster());
}

std::uint64_t Editor::end_cluster() const {
  std::uint64_t end = header_.header_clusters();
  for (const std::uint32_t cluster : table_)
    end = std::max(end, cluster == 0 ? 0 : std::uint64_t{cluster} + 1);
  return end;
}

}  // namespace ploop::image
