#include "daemon/ublk_side.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <thread>

#include "base/log.hpp"
#include "base/random.hpp"
#include "base/subprocess.hpp"
#include "control/json.hpp"
#include "control/registry.hpp"
#include "daemon/server_message.hpp"
#include "daemon/ublk_keeper.hpp"
#include "transport/ublk/control.hpp"

namespace ploop::daemon {
namespace {

using Clock = std::chrono::steady_clock;

/// Stopping waits for the last requests, removing for the last descriptor.
constexpr auto kKeeperPatience = std::chrono::seconds(70);

}  // namespace

Status UblkSide::usable(transport::ublk::DataPath path) {
  if (::access(transport::ublk::kControlPath, F_OK) != 0) {
    // Its success shows below.
    ignore(run_program({"modprobe", "-q", "ublk_drv"}),
           "a kernel without modules may have the driver built in");
  }
  if (::access(transport::ublk::kControlPath, F_OK) != 0 && errno == ENOENT) {
    return fail(ExitCode::Device, "This system has no ublk (the driver ublk_drv); use --transport fuse");
  }
  const transport::ublk::Control control = TRY(transport::ublk::Control::open());
  if (control.has(transport::ublk::features_for(path))) return {};
  const char* const what =
      path == transport::ublk::DataPath::ZeroCopy ? "zero copy (Linux 6.16 has it)" : "user copy";
  return fail(ExitCode::Device, fmt::format("This kernel's ublk has no {}; use --transport ublk", what));
}

Result<KeeperProcess> UblkSide::start_keeper(bool adopt) const {
  return start_ublk_keeper({token_, options_.read_only, path_, adopt});
}

/// The mark is written down before the device exists, so that there is no moment in which nobody could find
/// it again.
Status UblkSide::open() {
  nothing_ = TRY(open_file("/dev/null", O_RDWR));
  token_ = random_u64() | 1;
  TRY(write_file_atomic(control::ublk_path(options_.number), fmt::format("{:016x}\n", token_), 0600));
  keeper_ = TRY(start_keeper(false));
  return {};
}

Status UblkSide::attach(const control::DeviceState& state) {
  const control::Json body{{"sectors", state.size_sectors}, {"granularity", discard_granularity(state)}};
  return keeper_.channel.send("start", control::to_line(body));
}

Status UblkSide::begin_replacement() {
  ++generation_;
  return keeper_.channel.send("replace", control::to_line(control::Json{{"generation", generation_}}));
}

bool UblkSide::replace_keeper() {
  Result<KeeperProcess> next = start_keeper(true);
  if (!next) {
    log_error("{}", next.error().message());
    return false;
  }
  keeper_ = *std::move(next);
  return true;
}

bool UblkSide::is_for_worker(const Message& message) const {
  const Result<ServerMessage> server = decode_server(message.body);
  return server && server->generation == generation_;
}

/// The device's file is with keeper and worker only.
std::string UblkSide::hand_over(std::vector<int>&) const {
  return control::to_line(control::Json{{"token", token_}, {"generation", generation_}});
}

Status UblkSide::adopt(std::string_view text) {
  const control::Json json = TRY(control::parse_object(text, "ublk device"));
  token_ = TRY(control::unsigned_field(json, "token"));
  generation_ = TRY(control::unsigned_field(json, "generation"));
  nothing_ = TRY(open_file("/dev/null", O_RDWR));
  return {};
}

/// The keeper stops and removes the device, which gives waiting I/O an error. Without one, another does only
/// that.
void UblkSide::abandon() {
  if (token_ == 0) return;
  if (keeper_.pid <= 0 && !replace_keeper()) return;
  keeper_.channel.close();
}

bool UblkSide::wait_for_keeper() {
  if (keeper_.pid <= 0) return token_ == 0;
  const Clock::time_point deadline = Clock::now() + kKeeperPatience;
  for (;;) {
    const pid_t ended = ::waitpid(keeper_.pid, nullptr, WNOHANG);
    if (ended == keeper_.pid || (ended < 0 && errno == ECHILD)) return true;
    if (Clock::now() >= deadline) break;
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  log_error("the keeper of the ublk device hangs; what is left of it is cleaned up later");
  ::kill(keeper_.pid, SIGKILL);
  return false;
}

}  // namespace ploop::daemon
