// The control socket of a worker: its thread collects requests, the ring's thread takes them. It exists
// before the worker reads its images, because no thread can be made afterwards; what comes early waits.
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "base/fd.hpp"
#include "base/result.hpp"
#include "control/server.hpp"

namespace ploop::daemon {

class CommandInbox {
 public:
  /// Starts the thread that serves `control_socket`. ExitCode::System.
  static Result<std::unique_ptr<CommandInbox>> start(Fd control_socket);
  ~CommandInbox() { stop(); }
  CommandInbox(const CommandInbox&) = delete;
  CommandInbox& operator=(const CommandInbox&) = delete;

  /// Readable when take() has something.
  [[nodiscard]] int fd() const { return wakeup_.get(); }
  std::vector<control::Call> take();
  /// Sends an answer line.
  void reply(const control::Call& call, std::string line) { server_->reply(call, std::move(line)); }
  /// See control::Server.
  bool pause() { return server_->pause(); }
  void resume() { server_->resume(); }
  /// Sends what is still to be sent and ends the thread.
  void stop();

 private:
  explicit CommandInbox(Fd wakeup) : wakeup_(std::move(wakeup)) {}
  void put(control::Call call);

  Fd wakeup_;
  std::mutex mutex_;
  std::vector<control::Call> calls_;  ///< under mutex_
  std::unique_ptr<control::Server> server_;
};

}  // namespace ploop::daemon
