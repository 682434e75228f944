#include "control/protocol.hpp"

#include "control/json.hpp"

namespace ploop::control {
namespace {

constexpr std::string_view kWhat = "control message";

Json error_to_json(const Error& error) {
  return Json{{"code", static_cast<int>(error.code)},
              {"name", std::string(exit_code_name(error.code))},
              {"errno", error.sys_errno},
              {"message", error.what}};
}

Result<Error> error_from_json(const Json& json) {
  if (!json.is_object()) return fail(ExitCode::Protocol, "\"error\" is not an object");
  const auto code = TRY(number_field<std::uint8_t>(json, "code"));
  if (code == 0) return fail(ExitCode::Protocol, "An error without a code");
  Error error;
  error.code = static_cast<ExitCode>(code);
  error.sys_errno = TRY(number_field<int>(json, "errno"));
  error.what = TRY(string_field(json, "message"));
  return error;
}

std::string parse_text(std::string_view text) {
  const Json json = Json::parse(text, nullptr, false);
  return json.is_object() ? to_line(json) : "{}";
}

}  // namespace

Result<Request> decode_request(std::string_view line) {
  if (line.size() > kMaxLine) return fail(ExitCode::Protocol, std::string(kWhat) + ": line too long");
  const Json json = TRY(parse_object(line, kWhat));
  TRY(only_fields(json, {"id", "method", "params"}, kWhat));
  Request request;
  request.id = TRY(unsigned_field(json, "id"));
  request.method = TRY(string_field(json, "method"));
  if (const auto params = json.find("params"); params != json.end()) {
    if (!params->is_object()) return fail(ExitCode::Protocol, "\"params\" is not an object");
    request.params = to_line(*params);
  }
  return request;
}

std::string encode_request(const Request& request) {
  return to_line(Json{{"id", request.id},
                      {"method", request.method},
                      {"params", Json::parse(parse_text(request.params))}}) +
         "\n";
}

std::string encode_result(std::uint64_t id, std::string_view result) {
  return to_line(Json{{"id", id}, {"result", Json::parse(parse_text(result))}}) + "\n";
}

std::string encode_event(std::uint64_t id, std::string_view event) {
  return to_line(Json{{"id", id}, {"event", Json::parse(parse_text(event))}}) + "\n";
}

std::string encode_error(std::uint64_t id, const Error& error) {
  return to_line(Json{{"id", id}, {"error", error_to_json(error)}}) + "\n";
}

Result<Reply> decode_reply(std::string_view line) {
  const Json json = TRY(parse_object(line, kWhat));
  Reply reply;
  reply.id = TRY(unsigned_field(json, "id"));
  if (const auto error = json.find("error"); error != json.end()) return fail(TRY(error_from_json(*error)));
  if (const auto result = json.find("result"); result != json.end()) {
    reply.result = to_line(*result);
    return reply;
  }
  if (const auto event = json.find("event"); event != json.end()) {
    reply.is_event = true;
    reply.result = to_line(*event);
    return reply;
  }
  return fail(ExitCode::Protocol, std::string(kWhat) + ": neither result nor error");
}

std::string encode_error_object(const Error& error) {
  return to_line(error_to_json(error));
}

Error decode_error_object(std::string_view text) {
  Result<Json> json = parse_object(text, kWhat);
  if (!json) return std::move(json).error();
  Result<Error> error = error_from_json(*json);
  return error ? *std::move(error) : std::move(error).error();
}

std::string encode_outcome(const Status& status) {
  return status ? "{}" : "{\"error\":" + encode_error_object(status.error()) + "}";
}

Status decode_outcome(std::string_view text) {
  const Result<Json> json = parse_object(text, kWhat);
  if (!json || !json->contains("error")) return {};
  return fail(decode_error_object(to_line((*json)["error"])));
}

std::string encode_stats(const DeviceStats& stats) {
  return to_line(Json{{"reads", stats.reads},
                      {"read_bytes", stats.read_bytes},
                      {"writes", stats.writes},
                      {"written_bytes", stats.written_bytes},
                      {"flushes", stats.flushes},
                      {"discards", stats.discards},
                      {"discarded_bytes", stats.discarded_bytes},
                      {"allocations", stats.allocations},
                      {"barriers", stats.barriers},
                      {"table_pages", stats.table_pages},
                      {"errors", stats.errors},
                      {"failed", stats.failed},
                      {"waits_for_space", stats.waits_for_space}});
}

Result<DeviceStats> decode_stats(std::string_view text) {
  const Json json = TRY(parse_object(text, "statistics"));
  DeviceStats stats;
  stats.reads = TRY(unsigned_field(json, "reads"));
  stats.read_bytes = TRY(unsigned_field(json, "read_bytes"));
  stats.writes = TRY(unsigned_field(json, "writes"));
  stats.written_bytes = TRY(unsigned_field(json, "written_bytes"));
  stats.flushes = TRY(unsigned_field(json, "flushes"));
  stats.discards = TRY(unsigned_field(json, "discards"));
  stats.discarded_bytes = TRY(unsigned_field(json, "discarded_bytes"));
  stats.allocations = TRY(unsigned_field(json, "allocations"));
  stats.barriers = TRY(unsigned_field(json, "barriers"));
  stats.table_pages = TRY(unsigned_field(json, "table_pages"));
  stats.errors = TRY(unsigned_field(json, "errors"));
  stats.failed = TRY(bool_field(json, "failed"));
  // Older daemons do not tell.
  if (json.contains("waits_for_space")) stats.waits_for_space = TRY(bool_field(json, "waits_for_space"));
  return stats;
}

}  // namespace ploop::control
