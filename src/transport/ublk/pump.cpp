#include "transport/ublk/pump.hpp"

#include <cerrno>
#include <cstdlib>

namespace ploop::transport::ublk {

struct Pump::Tag {
  std::byte* data = nullptr;  // page-aligned, max_transfer long
  std::uint16_t index = 0;    // among all tags; zero copy: the number of its buffer
  std::uint16_t queue = 0;
  std::uint16_t number = 0;
  std::coroutine_handle<> serving;
};

/// An endless coroutine; the tag owns its handle and destroys it with the pump.
struct Pump::TagTask {
  struct promise_type {
    TagTask get_return_object() { return {std::coroutine_handle<promise_type>::from_promise(*this)}; }
    std::suspend_always initial_suspend() noexcept { return {}; }
    std::suspend_always final_suspend() noexcept { return {}; }
    void return_void() {}
    void unhandled_exception() { std::abort(); }
  };
  std::coroutine_handle<> handle;
};

/// Gives the kernel a result, unless it is the tag's first command, and waits for a request: 0, or -errno.
struct Pump::Fetch : io::ResumeOnCompletion {
  Fetch(Pump& p, const Tag& t, std::uint32_t code, std::int32_t outcome)
      : pump(&p), tag(&t), opcode(code), commit(outcome) {
    finished = &resume;
  }
  Pump* pump;
  const Tag* tag;
  std::uint32_t opcode;
  std::int32_t commit;
  [[nodiscard]] bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> h) {
    waiting = h;
    IoBody body;
    body.queue = tag->queue;
    body.tag = tag->number;
    body.result = commit;
    const DataPath path = pump->geometry_.path;
    if (path == DataPath::Copy) body.address = reinterpret_cast<std::uintptr_t>(tag->data);
    pump->server_->submit(opcode, body, path == DataPath::ZeroCopy ? auto_buffer(tag->index) : 0, this);
  }
  [[nodiscard]] int await_resume() const noexcept { return result; }
};

Pump::Pump(io::Ring& ring, engine::Device& device, std::unique_ptr<Server> server, const Geometry& geometry)
    : ring_(ring), device_(device), server_(std::move(server)), geometry_(geometry) {
  limits_ = {device.size_bytes(), geometry.max_transfer, device.writable()};
}

Result<std::unique_ptr<Pump>> Pump::create(io::Ring& ring, engine::Device& device,
                                           std::unique_ptr<Server> server, const Geometry& geometry) {
  std::unique_ptr<Pump> pump(new Pump(ring, device, std::move(server), geometry));
  const std::size_t tags = std::size_t{geometry.queues} * geometry.depth;
  pump->memory_ = TRY(RequestMemory::take(tags * geometry.max_transfer));
  pump->tags_.resize(tags);
  for (std::size_t i = 0; i < tags; ++i) {
    Tag& tag = pump->tags_[i];
    tag.data = pump->memory_.data() + i * geometry.max_transfer;
    tag.index = static_cast<std::uint16_t>(i);
    tag.queue = static_cast<std::uint16_t>(i / geometry.depth);
    tag.number = static_cast<std::uint16_t>(i % geometry.depth);
    tag.serving = serve(*pump, tag).handle;
  }
  return pump;
}

Pump::~Pump() {
  for (const Tag& tag : tags_) {
    if (tag.serving) tag.serving.destroy();
  }
}

bool Pump::tag_has_buffer(const Tag& tag, const Decoded& decoded) const {
  return geometry_.path == DataPath::ZeroCopy && tag.index < kMostTags && decoded.moves_data() &&
         decoded.buffered;
}

Pump::TagTask Pump::serve(Pump& pump, Tag& tag) {
  std::uint32_t opcode = kFetch;
  std::int32_t outcome = 0;
  for (;;) {
    Fetch fetch(pump, tag, opcode, outcome);
    const int fetched = co_await fetch;
    if (fetched != 0) {
      pump.ended(fetched);
      co_return;
    }
    opcode = kCommitAndFetch;
    Decoded d = decode(pump.server_->request(tag.queue, tag.number), pump.limits_);
    outcome = d.error;
    if (outcome != 0) continue;
    const std::span<std::byte> data(tag.data, d.moves_data() ? d.request.length : 0);
    // Without a copy where that is possible; else, and for all other ways, with the tag's memory.
    outcome = engine::kNeedsMemory;
    if (pump.tag_has_buffer(tag, d)) {
      d.request.buffer = tag.index;
      ++pump.executing_;
      outcome = co_await pump.device_.execute(d.request);
      --pump.executing_;
      d.request.buffer = io::kNoBuffer;
    }
    if (outcome != engine::kNeedsMemory) {
      if (outcome == 0) outcome = static_cast<std::int32_t>(data.size());
      continue;
    }
    const bool copies = pump.geometry_.path != DataPath::Copy && d.moves_data();
    const bool writes = d.request.op == engine::Request::Op::Write;
    if (copies && writes && !pump.server_->copy_in(tag.queue, tag.number, data)) {
      outcome = -EIO;
      continue;
    }
    d.request.data = tag.data;
    ++pump.executing_;
    outcome = co_await pump.device_.execute(d.request);
    --pump.executing_;
    if (outcome < 0) continue;
    if (copies && !writes && !pump.server_->copy_out(tag.queue, tag.number, data)) {
      outcome = -EIO;
      continue;
    }
    outcome = static_cast<std::int32_t>(data.size());  // what was moved; 0 for the others
  }
}

/// A tag gets no more requests.
void Pump::ended(int result) {
  --live_;
  // ENODEV: the device was stopped. Everything else is a disagreement about the protocol.
  if (result != -ENODEV && broken_ == 0) broken_ = result > 0 ? -EPROTO : result;
}

Status Pump::greet() {
  live_ = static_cast<unsigned>(tags_.size());
  for (const Tag& tag : tags_)
    tag.serving.resume();
  if (!server_->push())
    return fail(ExitCode::Device, "The kernel does not take the server of the ublk device");
  return {};
}

/// A broken tag is not served any more, so the rest must not wait for requests that may depend on it.
Status Pump::run() {
  while (live_ > 0 && (broken_ == 0 || executing_ > 0))
    ring_.run_once(true);
  if (broken_ != 0) return fail(errno_error(ExitCode::DeviceIoctl, -broken_, "serve the ublk device"));
  return {};
}

}  // namespace ploop::transport::ublk
