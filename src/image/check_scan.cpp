// The reading half of the checker. Every slot is classified once, in the original's order; sound ones go into
// a list that, sorted by file cluster, shows double use and holes.
#include <fmt/format.h>

#include <algorithm>

#include "image/check.hpp"
#include "image/extension_file.hpp"
#include "image/table_io.hpp"

namespace ploop::image {
namespace {

/// Holes beyond this number are counted, not listed: their number is up to the file's length, which costs
/// nothing.
constexpr std::uint64_t kMaxListedHoles = 65536;

struct Reference {
  std::uint32_t cluster = 0;
  std::uint32_t guest = 0;
  friend auto operator<=>(const Reference&, const Reference&) = default;
};

class Scanner {
 public:
  Scanner(io::BlockFile& file, const CheckOptions& options) : file_(file), options_(options) {}
  Result<Scan> run();

 private:
  void classify_slots();
  void classify(std::uint32_t guest, std::uint32_t slot);
  Status examine_extension();
  void examine_references();
  void list_holes();
  void examine_end();
  void add(FindingKind kind, Severity severity, std::uint64_t guest, std::uint64_t cluster,
           std::uint64_t slot) {
    scan_.findings.push_back(
        {.kind = kind, .severity = severity, .guest_cluster = guest, .image_cluster = cluster, .slot = slot});
  }

