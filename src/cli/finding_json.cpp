#include "cli/finding_json.hpp"

namespace ploop::cli {
namespace {

using image::FindingKind;

std::string_view kind_name(FindingKind kind) {
  switch (kind) {
    case FindingKind::CleanSkipped:
      return "clean_skipped";
    case FindingKind::SlotBeyondDevice:
      return "slot_beyond_device";
    case FindingKind::SlotMisaligned:
      return "slot_misaligned";
    case FindingKind::SlotBeyondEof:
      return "slot_beyond_eof";
    case FindingKind::SlotInHeader:
      return "slot_in_header";
    case FindingKind::SlotUsedTwice:
      return "slot_used_twice";
    case FindingKind::PartialTail:
      return "partial_tail";
    case FindingKind::Hole:
      return "hole";
    case FindingKind::MoreHoles:
      return "more_holes";
    case FindingKind::FatalErrors:
      return "fatal_errors";
    case FindingKind::Tail:
      return "tail";
    case FindingKind::InUse:
      return "in_use";
    case FindingKind::EmptyFlag:
      return "empty_flag";
    case FindingKind::ExtensionStale:
      return "extension_stale";
    case FindingKind::ExtensionDamaged:
      return "extension_damaged";
    case FindingKind::HeaderNotFixed:
      return "header_not_fixed";
    case FindingKind::SparseClusters:
      return "sparse_clusters";
    case FindingKind::HoleFilled:
      return "hole_filled";
  }
  return "";
}

std::string_view severity_name(image::Severity severity) {
  switch (severity) {
    case image::Severity::Info:
      return "info";
    case image::Severity::Warning:
      return "warning";
    case image::Severity::Error:
      break;
  }
  return "error";
}

Json verdict_json(image::Verdict verdict) {
  switch (verdict) {
    case image::Verdict::None:
      return nullptr;
    case image::Verdict::Fixed:
      return "fixed";
    case image::Verdict::Skipped:
      return "skipped";
    case image::Verdict::Fatal:
      break;
  }
  return "fatal";
}

/// The numbers that mean something for this kind.
void add_numbers(Json& object, const image::Finding& f) {
  switch (f.kind) {
    case FindingKind::SlotBeyondDevice:
    case FindingKind::SlotMisaligned:
      object["guest_cluster"] = f.guest_cluster;
      object["slot"] = f.slot;
      return;
    case FindingKind::SlotBeyondEof:
    case FindingKind::SlotInHeader:
    case FindingKind::SlotUsedTwice:
      object["guest_cluster"] = f.guest_cluster;
      object["image_cluster"] = f.image_cluster;
      object["slot"] = f.slot;
      return;
    case FindingKind::PartialTail:
    case FindingKind::Hole:
      object["image_cluster"] = f.image_cluster;
      return;
    case FindingKind::MoreHoles:
    case FindingKind::SparseClusters:
      object["count"] = f.count;
      return;
    case FindingKind::Tail:
    case FindingKind::HoleFilled:
      object["offset_bytes"] = f.offset;
      object["length_bytes"] = f.count;
      return;
    default:
      return;
  }
}

}  // namespace

Json finding_json(const image::CheckReport& report, const image::Finding& finding) {
  Json object{{"kind", kind_name(finding.kind)},
              {"severity", severity_name(finding.severity)},
              {"verdict", verdict_json(finding.verdict)}};
  add_numbers(object, finding);
  std::string text = report.text(finding);
  if (text.ends_with("... ")) text.resize(text.size() - 4);  // there for the verdict behind it
  object["message"] = name_json(text);
  return object;
}

}  // namespace ploop::cli
