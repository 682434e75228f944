// The server's thread polls the listening socket, a wake-up eventfd and the connections. Answers from other
// threads pass through a queue under a mutex; nothing else is shared.
#include "control/server.hpp"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <list>
#include <mutex>
#include <vector>

#include "base/log.hpp"
#include "control/line_buffer.hpp"

namespace ploop::control {
namespace {

constexpr std::size_t kMaxConnections = 32;
constexpr std::size_t kMaxUnsent = 32u << 20;
constexpr std::size_t kStackBytes = 256 * 1024;  // small, because all of the daemon's memory is locked
constexpr auto kFarewell = std::chrono::seconds(1);

struct Connection {
  std::uint64_t id = 0;
  Fd socket;
  LineBuffer received{kMaxLine};
  std::string unsent;
  bool closing = false;  // after the last byte of `unsent`
};

bool trusted_peer(int socket) {
  ucred peer{};
  socklen_t length = sizeof peer;
  if (::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &length) != 0) return false;
  return peer.uid == 0 || peer.uid == ::geteuid();
}

}  // namespace

class Server::Loop {
 public:
  Loop(Fd listening, Fd wakeup, Handler handler)
      : listening_(std::move(listening)), wakeup_(std::move(wakeup)), handler_(std::move(handler)) {}

