#include "control/launcher.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <utility>
#include <vector>

#include "base/fd.hpp"
#include "base/paths.hpp"
#include "base/subprocess.hpp"
#include "control/client.hpp"
#include "control/json.hpp"
#include "control/line_buffer.hpp"
#include "control/process.hpp"
#include "control/protocol.hpp"
#include "control/registry.hpp"

#ifndef PLOOP_LIBEXEC_DIR
#define PLOOP_LIBEXEC_DIR "/usr/libexec/ploop"
#endif

namespace ploop::control {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t kMaxResult = 8u << 20;
constexpr auto kAttachTimeout = std::chrono::seconds(60);
constexpr auto kTermTimeout = std::chrono::seconds(5);

/// The order as a file, so that it can be of any length and needs nobody to feed it.
Result<Fd> file_with(const std::string& text) {
  Fd file{::memfd_create("attach-order", MFD_CLOEXEC)};
  if (!file) return fail_errno(ExitCode::System, "make a memory file");
  TRY(write_all(file.get(), text, "memory file"));
  if (::lseek(file.get(), 0, SEEK_SET) != 0) return fail_errno(ExitCode::System, "rewind a memory file");
  return file;
}

/// In the grandchild, with nobody's descriptors but stdin, stdout and stderr. Only async-signal-safe calls.
[[noreturn]] void become_daemon(const char* program, int order, int result) {
  ::dup2(order, STDIN_FILENO);
  ::dup2(result,
         STDOUT_FILENO);  // the answer goes there, and its end tells the daemon about the end of the command
  ::execl(program, "ploopd", static_cast<char*>(nullptr));
  ::_exit(127);
}

/// Starts ploopd as a child of init in its own session.
Status spawn_daemon(const std::string& program, const Fd& order, const Fd& result) {
  const pid_t child = ::fork();
  if (child < 0) return fail_errno(ExitCode::System, "fork");
  if (child == 0) {
    ::setsid();
    const pid_t grandchild = ::fork();
    if (grandchild == 0) become_daemon(program.c_str(), order.get(), result.get());
    ::_exit(grandchild < 0 ? 1 : 0);
  }
  if (wait_for_child(child) != 0) return fail(ExitCode::System, "Can't start " + program);
  return {};
}

/// Reads one line until the deadline; the end of the pipe without one means that the daemon died.
Result<std::string> read_line(const Fd& pipe, Clock::time_point deadline) {
  LineBuffer lines(kMaxResult);
  for (;;) {
    if (std::optional<std::string> line = lines.next()) return *std::move(line);
    if (lines.overflown()) return fail(ExitCode::Protocol, "ploopd: answer too long");
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now()).count();
    pollfd wait{pipe.get(), POLLIN, 0};
    const int ready = left > 0 ? ::poll(&wait, 1, static_cast<int>(left)) : 0;
    if (ready < 0 && errno == EINTR) continue;
    if (ready == 0) return fail(errno_error(ExitCode::System, ETIMEDOUT, "wait for ploopd"));
    char bytes[4096];
    const ssize_t n = ::read(pipe.get(), bytes, sizeof bytes);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return fail(ExitCode::System, "ploopd ended without an answer");
    lines.append({bytes, static_cast<std::size_t>(n)});
  }
}

void wait_for_hang_up(const Fd& socket, Clock::time_point deadline) {
  for (;;) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now()).count();
    pollfd wait{socket.get(), POLLIN, 0};
    const int ready = left > 0 ? ::poll(&wait, 1, static_cast<int>(left)) : 0;
    char byte = 0;
    if (ready == 0 || (ready > 0 && ::read(socket.get(), &byte, 1) <= 0)) return;
  }
}

Result<DeviceState> decode_attach_result(const std::string& line) {
  const Json json = TRY(parse_object(line, "answer of ploopd"));
  if (const auto error = json.find("error"); error != json.end())
    return fail(decode_error_object(to_line(*error)));
  if (const auto state = json.find("state"); state != json.end()) return decode_device_state(to_line(*state));
  return fail(ExitCode::Protocol, "ploopd: neither state nor error");
}

/// The guardian as a descriptor, if it still is the process that the state names.
Fd open_guardian(const DeviceState& state) {
  Fd guardian{static_cast<int>(::syscall(SYS_pidfd_open, state.guardian_pid, 0))};
  if (guardian && process_start_time(state.guardian_pid) != state.guardian_start) guardian.reset();
  return guardian;
}

bool wait_for_end(const Fd& process, Clock::time_point deadline) {
  for (;;) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now()).count();
    pollfd wait{process.get(), POLLIN, 0};
    const int ready = ::poll(&wait, 1, left > 0 ? static_cast<int>(left) : 0);
    if (ready > 0) return true;
    if (ready == 0 && left <= 0) return false;
  }
}

