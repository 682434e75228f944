#include "io/command_ring.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace ploop::io {
namespace {

constexpr unsigned kEntries = 4;
/// Where the body begins in a submission entry of 128 bytes.
constexpr std::size_t kBodyOffset = 48;
constexpr std::uint64_t kCancellation = 0;
/// For a command that was cancelled to say so.
constexpr std::chrono::milliseconds kCancelPatience{2000};

}  // namespace

Result<std::unique_ptr<CommandRing>> CommandRing::create() {
  std::unique_ptr<CommandRing> self(new CommandRing);
  io_uring_params params{};
  params.flags = IORING_SETUP_SQE128;
  const int err = io_uring_queue_init_params(kEntries, &self->ring_, &params);
  if (err < 0) return fail(errno_error(ExitCode::System, -err, "set up io_uring for commands"));
  self->initialised_ = true;
  return self;
}

CommandRing::~CommandRing() {
  if (initialised_) io_uring_queue_exit(&ring_);
}

int CommandRing::run(int fd, std::uint32_t opcode, std::span<const std::byte> body,
                     std::chrono::milliseconds patience) {
  if (body.size() > kMaxBody)
    return -EINVAL;  // before an entry is taken, which the next submission would send
  io_uring_sqe* sqe = io_uring_get_sqe(&ring_);
  if (sqe == nullptr) return -EINVAL;
  const std::uint64_t id = next_id_++;
  std::memset(static_cast<void*>(sqe), 0, 128);
  sqe->opcode = IORING_OP_URING_CMD;
  sqe->fd = fd;
  sqe->cmd_op = opcode;
  sqe->user_data = id;
  std::ranges::copy(
      body, reinterpret_cast<std::byte*>(sqe) + kBodyOffset);  // a body may be empty, without an address
  const int submitted = io_uring_submit(&ring_);
  if (submitted < 0) return submitted;
  const int result = wait_for(id, patience);
  if (result != -ETIMEDOUT) return result;
  // Waits that can be interrupted end now; the id keeps a late answer apart from later commands.
  if (io_uring_sqe* cancel = io_uring_get_sqe(&ring_); cancel != nullptr) {
    std::memset(static_cast<void*>(cancel), 0, 128);
    cancel->opcode = IORING_OP_ASYNC_CANCEL;
    cancel->fd = -1;
    cancel->addr = id;
    cancel->user_data = kCancellation;
    io_uring_submit(&ring_);
    // It may have been quicker than its cancellation.
    const int late = wait_for(id, kCancelPatience);
    if (late != -EINTR && late != -ECANCELED) return late;
  }
  return -ETIMEDOUT;
}

int CommandRing::wait_for(std::uint64_t id, std::chrono::milliseconds patience) {
  using Clock = std::chrono::steady_clock;
  const Clock::time_point deadline = Clock::now() + patience;
  for (;;) {
    const auto left = std::chrono::duration_cast<std::chrono::nanoseconds>(deadline - Clock::now()).count();
    __kernel_timespec time{};
    if (left > 0) {
      time.tv_sec = left / 1'000'000'000;
      time.tv_nsec = left % 1'000'000'000;
    }
    io_uring_cqe* cqe = nullptr;
    const int waited = io_uring_wait_cqe_timeout(&ring_, &cqe, &time);
    if (waited == -ETIME) return -ETIMEDOUT;
    if (waited == -EINTR || waited == -EAGAIN) continue;
    if (waited < 0) return waited;
    const std::uint64_t answered = cqe->user_data;
    const int result = cqe->res;
    io_uring_cqe_seen(&ring_, cqe);
    if (answered == id) return result;
  }
}

}  // namespace ploop::io
