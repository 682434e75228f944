#include "ops/copy_channel.hpp"

#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "ops/cancel.hpp"

namespace ploop::ops {
namespace {

/// How long a signal to this command may go unnoticed.
constexpr int kPollMs = 200;
constexpr int kPipeBytes = 1 << 20;

/// A pipe opened again has a description, and so a mode, of its own: for writing, since a write waits for
/// room for all of it. A read that poll has announced does not wait; and a read end that is opened after the
/// last writer has left would wait for another one for ever.
Fd reopen_for_writing(int fd) {
  const std::string path = "/proc/self/fd/" + std::to_string(fd);
  return Fd{::open(path.c_str(), O_WRONLY | O_NONBLOCK | O_CLOEXEC)};
}

}  // namespace

DescriptorKind descriptor_kind(int fd) {
  struct stat st {};
  if (::fstat(fd, &st) != 0) return DescriptorKind::Other;
  if (S_ISFIFO(st.st_mode)) return DescriptorKind::Pipe;
  if (S_ISSOCK(st.st_mode)) return DescriptorKind::Socket;
  return S_ISREG(st.st_mode) ? DescriptorKind::File : DescriptorKind::Other;
}

CopyChannel::CopyChannel(int fd, Fd own, bool socket, std::string role)
    : fd_(own ? own.get() : fd), own_(std::move(own)), socket_(socket), role_(std::move(role)) {}

Result<CopyChannel> CopyChannel::open(int fd, Direction direction, const std::string& role) {
  const DescriptorKind kind = descriptor_kind(fd);
  if (kind == DescriptorKind::Socket) return CopyChannel(fd, Fd{}, true, role);
  if (kind != DescriptorKind::Pipe) {
    return fail(ExitCode::Param,
                "Invalid " + role + " fd " + std::to_string(fd) + ": must be a pipe or a socket");
  }
  ::fcntl(fd, F_SETPIPE_SZ, kPipeBytes);  // fewer switches between the two ends; a smaller one works too
  // Without /proc, or when the other end is gone already, the descriptor itself has to do.
  return CopyChannel(fd, direction == Direction::Write ? reopen_for_writing(fd) : Fd{}, false, role);
}

Status CopyChannel::wait(short events) {
  for (;;) {
    if (cancel_requested()) return fail(ExitCode::System, "cancelled; the copy is not complete");
    pollfd one{fd_, events, 0};
    const int ready = ::poll(&one, 1, kPollMs);
    if (ready > 0) return {};
    if (ready < 0 && errno != EINTR) return fail_errno(ExitCode::System, "wait for the " + role_ + " fd");
  }
}

Result<std::size_t> CopyChannel::read_some(std::span<std::byte> data) {
  for (;;) {
    TRY(wait(POLLIN));
    const ssize_t n = ::read(fd_, data.data(), data.size());
    if (n >= 0) return static_cast<std::size_t>(n);
    if (errno != EINTR && errno != EAGAIN)
      return fail_errno(ExitCode::Read, "read from the " + role_ + " fd");
  }
}

Result<std::size_t> CopyChannel::read_full(std::span<std::byte> data) {
  std::size_t done = 0;
  while (done < data.size()) {
    const std::size_t n = TRY(read_some(data.subspan(done)));
    if (n == 0) break;
    done += n;
  }
  return done;
}

ssize_t CopyChannel::put(std::span<iovec> pieces) {
  const std::size_t count = std::min<std::size_t>(pieces.size(), IOV_MAX);
  if (!socket_) return ::writev(fd_, pieces.data(), static_cast<int>(count));
  msghdr message{};
  message.msg_iov = pieces.data();
  message.msg_iovlen = count;
  return ::sendmsg(fd_, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
}

Status CopyChannel::write(std::span<iovec> pieces) {
  for (;;) {
    while (!pieces.empty() && pieces.front().iov_len == 0)
      pieces = pieces.subspan(1);
    if (pieces.empty()) return {};
    TRY(wait(POLLOUT));
    const ssize_t n = put(pieces);
    if (n < 0) {
      if (errno == EINTR || errno == EAGAIN) continue;
      return fail_errno(ExitCode::Write, "write to the " + role_ + " fd");
    }
    for (auto left = static_cast<std::size_t>(n); left > 0;) {
      iovec& piece = pieces.front();
      const std::size_t part = std::min(left, piece.iov_len);
      piece.iov_base = static_cast<char*>(piece.iov_base) + part;
      piece.iov_len -= part;
      left -= part;
      if (piece.iov_len == 0) pieces = pieces.subspan(1);
    }
  }
}

Status CopyChannel::write(std::span<const std::byte> data) {
  iovec one{const_cast<std::byte*>(data.data()), data.size()};
  return write(std::span(&one, 1));
}

}  // namespace ploop::ops
