#include "daemon/channel.hpp"

#include <poll.h>
#include <sys/socket.h>

#include <cerrno>

#include "control/json.hpp"

namespace ploop::daemon {

Result<std::pair<Channel, Channel>> Channel::pair() {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) {
    return fail_errno(ExitCode::System, "make a socket pair");
  }
  return std::pair{Channel(Fd{ends[0]}), Channel(Fd{ends[1]})};
}

Status Channel::send(std::string_view name, std::string_view body) {
  // `body` is JSON already and has no newline; the name is one of ours.
  std::string line = "{\"";
  line.append(name).append("\":").append(body).append("}\n");
  std::string_view left = line;
  while (!left.empty()) {
    const ssize_t n = ::send(socket_.get(), left.data(), left.size(), MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return fail_errno(ExitCode::System, "send between the daemon's processes");
    left.remove_prefix(static_cast<std::size_t>(n));
  }
  return {};
}

bool Channel::receive() {
  char bytes[16384];
  const ssize_t n = ::recv(socket_.get(), bytes, sizeof bytes, 0);
  if (n < 0 && errno == EINTR) return true;
  if (n <= 0 || lines_.overflown()) return false;
  lines_.append({bytes, static_cast<std::size_t>(n)});
  return true;
}

std::optional<Result<Message>> Channel::next() {
  const std::optional<std::string> line = lines_.next();
  if (!line) return std::nullopt;
  Result<control::Json> json = control::parse_object(*line, "daemon message");
  if (!json) return fail(std::move(json).error());
  if (json->size() != 1 || !json->begin()->is_object()) return fail(ExitCode::Protocol, "daemon message: wrong shape");
  return Message{json->begin().key(), control::to_line(*json->begin())};
}

Result<Message> Channel::wait(int timeout_ms) {
  for (;;) {
    if (std::optional<Result<Message>> message = next()) return *std::move(message);
    pollfd wait{socket_.get(), POLLIN, 0};
    const int ready = ::poll(&wait, 1, timeout_ms);
    if (ready < 0 && errno == EINTR) continue;
    if (ready == 0) return fail(errno_error(ExitCode::System, ETIMEDOUT, "wait for a part of the daemon"));
    if (!receive()) return fail(errno_error(ExitCode::System, ECONNRESET, "hear from a part of the daemon"));
  }
}

}  // namespace ploop::daemon
