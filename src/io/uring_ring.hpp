// Ring on io_uring. One thread creates and runs it.
//
// Files whose I/O never waits for a device (tmpfs) are served in place: io_uring would hand them to a worker
// thread, which costs several times the copy itself. Timers live in user space, as the time limit of the
// wait.
#pragma once

#include <liburing.h>

#include <array>
#include <memory>
#include <vector>

#include "base/result.hpp"
#include "io/ring.hpp"

namespace ploop::io {

/// A command to the driver of a device file (IORING_OP_URING_CMD) whose body fits a plain submission entry.
struct DeviceCommand {
  int fd = -1;
  std::uint32_t opcode = 0;
  std::uint64_t address = 0;  ///< the entry's address field, whatever it means to the driver
  std::array<std::byte, 16> body{};
};

class UringRing final : public Ring {
 public:
  enum class Start {
    Enabled,
    Disabled,  ///< takes operations only after enable(), and can be restricted before
  };
  /// A ring for `depth` operations at a time; more are accepted and wait. ExitCode::System.
  static Result<std::unique_ptr<UringRing>> create(unsigned depth, Start start = Start::Enabled);
  ~UringRing() override;

  /// Room for this many registered buffers, numbered from 0, for a driver to put its buffers there (zero copy
  /// of ublk). Of a ring made disabled, before it is restricted. ExitCode::System where the kernel can't
  /// (before 5.19).
  Status make_room_for_buffers(unsigned count);
  /// Of a ring made disabled: from enable() on the kernel takes the kinds of operation that this class uses
  /// for files and descriptors, those on registered buffers if there is room for some, with `commands` also
  /// those for drivers, and no others, from nobody who holds the ring; and nothing can be registered with it
  /// any more, but by drivers. ExitCode::System where the kernel can't (before 5.10); it can be enabled all
  /// the same.
  Status restrict_operations(bool commands = false);
  /// By the thread that will run it. Nothing to do for one made enabled.
  Status enable();
  /// For tests of the restrictions; owned by the ring.
  [[nodiscard]] io_uring* native() { return &ring_; }

  bool submit(const Op& op, Completion* done) override;
  void submit_timeout(std::uint64_t nanoseconds, Completion* done) override;
  void cancel_timeout(Completion* done) override;
  void post(Completion* done) override;
  bool run_once(bool wait) override;

  /// Calls `done` once when `fd` has one of the poll(2) events; the result is the events or -errno.
  void submit_poll(int fd, unsigned events, Completion* done);
  /// read(2)/writev(2) on a descriptor that is not a BlockFile (a device, a socket); results as from the
  /// system call.
  void submit_read(int fd, std::span<std::byte> data, Completion* done);
  /// Starts a command of a driver; the result is what the driver says, -errno included, and never tried again
  /// here.
  void submit_command(const DeviceCommand& command, Completion* done);
  /// Hands everything submitted to the kernel now, with the rights that the calling thread has now. False: it
  /// was refused.
  bool push();

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
  bool disabled_ = false;  ///< enable() is still to come
  bool buffers_ = false;   ///< there is room for registered ones
  std::vector<std::unique_ptr<Pending[]>> blocks_;
  Pending* free_ = nullptr;
  std::vector<Completion*> posted_;
  std::vector<Completion*> delivering_;
  std::vector<Timer> timers_;  // a handful at most; unsorted
};

}  // namespace ploop::io
