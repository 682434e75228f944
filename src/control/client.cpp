#include "control/client.hpp"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <optional>

#include "base/paths.hpp"
#include "control/json.hpp"
#include "control/line_buffer.hpp"
#include "control/process.hpp"
#include "control/protocol.hpp"
#include "control/registry.hpp"

namespace ploop::control {
namespace {

/// A state names every image, so answers may be longer than requests.
constexpr std::size_t kMaxReply = 8u << 20;

/// More than the guardian takes for the way there and back.
constexpr auto kUpgradeTimeout = std::chrono::seconds(150);

using Clock = std::chrono::steady_clock;

/// A worker that died, and has a successor unless the whole device is gone, or one that ends because another
/// command has unmounted the disk.
Error daemon_ended() {
  return errno_error(ExitCode::System, ECONNRESET,
                     "The daemon of the device ended before it answered, or the device was unmounted "
                     "meanwhile; if it is still there, run the command again");
}

/// More bytes from the socket, at most until the deadline.
Result<std::string> receive(const Fd& socket, Clock::time_point deadline) {
  for (;;) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now()).count();
    pollfd wait{socket.get(), POLLIN, 0};
    const int ready = left > 0 ? ::poll(&wait, 1, static_cast<int>(left)) : 0;
    if (ready < 0 && errno == EINTR) continue;
    if (ready == 0) return fail(errno_error(ExitCode::System, ETIMEDOUT, "wait for the device"));
    char bytes[4096];
    const ssize_t n = ::read(socket.get(), bytes, sizeof bytes);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno != ECONNRESET) return fail_errno(ExitCode::System, "hear from the device");
    if (n <= 0) return fail(daemon_ended());
    return std::string(bytes, static_cast<std::size_t>(n));
  }
}

/// Sends everything; a device that is gone is an error, not a signal.
Status send_all(const Fd& socket, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::send(socket.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && (errno == EPIPE || errno == ECONNRESET)) return fail(daemon_ended());
    if (n < 0) return fail_errno(ExitCode::System, "ask the device");
    bytes.remove_prefix(static_cast<std::size_t>(n));
  }
  return {};
}

/// Between looking for a device and talking to it, it may have been unmounted.
Result<Fd> reach(const std::string& path, int number) {
  Result<Fd> socket = connect_to(path);
  if (socket || (socket.error().sys_errno != ENOENT && socket.error().sys_errno != ECONNREFUSED))
    return socket;
  const Result<std::optional<DeviceState>> device = find_device(number);
  if (!device || *device) return socket;
  return fail(
      Error{ExitCode::Device, socket.error().sys_errno, device_path(number) + " was unmounted meanwhile"});
}

}  // namespace

Result<Client> Client::connect(int device_number) {
  return Client(device_number, TRY(reach(control_path(device_number), device_number)));
}

Result<Client> Client::connect_admin(int device_number) {
  return Client(device_number, TRY(reach(admin_path(device_number), device_number)));
}

Result<UpgradeResult> Client::upgrade(const std::string& program) {
  set_timeout(kUpgradeTimeout);
  const std::string answer = TRY(call("upgrade", to_line({{"program", program}})));
  const Json json = TRY(parse_object(answer, "answer to upgrade"));
  UpgradeResult result;
  result.from = TRY(string_field(json, "from"));
  result.to = TRY(string_field(json, "to"));
  return result;
}

Result<std::string> Client::call(const std::string& method, const std::string& params,
                                 const std::function<void(std::string_view)>& on_event) {
  Request request;
  request.id = next_id_++;
  request.method = method;
  request.params = params;
  TRY(send_all(socket_, encode_request(request)));
  Clock::time_point deadline = Clock::now() + timeout_;
  LineBuffer lines(kMaxReply);
  for (;;) {
    while (std::optional<std::string> line = lines.next()) {
      Reply reply = TRY(decode_reply(*line));
      if (reply.id != request.id) continue;
      if (!reply.is_event) return std::move(reply.result);
      deadline = Clock::now() + timeout_;  // it is alive and working
      if (on_event) on_event(reply.result);
    }
    if (lines.overflown()) return fail(ExitCode::Protocol, "The device's answer is too long");
    lines.append(TRY(receive(socket_, deadline)));
  }
}

