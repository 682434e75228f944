#include "daemon/server_message.hpp"

#include "control/json.hpp"

namespace ploop::daemon {

using transport::ublk::DataPath;

std::string encode_server(const ServerMessage& message) {
  const transport::ublk::Geometry& g = message.geometry;
  return control::to_line(control::Json{{"queues", g.queues},
                                        {"depth", g.depth},
                                        {"max_transfer", g.max_transfer},
                                        {"user_copy", g.path == DataPath::UserCopy},
                                        {"zero_copy", g.path == DataPath::ZeroCopy},
                                        {"can_resize", g.can_resize},
                                        {"generation", message.generation}});
}

Result<ServerMessage> decode_server(std::string_view text) {
  const control::Json json = TRY(control::parse_object(text, "keeper"));
  ServerMessage message;
  transport::ublk::Geometry& g = message.geometry;
  g.queues = TRY(control::number_field<std::uint16_t>(json, "queues"));
  g.depth = TRY(control::number_field<std::uint16_t>(json, "depth"));
  g.max_transfer = TRY(control::number_field<std::uint32_t>(json, "max_transfer"));
  if (TRY(control::bool_field(json, "user_copy"))) g.path = DataPath::UserCopy;
  // A keeper that an older program started does not say it, and has no such device.
  if (json.contains("zero_copy") && TRY(control::bool_field(json, "zero_copy"))) g.path = DataPath::ZeroCopy;
  g.can_resize = TRY(control::bool_field(json, "can_resize"));
  message.generation = TRY(control::unsigned_field(json, "generation"));
  return message;
}

}  // namespace ploop::daemon
