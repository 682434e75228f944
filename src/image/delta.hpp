// One delta: an image file opened and understood. Everything a stack, an offline tool or the engine needs to
// know about it is validated here once; afterwards table entries are plain cluster numbers that can be
// trusted.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/result.hpp"
#include "format/header.hpp"
#include "io/block_file.hpp"

namespace ploop::image {

enum class Kind : std::uint8_t {
  Ploop1,  ///< header, cluster table, clusters
  Raw,     ///< guest sector s is file sector s; only the base of a stack may be raw
};

struct OpenOptions {
  /// Open although the in-use mark is set (check, repair, recovery by the engine). Otherwise ExitCode::InUse.
  bool allow_in_use = false;
  /// The delta will be written: refuse what is acceptable for reading only (size not a multiple of the
  /// cluster).
  bool writable = false;
  /// Guest cluster size of a raw image in sectors; ignored for ploop1.
  std::uint32_t raw_cluster_sectors = format::kDefaultClusterSectors;
};

/// Owns the file. Movable. Opening reads header and table and changes nothing.
class Delta {
 public:
  /// Fails with ExitCode::Format on a damaged header or table: slot in the header area, beyond the end of the
  /// file, misaligned, used twice, reserved value, or non-zero behind the last guest cluster. Memory is
  /// bounded by the real file size. ExitCode::InUse when the mark is set and not allowed, Busy for an
  /// interrupted version conversion, Read for a file that cannot be read or is shorter than a header, Param
  /// for a wrong raw cluster size.
  static Result<Delta> open(std::unique_ptr<io::BlockFile> file, Kind kind, const OpenOptions& options);

  [[nodiscard]] Kind kind() const { return kind_; }
  /// For a raw image: made up from the file length; version V2, no header clusters.
  [[nodiscard]] const format::Header& header() const { return header_; }
  [[nodiscard]] std::uint64_t size_sectors() const { return header_.size_sectors; }
  [[nodiscard]] std::uint32_t cluster_sectors() const { return header_.cluster_sectors; }
  [[nodiscard]] std::uint64_t cluster_bytes() const { return header_.cluster_bytes(); }
  /// ImageCluster number per guest cluster, 0 = not here; header().table_entries long. Empty for raw.
  [[nodiscard]] std::span<const std::uint32_t> table() const { return table_; }
  /// Guest clusters a raw image covers: ceil(file length / cluster).
  [[nodiscard]] std::uint64_t raw_clusters() const { return raw_clusters_; }
  /// File length at open time, bytes.
  [[nodiscard]] std::uint64_t file_bytes() const { return file_bytes_; }
  [[nodiscard]] io::BlockFile& file() const { return *file_; }
  /// Highest cluster of the file that a slot refers to, plus one; at least the header clusters. 0 for raw.
  [[nodiscard]] std::uint64_t end_cluster() const { return end_cluster_; }

  /// Gives the file away; the delta must not be read any more.
  [[nodiscard]] std::unique_ptr<io::BlockFile> release_file() { return std::move(file_); }
  /// Frees the table's memory when a merged map has made it unnecessary; table() is empty afterwards.
  void drop_table() { std::vector<std::uint32_t>().swap(table_); }

 private:
  Delta() = default;
  Status open_raw(const OpenOptions& options);
  Status open_ploop1(const OpenOptions& options);
  Status load_table();
  std::unique_ptr<io::BlockFile> file_;
  Kind kind_ = Kind::Ploop1;
  format::Header header_;
  std::vector<std::uint32_t> table_;
  std::uint64_t raw_clusters_ = 0;
  std::uint64_t file_bytes_ = 0;
  std::uint64_t end_cluster_ = 0;
};

}  // namespace ploop::image
