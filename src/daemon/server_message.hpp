// "server": what a ublk keeper says about the file that goes along, and the guardian hands on to the worker.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.hpp"
#include "transport/ublk/pump.hpp"

namespace ploop::daemon {

struct ServerMessage {
  transport::ublk::Geometry geometry;
  std::uint64_t generation = 0;  ///< of the worker it is meant for
  bool operator==(const ServerMessage&) const = default;
};

/// ExitCode::Protocol.
std::string encode_server(const ServerMessage& message);
Result<ServerMessage> decode_server(std::string_view text);

}  // namespace ploop::daemon
