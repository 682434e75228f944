// Messages of the control socket: one JSON object per line. docs/control-protocol.md is the reference.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.hpp"
#include "control/device_state.hpp"

namespace ploop::control {

/// Longest line that either end accepts, newline included.
inline constexpr std::size_t kMaxLine = std::size_t{1024} * 1024;

/// What a command sends to a daemon that it started, when the device shall outlive it.
inline constexpr char kKeepDevice = 'k';

struct Request {
  std::uint64_t id = 0;
  std::string method;
  std::string params = "{}";  ///< text of the object
};

/// ExitCode::Protocol for anything that is not a request.
Result<Request> decode_request(std::string_view line);

/// These end with a newline.
std::string encode_request(const Request& request);
/// `result` is the text of a JSON object.
std::string encode_result(std::uint64_t id, std::string_view result);
std::string encode_error(std::uint64_t id, const Error& error);
/// News of a long operation, before its result. `event` is the text of a JSON object.
std::string encode_event(std::uint64_t id, std::string_view event);

/// What a device answers: the text of "result", or the device's error. Nothing for an event or an answer to
/// another id.
struct Reply {
  bool is_event = false;
  std::uint64_t id = 0;
  std::string result;  ///< or the text of "event"
};
Result<Reply> decode_reply(std::string_view line);

/// The object with "code", "errno" and "message", also used between the parts of the daemon.
std::string encode_error_object(const Error& error);
/// The error that such an object describes; ExitCode::Protocol when it is malformed.
Error decode_error_object(std::string_view text);

/// What the parts of the daemon tell each other of something done: {} or {"error": {...}}.
std::string encode_outcome(const Status& status);
/// The error that the text of an object has, if it has one.
Status decode_outcome(std::string_view text);

std::string encode_stats(const DeviceStats& stats);
Result<DeviceStats> decode_stats(std::string_view text);

}  // namespace ploop::control
