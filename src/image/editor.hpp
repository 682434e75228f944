// Changing a closed image: the table in memory, free clusters, and the order in which changes become durable.
// Merge, grow, shrink and conversion are built on it. Between begin() and finish() the image carries the
// in-use mark; a power cut in between leaves it right as a stack's lower level, with clusters that nobody
// refers to at worst.
#pragma once

#include <cstdint>
#include <set>
#include <span>
#include <vector>

#include "base/result.hpp"
#include "format/header.hpp"
#include "image/delta.hpp"
#include "io/block_file.hpp"

namespace ploop::image {

/// A ploop1 image under change. One thread. The delta gives its table away and is only good for its file
/// afterwards; it outlives the editor.
class Editor {
 public:
  /// `delta` was opened writable. Nothing is written yet.
  explicit Editor(Delta& delta);

  /// Sets the in-use mark and cuts what lies behind the last used cluster; durable. ExitCode::Write, Fsync.
  Status begin();

  [[nodiscard]] const format::Header& header() const { return header_; }
  [[nodiscard]] io::BlockFile& file() const { return file_; }
  [[nodiscard]] std::uint64_t cluster_bytes() const { return header_.cluster_bytes(); }
  /// Image cluster per guest cluster, 0 = not here; staged changes included.
  [[nodiscard]] std::span<const std::uint32_t> table() const { return table_; }
  [[nodiscard]] std::uint32_t cluster_of(std::uint64_t guest) const {
    return guest < table_.size() ? table_[guest] : 0;
  }

  /// The lowest cluster that nothing refers to, holes first; then the end of the file. What it contains is
  /// unknown unless it is behind the end of the file. ExitCode::Fallocate when the version has no number for
  /// another one.
  Result<std::uint32_t> allocate();
  /// allocate() gives nothing below this one from now on.
  void keep_free_below(std::uint32_t cluster);
  /// After a commit(): places that nothing refers to any more are free as well.
  void collect_free();
  /// What allocate() would give.
  std::uint32_t next_free();

  /// The guest cluster's new place; written by the next commit(), so its data must be complete by then. The
  /// place it had becomes free with that commit.
  void map(std::uint64_t guest, std::uint32_t cluster);

  [[nodiscard]] bool has_staged() const { return !staged_pages_.empty(); }
  /// Barrier, table pages, barrier. Nothing when nothing was mapped. Clusters that moved may be overwritten
  /// afterwards.
  Status commit();

  /// The new size: more slots, all empty. The file's area for them is zero and nothing refers to it. Header
  /// and barriers; durable.
  Status change_size(const format::Header& resized);

  /// commit() and the clean close: file cut behind the last used cluster, mark cleared. Durable.
  Status finish();

  /// Highest cluster in use plus one, at least the header clusters.
  [[nodiscard]] std::uint64_t end_cluster() const;

 private:
  Status write_page(std::uint32_t page);

  io::BlockFile& file_;
  format::Header header_;
  std::vector<std::uint32_t> table_;
  std::vector<std::uint32_t> used_;  ///< clusters the table referred to at the start, ascending
  std::size_t used_position_ = 0;    ///< first of used_ that is not below next_free_
  std::uint32_t next_free_ = 0;      ///< nothing below it is free
  std::set<std::uint32_t> staged_pages_;
};

}  // namespace ploop::image