/// For a device that does not answer: ends its guardian, which takes everything else with it.
Status terminate(const Fd& guardian, int number) {
  for (const int signal : {SIGTERM, SIGKILL}) {
    ::syscall(SYS_pidfd_send_signal, guardian.get(), signal, nullptr, 0);
    if (wait_for_end(guardian, Clock::now() + kTermTimeout)) return clean_dead_device(number);
  }
  return fail(errno_error(ExitCode::DeviceIoctl, ETIMEDOUT, "end the device's daemon"));
}

/// Tells one kept log from the next: inode and time of change; zeros for none.
std::pair<ino_t, std::int64_t> last_failure(int number) {
  struct stat st {};
  if (::stat(failed_log_path(number).c_str(), &st) != 0) return {0, 0};
  return {st.st_ino, st.st_ctim.tv_sec * 1'000'000'000 + st.st_ctim.tv_nsec};
}

bool is_executable(const std::string& path) {
  return ::access(path.c_str(), X_OK) == 0;
}

}  // namespace

Result<std::string> find_daemon() {
  if (const char* directory = std::getenv("PLOOP_LIBEXEC"); directory != nullptr && *directory != '\0') {
    std::string path = std::string(directory) + "/ploopd";
    if (is_executable(path)) return path;
    return fail(ExitCode::System, "Can't find " + path);
  }
  char self[4096];
  const ssize_t n = ::readlink("/proc/self/exe", self, sizeof self - 1);
  if (n > 0) {
    const std::string directory = directory_of(std::string_view(self, static_cast<std::size_t>(n)));
    for (const char* place : {"/ploopd", "/../libexec/ploop/ploopd", "/../bin/ploopd", "/../../bin/ploopd",
                              "/../../../bin/ploopd"}) {
      if (is_executable(directory + place)) return directory + place;
    }
  }
  std::string installed = PLOOP_LIBEXEC_DIR "/ploopd";
  if (is_executable(installed)) return installed;
  return fail(ExitCode::System, "Can't find the ploopd program");
}

Result<Attachment> attach_device(const AttachSpec& spec) {
  const std::string program = TRY(find_daemon());
  AttachSpec wanted = spec;
  const char* transport = std::getenv("PLOOP_TRANSPORT");
  if (spec.transport == "auto" && transport != nullptr && *transport != '\0') wanted.transport = transport;
  const Fd order = TRY(file_with(encode_attach_spec(wanted)));
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
    return fail_errno(ExitCode::System, "make a socket pair");
  Fd lifeline{ends[0]};
  Fd answer{ends[1]};
  TRY(spawn_daemon(program, order, answer));
  answer.reset();  // from here on the end of the connection means the end of the daemon
  const std::string line = TRY(read_line(lifeline, Clock::now() + kAttachTimeout));
  Result<DeviceState> state = decode_attach_result(line);
  if (!state) {
    wait_for_hang_up(lifeline, Clock::now() + kTermTimeout);  // then it has cleaned up
    return fail(std::move(state).error());
  }
  return Attachment{*std::move(state), Lifeline(std::move(lifeline))};
}

Status Lifeline::keep() {
  const Fd socket = std::move(socket_);
  return socket ? write_all(socket.get(), std::string_view(&kKeepDevice, 1), "ploopd") : Status{};
}

Status detach_device(const DeviceState& state, const DetachOptions& options) {
  const Clock::time_point deadline = Clock::now() + options.timeout;
  const Fd guardian = open_guardian(state);
  if (!guardian) return clean_dead_device(state.number);
  const auto failures_before = last_failure(state.number);
  Result<Client> client = Client::connect(state.number);
  if (!client) {
    if (client.error().sys_errno == ECONNREFUSED || client.error().sys_errno == ENOENT)
      return terminate(guardian, state.number);
    return fail(std::move(client).error());
  }
  client->set_timeout(options.timeout);
  Status detached = client->detach();
  if (!detached && detached.error().sys_errno == EBUSY) return detached;
  if (!detached && detached.error().sys_errno == ETIMEDOUT) return detached;
  // The device is gone, well or badly; what remains is the end of its daemon.
  if (!wait_for_end(guardian, deadline)) {
    return fail(errno_error(ExitCode::DeviceIoctl, ETIMEDOUT, "wait for the end of the device's daemon"));
  }
  // It was ending by itself already and did not wait to answer; had anything gone wrong, its log would have
  // been kept.
  if (!detached && detached.error().sys_errno == ECONNRESET && last_failure(state.number) == failures_before)
    return {};
  return detached;
}

}  // namespace ploop::control
