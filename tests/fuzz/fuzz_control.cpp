// The texts that pass between commands and daemons. Whatever the bytes are, reading ends, nothing is thrown,
// and what is accepted survives being written and read again.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "control/attach_spec.hpp"
#include "control/device_state.hpp"
#include "control/line_buffer.hpp"
#include "control/protocol.hpp"
#include "control/track_messages.hpp"
#include "require.hpp"

namespace {

using namespace ploop::control;

void check_request(std::string_view text) {
  const auto request = decode_request(text);
  if (!request) return;
  const std::string line = encode_request(*request);
  REQUIRE(line.find('\n') == line.size() - 1);
  const auto again = decode_request(std::string_view(line).substr(0, line.size() - 1));
  // What is escaped may be longer than what was read.
  if (!again) {
    REQUIRE(line.size() > kMaxLine);
    return;
  }
  REQUIRE(again->id == request->id && again->method == request->method && again->params == request->params);
}

void check_spec(std::string_view text) {
  const auto spec = decode_attach_spec(text);
  if (!spec) return;
  REQUIRE(!spec->deltas.empty() && spec->deltas.size() <= kMaxDeltas);
  for (const DeltaSpec& delta : spec->deltas)
    REQUIRE(delta.path.front() == '/' && delta.path.find('\0') == std::string::npos);
  const auto again = decode_attach_spec(encode_attach_spec(*spec));
  REQUIRE(again.has_value() && *again == *spec);
}

void check_state(std::string_view text) {
  const auto state = decode_device_state(text);
  if (!state) return;
  const auto again = decode_device_state(encode_device_state(*state));
  REQUIRE(again.has_value() && *again == *state);
}

void check_tracking(std::string_view text) {
  if (const auto start = decode_track_start(text))
    REQUIRE(decode_track_start(encode_track_start(*start)).value() == *start);
  if (const auto set = decode_track_set(text))
    REQUIRE(decode_track_set(encode_track_set(*set)).value() == *set);
  const auto batch = decode_track_batch(text);
  if (!batch) return;
  for (const TrackExtent& e : batch->extents)
    REQUIRE(e.start < e.end);
  REQUIRE(decode_track_batch(encode_track_batch(*batch)).value() == *batch);
}

void check_reply(std::string_view text) {
  const auto reply = decode_reply(text);
  if (!reply) {
    REQUIRE(reply.error().code != ploop::ExitCode::Ok);
    return;
  }
  if (!reply->is_event) REQUIRE(decode_reply(encode_result(reply->id, reply->result)).has_value());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  LineBuffer lines(kMaxLine);
  lines.append(bytes);
  lines.append("\n");
  while (const auto line = lines.next()) {
    check_request(*line);
    check_spec(*line);
    check_state(*line);
    check_reply(*line);
    check_tracking(*line);
    static_cast<void>(decode_stats(*line));
    static_cast<void>(decode_error_object(*line));
  }
  return 0;
}
