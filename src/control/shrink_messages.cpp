#include "control/shrink_messages.hpp"

#include "control/json.hpp"

namespace ploop::control {

std::string encode_discard(const DiscardRange& range) {
  Json json;
  json["offset"] = range.offset;
  json["length"] = range.length;
  json["dry"] = range.dry;
  return to_line(json);
}

Result<DiscardRange> decode_discard(std::string_view text) {
  const Json json = TRY(parse_object(text, "range"));
  TRY(only_fields(json, {"offset", "length", "dry"}, "range"));
  DiscardRange range;
  range.offset = TRY(unsigned_field(json, "offset"));
  range.length = TRY(unsigned_field(json, "length"));
  range.dry = TRY(bool_field(json, "dry"));
  return range;
}

std::string encode_discarded(std::uint64_t clusters) {
  Json json;
  json["clusters"] = clusters;
  return to_line(json);
}

Result<std::uint64_t> decode_discarded(std::string_view text) {
  return unsigned_field(TRY(parse_object(text, "discard")), "clusters");
}

std::string encode_compact(std::uint64_t most_clusters) {
  Json json;
  json["most"] = most_clusters;
  return to_line(json);
}

Result<std::uint64_t> decode_compact(std::string_view text) {
  const Json json = TRY(parse_object(text, "compaction"));
  TRY(only_fields(json, {"most"}, "compaction"));
  return unsigned_field(json, "most");
}

std::string encode_compact_step(const CompactStep& step) {
  Json json;
  json["moved"] = step.moved;
  json["cut"] = step.cut;
  json["left"] = step.left;
  json["cluster_bytes"] = step.cluster_bytes;
  return to_line(json);
}

Result<CompactStep> decode_compact_step(std::string_view text) {
  const Json json = TRY(parse_object(text, "compaction"));
  CompactStep step;
  step.moved = TRY(unsigned_field(json, "moved"));
  step.cut = TRY(unsigned_field(json, "cut"));
  step.left = TRY(unsigned_field(json, "left"));
  step.cluster_bytes = TRY(unsigned_field(json, "cluster_bytes"));
  return step;
}

}  // namespace ploop::control
