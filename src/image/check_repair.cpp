// The writing half of the checker: first decides what happens to each finding, then applies it in the
// crash-safe order that check.hpp states, then settles in-use mark and header.
#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "base/endian.hpp"
#include "format/cluster_table.hpp"
#include "image/check.hpp"
#include "image/lifecycle.hpp"
#include "image/sparse.hpp"
#include "io/posix_file.hpp"

namespace ploop::image {
namespace {

constexpr std::uint64_t kCopyPiece = kMiB;
/// Filled holes beyond this number are still filled, but not listed.
constexpr std::size_t kMaxListedFills = 65536;

class Repairer {
 public:
  Repairer(io::BlockFile& file, Scan scan, const CheckOptions& options)
      : file_(file), scan_(std::move(scan)), options_(options), header_(scan_.header) {}
  Result<CheckReport> run();

 private:
  [[nodiscard]] bool writable() const { return !options_.read_only; }
  bool decide();
  void decide(Finding& finding);
  Status apply();
  Status forget_extension();
  Status complete_last_cluster();
  Status copy_doubles();
  Status copy_cluster(std::uint64_t from, std::uint64_t to);
  std::uint64_t take_free_cluster();
  void zero_slots();
  Status write_slots();
  Status cut_tail();
  Status settle();
  Status write_clean_header();
  Status check_sparse();
  void add(FindingKind kind, Severity severity) {
    report_.findings.push_back({.kind = kind, .severity = severity});
  }

