// The guardian's own socket, RUNDIR/ploopN/admin: what commands ask of the guardian and must not pass through
// the worker, which reads untrusted images. The same protocol as the control socket
// (docs/control-protocol.md), served by the guardian's poll loop; root only.
#pragma once

#include <poll.h>

#include <cstdint>
#include <functional>
#include <list>
#include <span>
#include <string>
#include <vector>

#include "base/fd.hpp"
#include "base/result.hpp"
#include "control/line_buffer.hpp"
#include "control/protocol.hpp"

namespace ploop::daemon {

class Admin {
 public:
  /// `connection` names the asker until it closes its end.
  using Handler = std::function<void(std::uint64_t connection, const control::Request& request)>;
  using Closed = std::function<void(std::uint64_t connection)>;

  Admin() = default;
  /// `listening` is a listening Unix socket.
  explicit Admin(Fd listening);

  /// The same with one asker who is connected already, and who is number 1 from now on.
  Admin(Fd listening, Fd asker);

  /// For another program in this process, which makes an Admin of both.
  [[nodiscard]] int listening() const { return listening_.get(); }
  [[nodiscard]] int socket_of(std::uint64_t connection) const;
  /// Commands that are connected.
  [[nodiscard]] std::size_t connections() const { return connections_.size(); }

  /// Appends what the guardian has to poll for.
  void add_to(std::vector<pollfd>& fds) const;
  /// Deals with the entries that add_to() appended.
  void handle(std::span<const pollfd> fds, const Handler& handler, const Closed& closed);
  /// Answers, at once or later; an asker who is gone is ignored. `result` is the text of a JSON object.
  void reply(std::uint64_t connection, std::uint64_t request_id, const Result<std::string>& result);

 private:
  struct Connection {
    std::uint64_t id = 0;
    Fd socket;
    control::LineBuffer received{control::kMaxLine};
  };
  void accept_one();
  /// False: it is over.
  static bool receive(Connection& connection, const Handler& handler);

  Fd listening_;
  std::list<Connection> connections_;
  std::uint64_t next_connection_ = 1;
};

}  // namespace ploop::daemon
