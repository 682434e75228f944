// Memory of a tag: one page that ends with the message's header, then the data. Headers of WRITE are 80
// bytes, so the data of a write starts on a page, as direct I/O wants it; the data of a read is put in the
// same place and its 16-byte answer header right before it, so that every answer is one write of one piece of
// memory.
#include "transport/fuse/pump.hpp"

#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/aligned_buffer.hpp"
#include "base/log.hpp"

namespace ploop::transport::fuse {
namespace {

/// Messages read before completions get their turn again.
constexpr unsigned kBatch = 32;
constexpr int kGreetTimeoutMs = 10'000;

}  // namespace

struct Pump::Tag {
  std::byte* data = nullptr;  // page-aligned, max_transfer long; the page before it is ours too
  std::size_t length = 0;     // of the message
  std::coroutine_handle<> serving;
  Tag* next_free = nullptr;

  [[nodiscard]] std::byte* message() const { return data - kWritePrefix; }
  [[nodiscard]] std::span<const std::byte> bytes() const { return {message(), length}; }
};

/// An endless coroutine; the tag owns its handle and destroys it with the pump.
struct Pump::TagTask {
  struct promise_type {
    TagTask get_return_object() { return {std::coroutine_handle<promise_type>::from_promise(*this)}; }
    std::suspend_never initial_suspend() noexcept { return {}; }
    std::suspend_always final_suspend() noexcept { return {}; }
    void return_void() {}
    void unhandled_exception() { std::abort(); }
  };
  std::coroutine_handle<> handle;
};

/// Parks a tag until drain() has read a message for it.
struct Pump::NextMessage {
  Pump* pump;
  Tag* tag;
  [[nodiscard]] bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<>) const {
    tag->next_free = pump->free_;
    pump->free_ = tag;
    --pump->busy_;
  }
  void await_resume() const noexcept {}
};

Pump::Pump(io::UringRing& ring, engine::Device& device, int fd, const PumpOptions& options)
    : ring_(ring), device_(device), fd_(fd), options_(options) {
  limits_ = {device.size_bytes(), options.max_transfer, device.writable()};
  watch_.finished = [](io::Completion* c) { static_cast<Watch*>(c)->armed = false; };
}

Result<std::unique_ptr<Pump>> Pump::create(io::UringRing& ring, engine::Device& device, int fd,
                                           const PumpOptions& options) {
  std::unique_ptr<Pump> pump(new Pump(ring, device, fd, options));
  const std::size_t stride = kPageSize + options.max_transfer;
  pump->memory_ = TRY(RequestMemory::take(stride * options.tags));
  pump->tags_.resize(options.tags);
  pump->busy_ = options.tags;
  for (unsigned i = 0; i < options.tags; ++i) {
    Tag& tag = pump->tags_[i];
    tag.data = pump->memory_.data() + i * stride + kPageSize;
    tag.serving = serve(*pump, tag).handle;
  }
  return pump;
}

Pump::~Pump() {
  for (const Tag& tag : tags_) {
    if (tag.serving) tag.serving.destroy();
  }
}

Pump::TagTask Pump::serve(Pump& pump, Tag& tag) {
  for (;;) {
    NextMessage next{&pump, &tag};
    co_await next;
    Decoded d = decode(tag.bytes(), pump.limits_);
    if (d.action != Action::Engine) {
      pump.answer_small(tag, d);
      continue;
    }
    if (d.empty_read) {
      pump.reply(tag, d.unique, 0, 0);
      continue;
    }
    d.request.data = tag.data;
    const int result = co_await pump.device_.execute(d.request);
    std::size_t bytes = 0;
    if (result == 0 && d.request.op == engine::Request::Op::Read) bytes = d.request.length;
    if (result == 0 && d.request.op == engine::Request::Op::Write) {
      const WriteOut out{static_cast<std::uint32_t>(d.request.length), 0};
      std::memcpy(tag.data, &out, sizeof out);
      bytes = sizeof out;
    }
    pump.reply(tag, d.unique, result, bytes);
  }
}

/// Everything that is answered from memory.
void Pump::answer_small(Tag& tag, const Decoded& d) {
  const auto answer = [&](const auto& out) {
    std::memcpy(tag.data, &out, sizeof out);
    reply(tag, d.unique, 0, sizeof out);
  };
  switch (d.action) {
    case Action::GetAttr:
      return answer(attributes(limits_.device_bytes, limits_.writable));
    case Action::StatFs:
      return answer(file_system_facts(limits_.device_bytes, options_.discard_granularity));
    case Action::Open:
      return answer(OpenOut{0, kOpenDirectIo | kOpenParallelDirectWrites, 0});
    case Action::Ok:
      return reply(tag, d.unique, 0, 0);
    case Action::Silent:
      return;
    case Action::Refuse:
      return reply(tag, d.unique, d.error, 0);
    case Action::Init:  // only once, and greet() had it
    case Action::Engine:
      return reply(tag, d.unique, -EIO, 0);
  }
}