  io::BlockFile& file_;
  Scan scan_;
  const CheckOptions& options_;
  format::Header header_;
  CheckReport report_;
  std::set<std::uint32_t> changed_pages_;
  std::uint64_t free_search_ = 0;  ///< no free cluster below this one
  bool unclean_ = false;
};

Result<CheckReport> Repairer::run() {
  report_.image = file_.name();
  report_.cluster_sectors = header_.cluster_sectors;
  if (scan_.skipped) {
    report_.findings = std::move(scan_.findings);
    TRY(check_sparse());
    return std::move(report_);
  }
  if (!decide()) {
    add(FindingKind::FatalErrors, Severity::Error);
    report_.exit = ExitCode::Format;
    return std::move(report_);
  }
  if (writable()) TRY(apply());
  TRY(settle());
  if (report_.exit == ExitCode::Ok) TRY(check_sparse());
  return std::move(report_);
}

/// Gives every finding its verdict. False when one stays fatal: then nothing at all is changed.
bool Repairer::decide() {
  // The mark and the empty flag are judged again after the repair.
  std::erase_if(scan_.findings, [](const Finding& f) {
    return f.kind == FindingKind::InUse || f.kind == FindingKind::EmptyFlag;
  });
  for (Finding& finding : scan_.findings)
    decide(finding);
  report_.findings = std::move(scan_.findings);
  const bool fatal = std::any_of(report_.findings.begin(), report_.findings.end(),
                                 [](const Finding& f) { return f.verdict == Verdict::Fatal; });
  if (!fatal) return true;
  for (Finding& finding : report_.findings) {
    if (finding.verdict == Verdict::Fixed) finding.verdict = Verdict::Skipped;
  }
  return false;
}

void Repairer::decide(Finding& finding) {
  if (finding.severity == Severity::Error) {
    finding.verdict = options_.hard_force && writable() ? Verdict::Fixed : Verdict::Fatal;
  } else if (finding.severity == Severity::Warning) {
    finding.verdict = writable() ? Verdict::Fixed : Verdict::Skipped;
    // An unreferenced tail is no damage; everything else that was left alone is.
    if (!writable() && finding.kind != FindingKind::Tail) unclean_ = true;
  }
}

Status Repairer::apply() {
  const auto any = [&](auto... kinds) {
    return std::any_of(report_.findings.begin(), report_.findings.end(),
                       [&](const Finding& f) { return ((f.kind == kinds) || ...); });
  };
  const bool slots_change =
      any(FindingKind::SlotBeyondDevice, FindingKind::SlotMisaligned, FindingKind::SlotBeyondEof,
          FindingKind::SlotInHeader, FindingKind::SlotUsedTwice);
  const bool drop_extension = slots_change || any(FindingKind::ExtensionDamaged, FindingKind::ExtensionStale);
  if (header_.extension_sectors != 0 && drop_extension) TRY(forget_extension());
  if (any(FindingKind::PartialTail)) TRY(complete_last_cluster());
  if (any(FindingKind::SlotUsedTwice)) TRY(copy_doubles());
  if (slots_change) {
    zero_slots();
    // From here on every copy is durable, so that slots may point to it.
    TRY(io::sync_file(file_));
    TRY(write_slots());
    TRY(io::sync_file(file_));
  }
  return cut_tail();
}

/// What the extension says about the data is about to become wrong.
Status Repairer::forget_extension() {
  header_.extension_sectors = 0;
  if (header_.in_use == format::kClosedWithExtension) header_.in_use = format::kClosedMark;
  TRY(write_header(file_, header_));
  TRY(io::sync_file(file_));
  report_.changed = true;
  scan_.extension_valid = false;
  // Its clusters are free from now on; only slots count.
  scan_.used.clear();
  for (std::size_t guest = 0; guest < header_.table_entries; ++guest) {
    const std::uint32_t cluster = format::cluster_from_slot(header_, scan_.slots[guest]);
    if (cluster >= header_.header_clusters() && cluster * header_.cluster_bytes() < scan_.file_bytes) {
      scan_.used.push_back(cluster);
    }
  }
  std::sort(scan_.used.begin(), scan_.used.end());
  scan_.used.erase(std::unique(scan_.used.begin(), scan_.used.end()), scan_.used.end());
  scan_.end_cluster = scan_.used.empty() ? header_.header_clusters() : std::uint64_t{scan_.used.back()} + 1;
  return {};
}

Status Repairer::complete_last_cluster() {
  const std::uint64_t end = scan_.end_cluster * header_.cluster_bytes();
  if (scan_.file_bytes >= end) return {};
  if (const int error = file_.truncate(end); error < 0) {
    return fail(errno_error(ExitCode::Truncate, -error, fmt::format("extend {}", file_.name())));
  }
  scan_.file_bytes = end;
  report_.changed = true;
  return {};
}

/// The lowest cluster behind the header that nothing refers to; inside of the file first, then at its end.
std::uint64_t Repairer::take_free_cluster() {
  std::uint64_t candidate = std::max<std::uint64_t>(free_search_, header_.header_clusters());
  auto position = std::lower_bound(scan_.used.begin(), scan_.used.end(), candidate);
  while (position != scan_.used.end() && *position == candidate) {
    ++position;
    ++candidate;
  }
  free_search_ = candidate + 1;
  scan_.end_cluster = std::max(scan_.end_cluster, candidate + 1);
  return candidate;
}

Status Repairer::copy_doubles() {
  for (const Finding& finding : report_.findings) {
    if (finding.kind != FindingKind::SlotUsedTwice) continue;
    const std::uint64_t target = take_free_cluster();
    if (target >= format::max_image_clusters(header_)) {
      return fail(ExitCode::Reloc, fmt::format("No room for another cluster in image {}", file_.name()));
    }
    TRY(copy_cluster(finding.image_cluster, target));
    scan_.slots[finding.guest_cluster] =
        format::slot_from_cluster(header_, static_cast<std::uint32_t>(target));
    changed_pages_.insert(format::page_of_slot(finding.guest_cluster));
    ++report_.copied_clusters;
  }
  return {};
}

Status Repairer::copy_cluster(std::uint64_t from, std::uint64_t to) {
  const std::uint64_t cluster_bytes = header_.cluster_bytes();
  std::vector<std::byte> piece(std::min(kCopyPiece, cluster_bytes));
  for (std::uint64_t done = 0; done < cluster_bytes; done += piece.size()) {
    TRY(io::read_exact(file_, piece, from * cluster_bytes + done, "doubly used cluster"));
    TRY(io::write_exact(file_, piece, to * cluster_bytes + done, "copy of a doubly used cluster"));
  }
  scan_.file_bytes = std::max(scan_.file_bytes, (to + 1) * cluster_bytes);
  report_.changed = true;
  return {};
}

void Repairer::zero_slots() {
  for (const Finding& finding : report_.findings) {
    switch (finding.kind) {
      case FindingKind::SlotMisaligned:
      case FindingKind::SlotBeyondEof:
      case FindingKind::SlotInHeader:
        ++report_.lost_clusters;
        [[fallthrough]];
      case FindingKind::SlotBeyondDevice:
        scan_.slots[finding.guest_cluster] = 0;
        changed_pages_.insert(format::page_of_slot(finding.guest_cluster));
        break;
      default:
        break;
    }
  }
}

/// Writes the changed pages, without the header bytes of page 0.
Status Repairer::write_slots() {
  for (const std::uint32_t page : changed_pages_) {
    const std::uint64_t first =
        page == 0 ? 0 : std::uint64_t{page} * format::kSlotsPerPage - format::kTableFirstWord;
    const std::uint64_t room =
        page == 0 ? format::kSlotsPerPage - format::kTableFirstWord : format::kSlotsPerPage;
    const auto part =
        std::span(scan_.slots).subspan(first, std::min<std::uint64_t>(room, scan_.slots.size() - first));
    std::vector<le32> stored(part.begin(), part.end());
    TRY(io::write_exact(file_, std::as_bytes(std::span(stored)),
                        format::kHeaderSize + first * format::kTableEntrySize, "cluster table"));
    report_.changed = true;
  }
  return {};
}

Status Repairer::cut_tail() {
  const std::uint64_t end = scan_.end_cluster * header_.cluster_bytes();
  const auto tail = std::find_if(report_.findings.begin(), report_.findings.end(),
                                 [](const Finding& f) { return f.kind == FindingKind::Tail; });
  if (scan_.file_bytes <= end) {
    // Copies took the place of the tail.
    if (tail != report_.findings.end()) report_.findings.erase(tail);
    return {};
  }
  if (tail == report_.findings.end()) {
    // A dropped extension leaves one that the scan could not know of.
    report_.findings.push_back({.kind = FindingKind::Tail,
                                .severity = Severity::Warning,
                                .verdict = Verdict::Fixed,
                                .image_cluster = scan_.end_cluster,
                                .count = scan_.file_bytes - end,
                                .offset = end});
  }
  if (const int error = file_.truncate(end); error < 0) {
    return fail(errno_error(ExitCode::Truncate, -error, fmt::format("truncate {}", file_.name())));
  }
  scan_.file_bytes = end;
  report_.changed = true;
  return io::sync_file(file_);
}

/// In-use mark, empty flag, header and exit status, in the original's order.
Status Repairer::settle() {
  if (report_.changed) TRY(io::sync_file(file_));
  if (header_.is_in_use()) {
    add(FindingKind::InUse, Severity::Warning);
    if (!options_.drop_in_use) {
      report_.exit = ExitCode::InUse;
      return {};
    }
  }
  const auto used = [](std::uint32_t slot) { return slot != 0; };
  const bool empty = std::none_of(scan_.slots.begin(), scan_.slots.begin() + header_.table_entries, used);
  const bool flag_wrong = ((header_.flags & format::kFlagEmpty) != 0) != empty;
  if (flag_wrong) add(FindingKind::EmptyFlag, Severity::Info);
  if (unclean_) {
    report_.exit = ExitCode::Format;
    return {};
  }
  if (!header_.is_in_use() && !flag_wrong) return {};
  if (!writable()) {
    add(FindingKind::HeaderNotFixed, Severity::Warning);
    report_.exit = ExitCode::Write;
    return {};
  }
  header_.flags = empty ? header_.flags | format::kFlagEmpty : header_.flags & ~format::kFlagEmpty;
  return write_clean_header();
}

Status Repairer::write_clean_header() {
  if (!scan_.extension_valid) {
    header_.in_use = format::kClosedMark;
    header_.extension_sectors = 0;
  }
  TRY(write_header(file_, header_));
  report_.changed = true;
  return io::sync_file(file_);
}

Status Repairer::check_sparse() {
  if (options_.check && !scan_.skipped) {
    const std::uint64_t count = TRY(count_sparse_clusters(file_, scan_.used, header_.cluster_bytes()));
    if (count != 0) {
      add(FindingKind::SparseClusters, Severity::Info);
      report_.findings.back().count = count;
    }
  }
  if (!options_.repair_sparse) return {};
  const auto note = [&](std::uint64_t offset, std::uint64_t length) {
    report_.changed = true;
    if (report_.findings.size() >= kMaxListedFills) return;
    report_.findings.push_back(
        {.kind = FindingKind::HoleFilled, .verdict = Verdict::None, .count = length, .offset = offset});
  };
  return fill_holes(file_, note, options_.progress);
}

Status require_blocksize(const CheckOptions& options) {
  if (options.blocksize == 0) return fail(ExitCode::Param, "Cluster blocksize required for raw image");
  if (!format::valid_cluster_sectors(options.blocksize)) {
    return fail(ExitCode::Param, fmt::format("Incorrect block size specified: {}", options.blocksize));
  }
  return {};
}

/// Opens and locks. The lock is what a running device holds, so nobody is checked behind its back.
Result<std::unique_ptr<io::PosixFile>> open_locked(const std::string& path, bool writable) {
  auto file =
      TRY(io::PosixFile::open(path, {.writable = writable, .direct = false, .exclusive_create = false}));
  if (!TRY(file->lock_soon(writable ? io::LockKind::Exclusive : io::LockKind::Shared))) {
    return fail(ExitCode::InUse, fmt::format("Image {} is in use by a device or another command", path));
  }
  return file;
}

}  // namespace

Result<CheckReport> repair_image(io::BlockFile& file, Scan scan, const CheckOptions& options) {
  return Repairer(file, std::move(scan), options).run();
}

Result<CheckReport> check_image(io::BlockFile& file, const CheckOptions& options) {
  if (!options.raw) return repair_image(file, TRY(scan_image(file, options)), options);
  TRY(require_blocksize(options));
  // A raw image has nothing to examine but its holes.
  Scan nothing;
  nothing.skipped = true;
  nothing.header.cluster_sectors = options.blocksize;
  return repair_image(file, std::move(nothing), options);
}

Result<CheckReport> check_file(const std::string& path, const CheckOptions& options) {
  if (options.raw) TRY(require_blocksize(options));
  bool writable = options.repair_sparse;
  if (!options.raw && !options.read_only && !writable) {
    // A clean image is not opened for writing, so that one on a read-only file system can be checked.
    const auto file = TRY(open_locked(path, false));
    CheckOptions quick = options;
    quick.force = quick.hard_force = false;
    const bool dirty = !TRY(scan_image(*file, quick)).skipped;
    writable = dirty || options.force || options.hard_force;
  }
  const auto file = TRY(open_locked(path, writable));
  return check_image(*file, options);
}

}  // namespace ploop::image
