// The daemon's end of the control socket: a thread that accepts connections, cuts their bytes into requests
// and sends answers. It knows no methods; those are the handler's.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "base/fd.hpp"
#include "base/result.hpp"
#include "control/protocol.hpp"

namespace ploop::control {

/// One request and where its answer goes.
struct Call {
  std::uint64_t connection = 0;
  Request request;
  bool closed = false;  ///< no request: the connection is over, and what it started has nobody any more
};

class Server {
 public:
  /// Called on the server's thread for every well-formed request and once at the end of each connection.
  /// Malformed ones are answered by the server.
  using Handler = std::function<void(Call)>;

  /// Serves `listening` until stop(). Peers other than root and the daemon's own user are turned away.
  static Result<std::unique_ptr<Server>> start(Fd listening, Handler handler);
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  /// Sends an answer line (from encode_result or encode_error). Any thread; a connection that is gone is
  /// ignored.
  void reply(const Call& call, std::string line);
  /// Lets new connections wait for a successor or for resume(). False, and nothing has changed: somebody is
  /// connected. Any thread.
  bool pause();
  void resume();
  /// Sends what is still to be sent (at most a second) and ends the thread.
  void stop();

 private:
  class Loop;
  explicit Server(std::unique_ptr<Loop> loop);
  std::unique_ptr<Loop> loop_;
};

}  // namespace ploop::control