/// Answers with the `bytes` at tag.data.
void Pump::reply(Tag& tag, std::uint64_t unique, int error, std::size_t bytes) {
  const OutHeader header{static_cast<std::uint32_t>(sizeof(OutHeader) + bytes), error, unique};
  std::byte* start = tag.data - sizeof header;
  std::memcpy(start, &header, sizeof header);
  send(start, header.len);
}

void Pump::send(const void* message, std::size_t bytes) {
  for (;;) {
    const ssize_t n = ::write(fd_, message, bytes);
    if (n == static_cast<ssize_t>(bytes)) return;
    if (n < 0 && errno == EINTR) continue;
    // ENOENT: the caller was killed and does not wait any more. ENODEV and friends show up in the next read
    // as well.
    if (n < 0 &&
        (errno == ENOENT || errno == ENODEV || errno == EPERM || errno == EPIPE || errno == ECONNRESET))
      return;
    log_error("fuse: answer of {} bytes failed: {}", bytes, std::strerror(errno));
    return;
  }
}

/// Reads and starts requests until there is none, no tag is free or completions must have their turn. True:
/// there may be more to read.
bool Pump::drain() {
  const std::size_t room = kWritePrefix + options_.max_transfer;
  for (unsigned i = 0; i < kBatch; ++i) {
    if (gone_ || free_ == nullptr) return false;
    Tag* tag = free_;
    const ssize_t n = ::read(fd_, tag->message(), room);
    if (n > 0) {
      free_ = tag->next_free;
      ++busy_;
      tag->length = static_cast<std::size_t>(n);
      tag->serving.resume();
      continue;
    }
    if (n < 0 && errno == EAGAIN) {
      watch();
      return false;
    }
    if (n < 0 && (errno == EINTR || errno == ENOENT))
      continue;  // ENOENT: that request was given up meanwhile
    // ENODEV: unmounted, ECONNABORTED: aborted by hand, 0: the other end of a test's socket.
    if (n < 0 && errno != ENODEV && errno != ECONNABORTED) broken_ = errno;
    gone_ = true;
  }
  return true;
}

void Pump::watch() {
  if (watch_.armed) return;
  watch_.armed = true;
  ring_.submit_poll(fd_, POLLIN, &watch_);
}

Status Pump::greet() {
  Tag& tag = tags_.front();
  for (;;) {
    pollfd wait{fd_, POLLIN, 0};
    const int ready = ::poll(&wait, 1, kGreetTimeoutMs);
    if (ready < 0 && errno == EINTR) continue;
    if (ready <= 0) return fail(ExitCode::Device, "The kernel does not greet the FUSE connection");
    const ssize_t n = ::read(fd_, tag.message(), kWritePrefix + options_.max_transfer);
    if (n < 0 && (errno == EINTR || errno == EAGAIN || errno == ENOENT)) continue;
    if (n <= 0) return fail_errno(ExitCode::Device, "read /dev/fuse");
    tag.length = static_cast<std::size_t>(n);
    const Decoded d = decode(tag.bytes(), limits_);
    if (d.action != Action::Init) {
      reply(tag, d.unique, -EIO, 0);
      continue;
    }
    const Negotiated agreed =
        negotiate(tag.bytes(), {options_.max_transfer, static_cast<std::uint16_t>(options_.tags)});
    if (agreed.give_up) {
      reply(tag, d.unique, -EPROTO, 0);
      return fail(ExitCode::Device, "The kernel's FUSE is too old");
    }
    std::memcpy(tag.data, &agreed.out, sizeof agreed.out);
    reply(tag, d.unique, 0, sizeof agreed.out);
    if (!agreed.accepted) continue;
    can_resend_ = agreed.can_resend;
    return {};
  }
}

/// Once, before the first read: everything the kernel waits for comes again, oldest first. The predecessor
/// was one of this program's workers, so what it negotiated is what these options say.
Status Pump::take_over() {
  can_resend_ = true;
  const OutHeader resend{sizeof(OutHeader), kNotifyResend, 0};
  if (::write(fd_, &resend, sizeof resend) != static_cast<ssize_t>(sizeof resend)) {
    return fail_errno(ExitCode::Device, "ask the kernel for the requests of the dead worker");
  }
  return {};
}

Status Pump::run() {
  bool more = true;
  while ((!gone_ && !retiring_) || busy_ > 0) {
    // Unless the poll has fired (or was never asked for), reading would only find out that there is nothing.
    if (!watch_.armed) more = !retiring_ && drain();
    if (gone_ && busy_ == 0) break;
    ring_.run_once(!more || watch_.armed);
  }
  if (broken_ != 0) return fail(errno_error(ExitCode::DeviceIoctl, broken_, "read /dev/fuse"));
  return {};
}

}  // namespace ploop::transport::fuse
