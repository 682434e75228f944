#include "daemon/channel.hpp"

#include <poll.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <cerrno>
#include <cstring>

#include "control/json.hpp"

namespace ploop::daemon {
namespace {

/// More never travel in one piece; the kernel closes what does not fit.
constexpr std::size_t kMaxDescriptors = 8;

/// send(2) with a descriptor at the first byte.
ssize_t send_with(int socket, std::string_view bytes, int descriptor) {
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  // sendmsg() does not write through the pointer.
  iovec piece{const_cast<char*>(bytes.data()), bytes.size()};
  msghdr message{};
  message.msg_iov = &piece;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  cmsghdr* const header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof(int));
  std::memcpy(CMSG_DATA(header), &descriptor, sizeof descriptor);
  return ::sendmsg(socket, &message, MSG_NOSIGNAL);
}

void take_descriptors(msghdr& message, std::deque<Fd>& to) {
  for (cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr; header = CMSG_NXTHDR(&message, header)) {
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
    const std::size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < count; ++i) {
      int descriptor = -1;
      std::memcpy(&descriptor, CMSG_DATA(header) + i * sizeof(int), sizeof descriptor);
      to.emplace_back(descriptor);
    }
  }
}

}  // namespace

Result<std::pair<Channel, Channel>> Channel::pair() {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) {
    return fail_errno(ExitCode::System, "make a socket pair");
  }
  return std::pair{Channel(Fd{ends[0]}), Channel(Fd{ends[1]})};
}

void Channel::limit_sending(std::chrono::milliseconds patience) {
  const timeval limit{patience.count() / 1000, patience.count() % 1000 * 1000};
  ::setsockopt(fd(), SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
}

Status Channel::send(std::string_view name, std::string_view body, int descriptor) {
  // `body` is JSON already and has no newline; the name is one of ours.
  std::string line = "{\"";
  line.append(name).append("\":").append(body).append(descriptor >= 0 ? ",\"descriptor\":true}\n" : "}\n");
  std::string_view left = line;
  while (!left.empty()) {
    const ssize_t n = descriptor >= 0 ? send_with(socket_.get(), left, descriptor)
                                      : ::send(socket_.get(), left.data(), left.size(), MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return fail_errno(ExitCode::System, "send between the daemon's processes");
    descriptor = -1;  // it has gone with the first piece
    left.remove_prefix(static_cast<std::size_t>(n));
  }
  return {};
}

bool Channel::receive() {
  char bytes[16384];
  alignas(cmsghdr) char control[CMSG_SPACE(kMaxDescriptors * sizeof(int))];
  iovec piece{bytes, sizeof bytes};
  msghdr message{};
  message.msg_iov = &piece;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  const ssize_t n = ::recvmsg(socket_.get(), &message, MSG_CMSG_CLOEXEC);
  if (n < 0 && errno == EINTR) return true;
  if (n >= 0) take_descriptors(message, descriptors_);
  if (n <= 0 || lines_.overflown()) return false;
  lines_.append({bytes, static_cast<std::size_t>(n)});
  return true;
}

std::optional<Result<Message>> Channel::next() {
  const std::optional<std::string> line = lines_.next();
  if (!line) return std::nullopt;
  Result<control::Json> json = control::parse_object(*line, "daemon message");
  if (!json) return fail(std::move(json).error());
  const bool carries = json->erase("descriptor") == 1;
  if (json->size() != 1 || !json->begin()->is_object() || (carries && descriptors_.empty())) {
    return fail(ExitCode::Protocol, "daemon message: wrong shape");
  }
  Message message{json->begin().key(), control::to_line(*json->begin()), {}};
  if (carries) {
    message.descriptor = std::move(descriptors_.front());
    descriptors_.pop_front();
  }
  return message;
}

Result<Message> Channel::wait(int timeout_ms) {
  for (;;) {
    if (std::optional<Result<Message>> message = next()) return *std::move(message);
    pollfd wait{socket_.get(), POLLIN, 0};
    const int ready = ::poll(&wait, 1, timeout_ms);
    if (ready < 0 && errno == EINTR) continue;
    if (ready == 0) return fail(errno_error(ExitCode::System, ETIMEDOUT, "wait for a part of the daemon"));
    if (!receive()) return fail(errno_error(ExitCode::System, ECONNRESET, "hear from a part of the daemon"));
  }
}

}  // namespace ploop::daemon
