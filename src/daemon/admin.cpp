#include "daemon/admin.hpp"

#include <fcntl.h>
#include <sys/socket.h>

#include <cerrno>
#include <optional>

namespace ploop::daemon {
namespace {

/// More would be a mistake or an attack on the guardian's descriptors.
constexpr std::size_t kMaxConnections = 16;

bool is_root(int socket) {
  ucred peer{};
  socklen_t length = sizeof peer;
  return ::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &length) == 0 && peer.uid == 0;
}

/// The guardian never waits for anybody: who does not take its short answer does not get it.
bool send_now(const Fd& socket, const std::string& line) {
  return ::send(socket.get(), line.data(), line.size(), MSG_NOSIGNAL | MSG_DONTWAIT) ==
         static_cast<ssize_t>(line.size());
}

}  // namespace

Admin::Admin(Fd listening) : listening_(std::move(listening)) {
  ::fcntl(listening_.get(), F_SETFL, O_NONBLOCK);
}

Admin::Admin(Fd listening, Fd asker) : Admin(std::move(listening)) {
  connections_.emplace_back();
  connections_.back().id = next_connection_++;
  connections_.back().socket = std::move(asker);
}

int Admin::socket_of(std::uint64_t connection) const {
  for (const Connection& c : connections_) {
    if (c.id == connection) return c.socket.get();
  }
  return -1;
}

void Admin::add_to(std::vector<pollfd>& fds) const {
  fds.push_back({connections_.size() < kMaxConnections ? listening_.get() : -1, POLLIN, 0});
  for (const Connection& c : connections_)
    fds.push_back({c.socket.get(), POLLIN, 0});
}

void Admin::handle(std::span<const pollfd> fds, const Handler& handler, const Closed& closed) {
  std::size_t i = 1;
  for (auto c = connections_.begin(); c != connections_.end() && i < fds.size(); ++i) {
    const auto here = c++;
    if (fds[i].revents == 0 || receive(*here, handler)) continue;
    closed(here->id);
    connections_.erase(here);
  }
  if (fds[0].revents != 0) accept_one();
}

void Admin::accept_one() {
  Fd socket{::accept4(listening_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK)};
  if (!socket || !is_root(socket.get())) return;
  Connection c;
  c.id = next_connection_++;
  c.socket = std::move(socket);
  connections_.push_back(std::move(c));
}

bool Admin::receive(Connection& connection, const Handler& handler) {
  char bytes[4096];
  const ssize_t n = ::recv(connection.socket.get(), bytes, sizeof bytes, 0);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return true;
  if (n <= 0) return false;
  connection.received.append({bytes, static_cast<std::size_t>(n)});
  while (const std::optional<std::string> line = connection.received.next()) {
    const Result<control::Request> request = control::decode_request(*line);
    if (!request) {
      send_now(connection.socket, control::encode_error(0, request.error()));
      return false;
    }
    handler(connection.id, *request);
  }
  return !connection.received.overflown();
}

void Admin::reply(std::uint64_t connection, std::uint64_t request_id, const Result<std::string>& result) {
  const std::string line = result ? control::encode_result(request_id, *result)
                                  : control::encode_error(request_id, result.error());
  for (const Connection& c : connections_) {
    // A full socket means that the peer does not read; it will see the end of the connection.
    if (c.id == connection && !send_now(c.socket, line)) ::shutdown(c.socket.get(), SHUT_RDWR);
  }
}

}  // namespace ploop::daemon
