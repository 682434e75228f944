// Checking and repairing one image, in two steps: scan_image() reads and lists what it finds, repair_image()
// changes the file. check_image() is both, with the exit status of the `check` command; check_file() opens
// the file as well.
//
// Repair order, so that a power cut at any point leaves an image that is no worse and a second run finishes
// the work: extension dropped -> partial last cluster completed -> copies of doubly used clusters -> barrier
// -> table pages -> barrier -> tail cut -> barrier -> header -> barrier.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/progress.hpp"
#include "base/result.hpp"
#include "format/header.hpp"
#include "io/block_file.hpp"

namespace ploop::image {

struct CheckOptions {
  bool force = false;       ///< -f: examine although the in-use mark is clear
  bool hard_force = false;  ///< -F: force, and repair what loses data; looks for doubly used clusters as well
  bool check = false;       ///< -c: look for doubly used clusters and list holes
  bool read_only = false;   ///< -r: change nothing (except what repair_sparse asks for)
  bool drop_in_use = false;     ///< -d: clear the in-use mark when everything else is right
  bool raw = false;             ///< -R: no header; nothing but repair_sparse applies
  std::uint32_t blocksize = 0;  ///< -b: cluster sectors of a raw image, which needs it
  /// -S: fill the holes of the file with zeros, for old kernels that cannot handle them. Holes are normal
  /// here and read as zeros, so nobody but a user who asks for it should set this: it makes a thin image
  /// thick.
  bool repair_sparse = false;
  bool silent = false;             ///< -s: don't mention that a clean image was skipped
  ProgressCallback progress = {};  ///< one pass over the table, with repair_sparse one over the file
};

enum class FindingKind : std::uint8_t {
  CleanSkipped,      ///< not in use and not forced: not examined
  SlotBeyondDevice,  ///< slot behind the last guest cluster is not zero
  SlotMisaligned,    ///< v1 slot that is not a multiple of the cluster size
  SlotBeyondEof,     ///< slot behind the end of the file; also the reserved value
  SlotInHeader,      ///< slot points into the header clusters
  SlotUsedTwice,     ///< two guest clusters share a cluster
  PartialTail,       ///< a used cluster is cut off by the end of the file
  Hole,              ///< unreferenced cluster between used ones; informational
  MoreHoles,         ///< `count` further holes are not listed one by one
  FatalErrors,       ///< summary: errors remain, nothing was repaired
  Tail,              ///< the file goes on behind the last used cluster
  InUse,             ///< the in-use mark is set
  EmptyFlag,         ///< the empty flag disagrees with the table
  ExtensionStale,    ///< extension offset set, but the closing mark does not vouch for it
  ExtensionDamaged,  ///< extension vouched for, but not valid
  HeaderNotFixed,    ///< the header should be rewritten, but the image is read-only
  SparseClusters,    ///< used clusters with holes in the file, which read as zeros; informational
  HoleFilled,        ///< repair_sparse wrote zeros
};

enum class Severity : std::uint8_t { Info, Warning, Error };

/// What became of a finding.
enum class Verdict : std::uint8_t { None, Fixed, Skipped, Fatal };

struct Finding {
  FindingKind kind = FindingKind::CleanSkipped;
  Severity severity = Severity::Info;
  Verdict verdict = Verdict::None;
  std::uint64_t guest_cluster = 0;
  std::uint64_t image_cluster = 0;
  std::uint64_t slot = 0;    ///< as stored
  std::uint64_t count = 0;   ///< MoreHoles, SparseClusters: how many; HoleFilled, Tail: bytes
  std::uint64_t offset = 0;  ///< HoleFilled: byte position; Tail: new file length

  /// The message in the words of the original. `cluster_sectors` is needed for positions given in sectors.
  [[nodiscard]] std::string text(const std::string& image, std::uint32_t cluster_sectors) const;
  /// True when the verdict belongs on a line of its own after the text.
  [[nodiscard]] bool prints_verdict() const;
  /// True for messages that belong to stderr.
  [[nodiscard]] bool is_error_output() const;
};

std::string_view verdict_text(Verdict verdict);  ///< "Fixed", "Skipped", "FATAL" or ""

/// What scan_image() found. Plain data.
struct Scan {
  format::Header header;
  std::uint64_t file_bytes = 0;
  bool skipped = false;              ///< clean and not forced: nothing below was filled in
  bool extension_valid = false;      ///< vouched for and verified: its clusters count as used
  std::vector<std::uint32_t> slots;  ///< as stored, those behind the last guest cluster included
  std::vector<std::uint32_t> used;   ///< clusters of the file that are in use, ascending, each once
  std::vector<Finding> findings;
  std::uint64_t allocated = 0;    ///< guest clusters with a sound slot
  std::uint64_t end_cluster = 0;  ///< highest used cluster plus one, at least the header clusters
};

struct CheckReport {
  std::string image;  ///< name of the file
  std::uint32_t cluster_sectors = 0;
  std::vector<Finding> findings;  ///< in the order in which they are to be shown
  ExitCode exit = ExitCode::Ok;   ///< Ok, InUse (37), Format (11) or Write (7)
  bool changed = false;           ///< the file was modified
  std::uint64_t lost_clusters =
      0;  ///< slots zeroed by hard_force: their data is gone, a lower delta's shows again
  std::uint64_t copied_clusters = 0;  ///< doubly used clusters that got a copy

  [[nodiscard]] std::string text(const Finding& finding) const {
    return finding.text(image, cluster_sectors);
  }
};

/// Reads header and table and lists what is wrong. Changes nothing. A finding says how bad it is; its verdict
/// is still None. ExitCode::Format for a header that cannot be used, Busy for an interrupted version
/// conversion, Read.
Result<Scan> scan_image(io::BlockFile& file, const CheckOptions& options);

/// Repairs what `options` allow and decides the exit status. The scan must be of this file, unchanged since.
Result<CheckReport> repair_image(io::BlockFile& file, Scan scan, const CheckOptions& options);

/// scan_image() and repair_image(). ExitCode::Param for a raw image without block size.
Result<CheckReport> check_image(io::BlockFile& file, const CheckOptions& options);

/// Opens `path` read-only and, when there is something to examine and options allow it, again for writing.
/// Takes the image's lock meanwhile, so that an image that a device uses is left alone: ExitCode::InUse.
/// ExitCode::Open when opening fails.
Result<CheckReport> check_file(const std::string& path, const CheckOptions& options);

}  // namespace ploop::image
