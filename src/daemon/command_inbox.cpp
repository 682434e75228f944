#include "daemon/command_inbox.hpp"

#include <sys/eventfd.h>
#include <unistd.h>

#include <utility>

namespace ploop::daemon {

Result<std::unique_ptr<CommandInbox>> CommandInbox::start(Fd control_socket) {
  Fd wakeup{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
  if (!wakeup) return fail_errno(ExitCode::System, "make an eventfd");
  std::unique_ptr<CommandInbox> inbox(new CommandInbox(std::move(wakeup)));
  CommandInbox* self = inbox.get();
  inbox->server_ = TRY(control::Server::start(std::move(control_socket),
                                              [self](control::Call call) { self->put(std::move(call)); }));
  return inbox;
}

/// On the server's thread.
void CommandInbox::put(control::Call call) {
  {
    const std::lock_guard guard(mutex_);
    calls_.push_back(std::move(call));
  }
  const std::uint64_t one = 1;
  [[maybe_unused]] const ssize_t n = ::write(wakeup_.get(), &one, sizeof one);
}

std::vector<control::Call> CommandInbox::take() {
  std::uint64_t count = 0;
  [[maybe_unused]] const ssize_t n = ::read(wakeup_.get(), &count, sizeof count);
  const std::lock_guard guard(mutex_);
  return std::exchange(calls_, {});
}

void CommandInbox::stop() {
  if (server_) server_->stop();
}

}  // namespace ploop::daemon