  io::BlockFile& file_;
  const CheckOptions& options_;
  Scan scan_;
  std::vector<Reference> references_;
};

Result<Scan> Scanner::run() {
  scan_.header = TRY(read_header(file_));
  scan_.file_bytes = TRY(io::file_size(file_));
  const format::Header& header = scan_.header;
  if ((header.flags & format::kFlagConverting) != 0) {
    return fail(ExitCode::Busy, fmt::format("Image {} is in the changing version state", file_.name()));
  }
  if (!header.is_in_use() && !options_.force && !options_.hard_force) {
    scan_.skipped = true;
    if (!options_.silent) add(FindingKind::CleanSkipped, Severity::Info, 0, 0, 0);
    return std::move(scan_);
  }
  TRY(check_header_area(file_, header, scan_.file_bytes));
  scan_.slots = TRY(read_slots(file_, header, scan_.file_bytes, options_.progress));
  classify_slots();
  TRY(examine_extension());
  examine_references();
  if (options_.check) list_holes();
  examine_end();
  return std::move(scan_);
}

void Scanner::classify_slots() {
  for (std::size_t guest = 0; guest < scan_.slots.size(); ++guest) {
    if (scan_.slots[guest] != 0) classify(static_cast<std::uint32_t>(guest), scan_.slots[guest]);
  }
}

void Scanner::classify(std::uint32_t guest, std::uint32_t slot) {
  const format::Header& header = scan_.header;
  const std::uint32_t cluster = format::cluster_from_slot(header, slot);
  if (guest >= header.table_entries) {
    add(FindingKind::SlotBeyondDevice, Severity::Warning, guest, 0, slot);
  } else if (cluster == format::kInvalidSlot && slot != format::kInvalidSlot) {
    add(FindingKind::SlotMisaligned, Severity::Error, guest, 0, slot);
  } else if (cluster == format::kInvalidSlot) {
    add(FindingKind::SlotBeyondEof, Severity::Error, guest, slot, slot);
  } else if (cluster < header.header_clusters()) {
    add(FindingKind::SlotInHeader, Severity::Error, guest, cluster, slot);
  } else if (cluster * header.cluster_bytes() >= scan_.file_bytes) {
    add(FindingKind::SlotBeyondEof, Severity::Error, guest, cluster, slot);
  } else {
    references_.push_back({cluster, guest});
    ++scan_.allocated;
  }
}

/// A valid extension's clusters count as used. One that overlaps data is not valid: the data is what must not
/// be lost.
Status Scanner::examine_extension() {
  const format::Header& header = scan_.header;
  if (header.extension_sectors == 0) return {};
  if (header.in_use != format::kClosedWithExtension) {
    add(FindingKind::ExtensionStale, Severity::Info, 0, 0, 0);
    return {};
  }
  const auto extension = read_extension(file_, header, scan_.file_bytes);
  if (!extension && extension.error().code != ExitCode::Format) return fail(extension.error());
  scan_.extension_valid = extension.has_value();
  if (scan_.extension_valid) {
    const std::vector<std::uint64_t> taken = extension_clusters(header, **extension);
    const auto overlaps = [&](const Reference& r) {
      return std::binary_search(taken.begin(), taken.end(), r.cluster);
    };
    scan_.extension_valid = std::none_of(references_.begin(), references_.end(), overlaps);
    if (scan_.extension_valid) {
      for (const std::uint64_t cluster : taken)
        scan_.used.push_back(static_cast<std::uint32_t>(cluster));
    }
  }
  if (!scan_.extension_valid) {
    add(FindingKind::ExtensionDamaged, Severity::Warning, 0,
        header.extension_sectors / header.cluster_sectors, 0);
  }
  return {};
}

void Scanner::examine_references() {
  std::sort(references_.begin(), references_.end());
  // Without being asked only where a crash is possible; elsewhere it is the -c of the command line.
  const bool look_for_doubles = options_.check || options_.hard_force || scan_.header.is_in_use();
  for (std::size_t i = 1; look_for_doubles && i < references_.size(); ++i) {
    // The lowest guest cluster keeps the place, every later one is a finding.
    if (references_[i].cluster != references_[i - 1].cluster) continue;
    add(FindingKind::SlotUsedTwice, Severity::Error, references_[i].guest, references_[i].cluster,
        scan_.slots[references_[i].guest]);
  }
  for (const Reference& reference : references_)
    scan_.used.push_back(reference.cluster);
  std::sort(scan_.used.begin(), scan_.used.end());
  scan_.used.erase(std::unique(scan_.used.begin(), scan_.used.end()), scan_.used.end());
  references_ = {};
  scan_.end_cluster = scan_.header.header_clusters();
  if (!scan_.used.empty()) scan_.end_cluster = std::uint64_t{scan_.used.back()} + 1;
  std::stable_sort(scan_.findings.begin(), scan_.findings.end(),
                   [](const Finding& a, const Finding& b) { return a.guest_cluster < b.guest_cluster; });
}

void Scanner::list_holes() {
  std::uint64_t next = scan_.header.header_clusters();
  std::uint64_t listed = 0;
  std::uint64_t others = 0;
  for (const std::uint32_t cluster : scan_.used) {
    const std::uint64_t gap = cluster - next;
    const std::uint64_t shown = std::min(gap, kMaxListedHoles - listed);
    for (std::uint64_t hole = next; hole < next + shown; ++hole)
      add(FindingKind::Hole, Severity::Info, 0, hole, 0);
    listed += shown;
    others += gap - shown;
    next = std::uint64_t{cluster} + 1;
  }
  if (others != 0) {
    add(FindingKind::MoreHoles, Severity::Info, 0, 0, 0);
    scan_.findings.back().count = others;
  }
}

void Scanner::examine_end() {
  const std::uint64_t end = scan_.end_cluster * scan_.header.cluster_bytes();
  if (scan_.file_bytes < end) {
    add(FindingKind::PartialTail, Severity::Warning, 0, scan_.file_bytes / scan_.header.cluster_bytes(), 0);
  } else if (scan_.file_bytes > end) {
    add(FindingKind::Tail, Severity::Warning, 0, scan_.end_cluster, 0);
    scan_.findings.back().count = scan_.file_bytes - end;
    scan_.findings.back().offset = end;
  }
  if (scan_.header.is_in_use()) add(FindingKind::InUse, Severity::Warning, 0, 0, 0);
  const bool marked_empty = (scan_.header.flags & format::kFlagEmpty) != 0;
  if (marked_empty != (scan_.allocated == 0)) add(FindingKind::EmptyFlag, Severity::Info, 0, 0, 0);
}

}  // namespace

Result<Scan> scan_image(io::BlockFile& file, const CheckOptions& options) {
  return Scanner(file, options).run();
}

}  // namespace ploop::image