Status Client::ping() {
  TRY(call("ping"));
  return {};
}

Result<DeviceState> Client::info() {
  return decode_device_state(TRY(call("info")));
}

Result<DeviceStats> Client::stats() {
  return decode_stats(TRY(call("stats")));
}

Status Client::flush() {
  TRY(call("flush"));
  return {};
}

Status Client::change(const std::string& method, const ChainChange& change) {
  TRY(call(method, encode_chain_change(change)));
  return {};
}

Status Client::permitted_change(const std::string& method, const ChainChange& change,
                                const Permission& permission,
                                const std::function<void(std::string_view)>& on_event) {
  // Past the worker, to the guardian. When this command is killed the permission stays, since the worker may
  // be about to use it, until another command comes.
  Client guardian = TRY(connect_admin(number_));
  TRY(guardian.call("authorize", encode_permission(permission)));
  const Result<std::string> changed = call(method, encode_chain_change(change), on_event);
  ignore(guardian.call("revoke"), "it also ends with the next permission");
  if (!changed) return fail(changed.error());
  return {};
}

Status Client::push_delta(const DeltaSpec& top, const CommitPoint& commit) {
  return permitted_change("push_delta",
                          {.deltas = {top}, .known = {}, .size_sectors = 0, .level = 0, .commit = commit},
                          {.deltas = {top}, .merge = false, .commit = commit});
}

Status Client::merge_top(const std::vector<DeltaSpec>& known, const CommitPoint& commit,
                         const std::function<void(std::uint64_t, std::uint64_t)>& progress,
                         const std::function<bool()>& cancelled) {
  bool told = false;
  const auto on_event = [&](std::string_view text) {
    const Result<MaintenanceState> state = decode_maintenance(text);
    if (state && progress) progress(state->done, state->total);
    if (told || !cancelled || !cancelled()) return;
    told = true;
    Request request;
    request.id = next_id_++;
    request.method = "cancel_merge";
    ignore(send_all(socket_, encode_request(request)), "the merge's own answer says what became of it");
  };
  const ChainChange change{
      .deltas = {}, .known = paths_of(known), .size_sectors = 0, .level = 0, .commit = commit};
  return permitted_change("merge_top", change, {.deltas = {}, .merge = true, .commit = commit}, on_event);
}

Status Client::lend(std::size_t level) {
  return change("lend", {.deltas = {},
                         .known = {},
                         .size_sectors = 0,
                         .level = static_cast<std::uint32_t>(level),
                         .commit = {}});
}

Status Client::set_lower(const std::vector<DeltaSpec>& known, const std::vector<DeltaSpec>& lower,
                         const CommitPoint& commit) {
  return permitted_change(
      "set_lower",
      {.deltas = lower, .known = paths_of(known), .size_sectors = 0, .level = 0, .commit = commit},
      {.deltas = lower, .merge = false, .commit = commit});
}

Status Client::grow(std::uint64_t size_sectors, const CommitPoint& commit) {
  return permitted_change(
      "grow", {.deltas = {}, .known = {}, .size_sectors = size_sectors, .level = 0, .commit = commit},
      {.deltas = {}, .merge = false, .commit = commit});
}

Result<MaintenanceState> Client::maintenance() {
  return decode_maintenance(TRY(call("maintenance")));
}

Result<std::uint64_t> Client::discard(std::uint64_t offset, std::uint64_t length, bool dry) {
  return decode_discarded(TRY(call("discard", encode_discard({offset, length, dry}))));
}

Result<CompactStep> Client::compact(std::uint64_t most_clusters) {
  return decode_compact_step(TRY(call("compact", encode_compact(most_clusters))));
}

Result<TrackStart> Client::track_start() {
  return decode_track_start(TRY(call("track_start")));
}

Status Client::track_set(std::uint64_t position) {
  TRY(call("track_set", encode_track_set(position)));
  return {};
}

Result<TrackBatch> Client::track_read() {
  return decode_track_batch(TRY(call("track_read")));
}

Status Client::track_stop() {
  TRY(call("track_stop"));
  return {};
}

Status Client::track_abort() {
  TRY(call("track_abort"));
  return {};
}

Status Client::detach() {
  TRY(call("detach"));
  return {};
}

}  // namespace ploop::control