  Status start() {
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, kStackBytes);
    const int err = pthread_create(&thread_, &attributes, &Loop::run, this);
    pthread_attr_destroy(&attributes);
    if (err != 0) return fail(errno_error(ExitCode::System, err, "start the control thread"));
    running_ = true;
    return {};
  }

  void post(std::uint64_t connection, std::string line) {
    {
      const std::lock_guard guard(mutex_);
      answers_.push_back({connection, std::move(line)});
    }
    wake();
  }

  bool pause() {
    const std::lock_guard guard(mutex_);
    paused_ = connected_ == 0;
    return paused_;
  }

  void resume() {
    {
      const std::lock_guard guard(mutex_);
      paused_ = false;
    }
    wake();
  }

  void stop() {
    if (!running_) return;
    stopping_.store(true);
    wake();
    pthread_join(thread_, nullptr);
    running_ = false;
  }

 private:
  struct Answer {
    std::uint64_t connection;
    std::string line;
  };

  static void* run(void* self) {
    static_cast<Loop*>(self)->serve();
    return nullptr;
  }

  void wake() const {
    const std::uint64_t one = 1;
    // Can fail only when the counter is full, and then the thread wakes up anyway.
    [[maybe_unused]] const ssize_t n = ::write(wakeup_.get(), &one, sizeof one);
  }

  void serve() {
    using Clock = std::chrono::steady_clock;
    std::optional<Clock::time_point> farewell;
    for (;;) {
      take_answers();
      for (Connection& c : connections_)
        send_some(c);
      remove_finished();
      if (stopping_.load()) {
        if (!farewell) farewell = Clock::now() + kFarewell;
        const bool quiet = std::all_of(connections_.begin(), connections_.end(),
                                       [](const Connection& c) { return c.unsent.empty(); });
        if (quiet || Clock::now() >= *farewell) return;
      }
      wait_and_receive(farewell.has_value());
    }
  }

  void remove_finished() {
    connections_.remove_if([this](const Connection& c) {
      const bool over = !c.socket || (c.closing && c.unsent.empty());
      if (over) handler_(Call{c.id, {}, true});
      return over;
    });
    const std::lock_guard guard(mutex_);
    connected_ = connections_.size();
  }

  void take_answers() {
    std::vector<Answer> answers;
    {
      const std::lock_guard guard(mutex_);
      answers.swap(answers_);
    }
    for (Answer& answer : answers) {
      for (Connection& c : connections_) {
        if (c.id == answer.connection) queue(c, answer.line);
      }
    }
  }

  static void queue(Connection& c, const std::string& line) {
    c.unsent += line;
    if (c.unsent.size() > kMaxUnsent) c.socket.reset();  // a peer that never reads
  }

  static void send_some(Connection& c) {
    while (c.socket && !c.unsent.empty()) {
      const ssize_t n = ::send(c.socket.get(), c.unsent.data(), c.unsent.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
      if (n > 0) {
        c.unsent.erase(0, static_cast<std::size_t>(n));
      } else if (errno == EAGAIN) {
        return;
      } else if (errno != EINTR) {
        c.socket.reset();
      }
    }
  }

  void wait_and_receive(bool leaving) {
    std::vector<pollfd> fds;
    fds.push_back({wakeup_.get(), POLLIN, 0});
    const bool room = connections_.size() < kMaxConnections && !leaving && !is_paused();
    fds.push_back({room ? listening_.get() : -1, POLLIN, 0});
    for (const Connection& c : connections_) {
      const int events = (c.closing || leaving ? 0 : POLLIN) | (c.unsent.empty() ? 0 : POLLOUT);
      fds.push_back({c.socket.get(), static_cast<short>(events), 0});
    }
    if (::poll(fds.data(), fds.size(), leaving ? 100 : -1) < 0) return;
    if (fds[0].revents != 0) {
      std::uint64_t count = 0;
      [[maybe_unused]] const ssize_t n = ::read(wakeup_.get(), &count, sizeof count);
    }
    std::size_t i = 2;
    for (Connection& c : connections_) {
      if ((fds[i++].revents & (POLLIN | POLLHUP | POLLERR)) != 0) receive(c);
    }
    if (fds[1].revents != 0) accept_one();
  }

  bool is_paused() {
    const std::lock_guard guard(mutex_);
    return paused_;
  }

  void accept_one() {
    const std::lock_guard guard(mutex_);
    if (paused_) return;
    Fd socket{::accept4(listening_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK)};
    if (!socket) return;
    if (!trusted_peer(socket.get())) return;
    Connection c;
    c.id = next_connection_++;
    c.socket = std::move(socket);
    connections_.push_back(std::move(c));
    connected_ = connections_.size();
  }

  void receive(Connection& c) {
    char bytes[4096];
    const ssize_t n = ::recv(c.socket.get(), bytes, sizeof bytes, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (n <= 0) {
      c.socket.reset();
      return;
    }
    c.received.append({bytes, static_cast<std::size_t>(n)});
    while (!c.closing) {
      const std::optional<std::string> line = c.received.next();
      if (!line) break;
      dispatch(c, *line);
    }
    if (c.received.overflown()) turn_away(c, Error{ExitCode::Protocol, 0, "Request too long"});
  }

  void dispatch(Connection& c, const std::string& line) {
    Result<Request> request = decode_request(line);
    if (!request) return turn_away(c, request.error());
    handler_(Call{c.id, *std::move(request), false});
  }

  /// After a malformed line the stream can't be trusted any more: answer and close.
  static void turn_away(Connection& c, const Error& error) {
    if (c.closing) return;
    c.closing = true;
    queue(c, encode_error(0, error));
  }

  Fd listening_;
  Fd wakeup_;
  Handler handler_;
  std::list<Connection> connections_;
  std::uint64_t next_connection_ = 1;
  std::mutex mutex_;
  std::vector<Answer> answers_;  // under mutex_
  std::size_t connected_ = 0;    // under mutex_
  bool paused_ = false;          // under mutex_
  std::atomic<bool> stopping_ = false;
  bool running_ = false;
  pthread_t thread_{};
};

Server::Server(std::unique_ptr<Loop> loop) : loop_(std::move(loop)) {}

Result<std::unique_ptr<Server>> Server::start(Fd listening, Handler handler) {
  Fd wakeup{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
  if (!wakeup) return fail_errno(ExitCode::System, "make an eventfd");
  ::fcntl(listening.get(), F_SETFL, O_NONBLOCK);
  auto loop = std::make_unique<Loop>(std::move(listening), std::move(wakeup), std::move(handler));
  TRY(loop->start());
  return std::unique_ptr<Server>(new Server(std::move(loop)));
}

Server::~Server() {
  stop();
}

void Server::reply(const Call& call, std::string line) {
  loop_->post(call.connection, std::move(line));
}

bool Server::pause() {
  return loop_->pause();
}
void Server::resume() {
  loop_->resume();
}
void Server::stop() {
  loop_->stop();
}

}  // namespace ploop::control
