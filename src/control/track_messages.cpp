#include "control/track_messages.hpp"

#include "control/json.hpp"

namespace ploop::control {
namespace {

Result<TrackExtent> extent_from_json(const Json& value) {
  if (!value.is_array() || value.size() != 2 || !value[0].is_number_unsigned() ||
      !value[1].is_number_unsigned()) {
    return fail(ExitCode::Protocol, "An extent is not a pair of numbers");
  }
  const TrackExtent extent{value[0].get<std::uint64_t>(), value[1].get<std::uint64_t>()};
  if (extent.start >= extent.end) return fail(ExitCode::Protocol, "An extent is empty");
  return extent;
}

}  // namespace

std::string encode_track_start(const TrackStart& start) {
  Json json;
  json["used"] = start.used_bytes;
  json["granularity"] = start.granularity;
  json["device"] = start.file_device;
  json["inode"] = start.file_inode;
  return to_line(json);
}

Result<TrackStart> decode_track_start(std::string_view text) {
  const Json json = TRY(parse_object(text, "start of tracking"));
  TrackStart start;
  start.used_bytes = TRY(unsigned_field(json, "used"));
  start.granularity = TRY(unsigned_field(json, "granularity"));
  start.file_device = TRY(unsigned_field(json, "device"));
  start.file_inode = TRY(unsigned_field(json, "inode"));
  return start;
}

std::string encode_track_set(std::uint64_t position) {
  Json json;
  json["position"] = position;
  return to_line(json);
}

Result<std::uint64_t> decode_track_set(std::string_view text) {
  const Json json = TRY(parse_object(text, "position"));
  TRY(only_fields(json, {"position"}, "position"));
  return unsigned_field(json, "position");
}

std::string encode_track_batch(const TrackBatch& batch) {
  Json json;
  Json& extents = json["extents"] = Json::array();
  for (const TrackExtent& e : batch.extents)
    extents.push_back({e.start, e.end});
  json["dirty"] = batch.dirty_bytes;
  json["used"] = batch.used_bytes;
  json["round_complete"] = batch.round_complete;
  return to_line(json);
}

Result<TrackBatch> decode_track_batch(std::string_view text) {
  const Json json = TRY(parse_object(text, "extents"));
  TrackBatch batch;
  const auto extents = json.find("extents");
  if (extents == json.end() || !extents->is_array() || extents->size() > kMaxTrackExtents) {
    return fail(ExitCode::Protocol, "\"extents\" is not a list of the right size");
  }
  for (const Json& value : *extents)
    batch.extents.push_back(TRY(extent_from_json(value)));
  batch.dirty_bytes = TRY(unsigned_field(json, "dirty"));
  batch.used_bytes = TRY(unsigned_field(json, "used"));
  batch.round_complete = TRY(bool_field(json, "round_complete"));
  return batch;
}

}  // namespace ploop::control
