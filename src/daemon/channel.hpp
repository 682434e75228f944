// Messages between guardian, worker and keeper: one JSON object with one member per line over a socket,
// {"NAME": {...}}. A descriptor can travel with a message, which then has a second member, "descriptor":
// true.
#pragma once

#include <chrono>
#include <deque>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "base/fd.hpp"
#include "base/result.hpp"
#include "control/line_buffer.hpp"

namespace ploop::daemon {

struct Message {
  std::string name;
  std::string body;  ///< text of a JSON object
  Fd descriptor;     ///< what came with it; the receiver's now
};

/// One end. Sending blocks; receiving is split, so that an event loop can own the waiting.
class Channel {
 public:
  Channel() = default;
  explicit Channel(Fd socket) : socket_(std::move(socket)) {}
  /// Two connected ends.
  static Result<std::pair<Channel, Channel>> pair();

  [[nodiscard]] int fd() const { return socket_.get(); }
  [[nodiscard]] bool open() const { return socket_.valid(); }
  void close() { socket_.reset(); }

  /// From now on send() fails with EAGAIN when the other end has made no room for this long. The message may
  /// be cut then, so that nothing else can follow.
  void limit_sending(std::chrono::milliseconds patience);
  /// `descriptor` goes along as a duplicate; -1: none. ExitCode::System when the other end is gone.
  Status send(std::string_view name, std::string_view body = "{}", int descriptor = -1);
  /// Reads what is there (waits when nothing is); false at the end of the stream.
  bool receive();
  /// The next complete message of what was received; an error for one that is malformed.
  std::optional<Result<Message>> next();
  /// Nothing was received that next() has not given. Then fd() is all there is to this end.
  [[nodiscard]] bool idle() const { return lines_.empty() && descriptors_.empty(); }
  /// Waits for one message, at most `timeout_ms` (-1: for ever).
  Result<Message> wait(int timeout_ms);

 private:
  Fd socket_;
  control::LineBuffer lines_{16u << 20};
  std::deque<Fd> descriptors_;  ///< came with lines that next() has not given yet
};

}  // namespace ploop::daemon
