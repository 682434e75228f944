#include "control/device_state.hpp"

#include "control/json.hpp"

namespace ploop::control {
namespace {

constexpr std::string_view kWhat = "device state";

}  // namespace

std::string encode_device_state(const DeviceState& state) {
  Json json{{"number", state.number},
            {"guardian_pid", state.guardian_pid},
            {"guardian_start", state.guardian_start},
            {"worker_pid", state.worker_pid},
            {"backing_device", state.backing_device},
            {"major", state.major},
            {"minor", state.minor},
            {"size_sectors", state.size_sectors},
            {"cluster_sectors", state.cluster_sectors},
            {"version", state.version},
            {"read_only", state.read_only},
            {"deltas", deltas_to_json(state.deltas)},
            {"component", state.component},
            {"descriptor", bytes_to_json(state.descriptor)},
            {"transport", state.transport},
            {"can_resend", state.can_resend},
            {"can_resize", state.can_resize},
            {"sandbox", state.sandbox},
            {"sandbox_required", state.sandbox_required},
            {"on_enospc", on_enospc_name(state.on_enospc)},
            {"program", state.program}};
  add_files(json, state.deltas);
  if (state.place) json["place"] = file_to_json(*state.place);
  return to_line(json);
}

Result<DeviceState> decode_device_state(std::string_view text) {
  // Fields that this version does not know are left alone: a state may come from a newer daemon.
  const Json json = TRY(parse_object(text, kWhat));
  DeviceState state;
  state.number = TRY(number_field<int>(json, "number"));
  state.guardian_pid = TRY(number_field<int>(json, "guardian_pid"));
  state.guardian_start = TRY(unsigned_field(json, "guardian_start"));
  state.worker_pid = TRY(number_field<int>(json, "worker_pid"));
  state.backing_device = TRY(string_field(json, "backing_device"));
  state.major = TRY(number_field<std::uint32_t>(json, "major"));
  state.minor = TRY(number_field<std::uint32_t>(json, "minor"));
  state.size_sectors = TRY(unsigned_field(json, "size_sectors"));
  state.cluster_sectors = TRY(number_field<std::uint32_t>(json, "cluster_sectors"));
  state.version = TRY(number_field<int>(json, "version"));
  state.read_only = TRY(bool_field(json, "read_only"));
  state.deltas = TRY(deltas_from_json(json));
  TRY(read_files(json, state.deltas));
  if (json.contains("place")) state.place = TRY(file_from_json(json["place"]));
  state.component = TRY(string_field(json, "component"));
  if (!json.contains("descriptor")) return fail(ExitCode::Protocol, "\"descriptor\" is missing");
  state.descriptor = TRY(bytes_from_json(json["descriptor"], "descriptor"));
  state.transport = TRY(string_field(json, "transport"));
  state.can_resend = TRY(bool_field(json, "can_resend"));
  if (json.contains("sandbox")) state.sandbox = TRY(strings_field(json, "sandbox"));
  if (json.contains("sandbox_required")) state.sandbox_required = TRY(bool_field(json, "sandbox_required"));
  // Older daemons' devices all can.
  if (json.contains("can_resize")) state.can_resize = TRY(bool_field(json, "can_resize"));
  if (json.contains("on_enospc")) {
    const std::string word = TRY(string_field(json, "on_enospc"));
    state.on_enospc = TRY(parse_on_enospc(word));
  }
  if (json.contains("program")) state.program = TRY(string_field(json, "program"));
  return state;
}

}  // namespace ploop::control
