// The words of the checker. They are the original's where it has the case, because scripts read them.
#include <fmt/format.h>

#include "image/check.hpp"

namespace ploop::image {

std::string_view verdict_text(Verdict verdict) {
  switch (verdict) {
    case Verdict::None:
      return "";
    case Verdict::Fixed:
      return "Fixed";
    case Verdict::Skipped:
      return "Skipped";
    case Verdict::Fatal:
      return "FATAL";
  }
  return "";
}

std::string Finding::text(const std::string& image, std::uint32_t cluster_sectors) const {
  const std::uint64_t sector = guest_cluster * cluster_sectors;
  switch (kind) {
    case FindingKind::CleanSkipped:
      return "Image is clean, check is skipped";
    case FindingKind::SlotBeyondDevice:
      return fmt::format("Data cluster ({}) beyond block device size... ", guest_cluster);
    case FindingKind::SlotMisaligned:
      return fmt::format("L2 slot ({}) corrupted... ", slot);
    case FindingKind::SlotBeyondEof:
      return fmt::format("Data cluster {} beyond EOF, vsec={}... ", image_cluster, sector);
    case FindingKind::SlotInHeader:
    case FindingKind::SlotUsedTwice:
      return fmt::format("Block {} is used more than once, vsec={}... ", image_cluster, sector);
    case FindingKind::PartialTail:
      return fmt::format("End of file cuts block {}... ", image_cluster);
    case FindingKind::Hole:
      return fmt::format("Hole at block {}", image_cluster);
    case FindingKind::MoreHoles:
      return fmt::format("{} more holes", count);
    case FindingKind::FatalErrors:
      return fmt::format("Fatal errors were found, image {} is not repaired", image);
    case FindingKind::Tail:
      return verdict == Verdict::Fixed ? "Trimming tail" : "Want to trim tail";
    case FindingKind::InUse:
      return "Dirty flag is set";
    case FindingKind::EmptyFlag:
      return "CIF_Empty flag is incorrect";
    case FindingKind::ExtensionStale:
      return "Format extension is stale";
    case FindingKind::ExtensionDamaged:
      return "Format extension is damaged... ";
    case FindingKind::HeaderNotFixed:
      return "Image is clean but unable to fix the header on ro image";
    case FindingKind::SparseClusters:
      return fmt::format("{} blocks in use have unwritten parts, which read as zeros", count);
    case FindingKind::HoleFilled:
      return fmt::format("Filling hole at start={} len={}", offset, count);
  }
  return "";
}

bool Finding::prints_verdict() const {
  switch (kind) {
    case FindingKind::SlotBeyondDevice:
    case FindingKind::SlotMisaligned:
    case FindingKind::SlotBeyondEof:
    case FindingKind::SlotInHeader:
    case FindingKind::SlotUsedTwice:
    case FindingKind::PartialTail:
    case FindingKind::ExtensionDamaged:
      return true;
    default:
      return false;
  }
}

bool Finding::is_error_output() const {
  switch (kind) {
    case FindingKind::FatalErrors:
    case FindingKind::InUse:
    case FindingKind::EmptyFlag:
    case FindingKind::HeaderNotFixed:
      return true;
    case FindingKind::Tail:
      return verdict != Verdict::Fixed;
    default:
      return false;
  }
}

}  // namespace ploop::image
