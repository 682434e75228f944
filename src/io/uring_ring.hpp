// Ring on io_uring. One thread creates and runs it.
//
// Files whose I/O never waits for a device (tmpfs) are served in place: io_uring would hand them to a worker thread, which costs
// several times the copy itself. Timers live in user space, as the time limit of the wait.
#pragma once

#include <liburing.h>

#include <memory>
#include <vector>

#include "base/result.hpp"
#include "io/ring.hpp"

namespace ploop::io {

class UringRing final : public Ring {
 public:
  /// A ring for `depth` operations at a time; more are accepted and wait. ExitCode::System.
  static Result<std::unique_ptr<UringRing>> create(unsigned depth);
  ~UringRing() override;

  bool submit(const Op& op, Completion* done) override;
  void submit_timeout(std::uint64_t nanoseconds, Completion* done) override;
  void cancel_timeout(Completion* done) override;
  void post(Completion* done) override;
  bool run_once(bool wait) override;

  /// Calls `done` once when `fd` has one of the poll(2) events; the result is the events or -errno.
  void submit_poll(int fd, unsigned events, Completion* done);
  /// read(2)/writev(2) on a descriptor that is not a BlockFile (a device, a socket); results as from the system call.
  void submit_read(int fd, std::span<std::byte> data, Completion* done);

 private:
  struct Pending;
  struct Timer {
    std::uint64_t deadline;
    Completion* done;
  };
  UringRing() = default;
  io_uring_sqe* next_sqe();
  Pending* take_pending();
  void start(Pending* p);
  void finish(Pending* p, int result);
  bool deliver_posted();
  bool deliver_timers();
  void deliver_cqes();
  int wait_for_completions(bool wait);

  io_uring ring_{};
  bool initialised_ = false;
  std::vector<std::unique_ptr<Pending[]>> blocks_;
  Pending* free_ = nullptr;
  std::vector<Completion*> posted_;
  std::vector<Completion*> delivering_;
  std::vector<Timer> timers_;  // a handful at most; unsorted
};

}  // namespace ploop::io
