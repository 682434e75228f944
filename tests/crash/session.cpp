// Tags, their requests, and the notes about them.
#include "session.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <random>

#include "handle.hpp"

namespace ploop::crash {

namespace {

constexpr std::uint64_t kMaxClustersPerRequest = 3;

std::unique_ptr<io::MemoryFile> memory_copy(const Content& content, const SessionOptions& options,
                                            bool can_clone) {
  io::MemoryFileOptions file_options;
  file_options.can_clone = can_clone;
  file_options.can_punch = options.can_punch;
  file_options.can_allocate = options.can_allocate;
  file_options.capacity = options.capacity;
  auto file = std::make_unique<io::MemoryFile>("top", file_options);
  std::vector<std::byte> bytes(content.size());
  content.read(bytes, 0);
  file->write(bytes, 0);
  return file;
}

}  // namespace

std::string Step::text() const {
  if (compact) return fmt::format("compact at most {}", count);
  static constexpr const char* kNames[] = {"read", "write", "flush", "zero"};
  std::string text = kNames[static_cast<std::size_t>(op)];
  if (op != engine::Request::Op::Flush) text += fmt::format(" {}+{}", first, count);
  if (unmap) text += " unmap";
  if (fua) text += " fua";
  return text;
}

Session::Session(const Disk& disk, const SessionOptions& options)
    : disk_(disk),
      options_(options),
      live_(Oracle::Settles::Acknowledged, disk.initial),
      next_generation_(disk.next_generation) {
  top_ = std::make_unique<io::RecordingFile>(clock_, memory_copy(disk.top, options, disk.shape.can_clone));
  top_->set_faults(options.faults);
  clock_.tick();
}

Session::~Session() {
  device_.reset();
  destroy_actors();
}

void Session::destroy_actors() {
  for (auto& tag : tags_) {
    if (tag->coroutine) tag->coroutine.destroy();
    tag->coroutine = nullptr;
  }
}

void Session::complain(std::string text) {
  if (violation_.empty()) violation_ = std::move(text);
}

bool Session::open() {
  io::SimRingOptions ring_options;
  ring_options.seed = options_.seed * 1000 + incarnation_++;
  ring_options.immediate_percent = options_.immediate_percent;
  ring_options.in_order_percent = options_.in_order_percent;
  ring_options.faults = options_.faults;
  ring_.emplace(ring_options);
  auto deltas = open_stack(disk_, std::make_unique<Handle>(*top_), true, true);
  if (!deltas) {
    complain("open: " + deltas.error().message());
    return false;
  }
  engine::DeviceConfig config;
  config.deltas = std::move(*deltas);
  const std::uint64_t bytes = engine::Device::map_bytes(config.deltas);
  if (!adopt_) map_memory_.assign((bytes + 7) / 8, 0);
  config.map_memory = std::as_writable_bytes(std::span(map_memory_)).first(bytes);
  config.adopt_map = adopt_;
  config.commit_delay_ns = options_.commit_delay_ns;
  config.compact_pass_bytes = options_.compact_pass_bytes;
  config.sabotage = options_.sabotage;
  config.on_no_space = options_.on_no_space;
  auto device = engine::Device::open(*ring_, std::move(config));
  if (!device) {
    complain("open device: " + device.error().message());
    return false;
  }
  device_ = std::move(*device);
  return true;
}

void Session::note(OracleEvent event) {
  live_.forget_before(std::min(oldest_read(), event.time));
  live_.apply(event);
  events_.push_back(event);
}

std::uint64_t Session::oldest_read() const {
  std::uint64_t oldest = ~std::uint64_t{0};
  for (const auto& tag : tags_) {
    if (tag->busy && tag->step.op == engine::Request::Op::Read) oldest = std::min(oldest, tag->begin);
  }
  return oldest;
}

engine::Request Session::request_of(Tag& tag) const {
  engine::Request request;
  request.op = tag.step.op;
  request.fua = tag.step.fua;
  request.unmap = tag.step.unmap;
  request.offset = tag.step.first * kSectorSize;
  request.length = tag.step.count * kSectorSize;
  const bool data = tag.step.op == engine::Request::Op::Read || tag.step.op == engine::Request::Op::Write;
  request.data = data ? tag.buffer.data() : nullptr;
  return request;
}

engine::Request Session::begin(Tag& tag) {
  using Op = engine::Request::Op;
  const Step& step = tag.step;
  tag.busy = true;
  tag.id = next_id_++;
  tag.begin = clock_.tick();
  tag.generation = step.op == Op::Write ? next_generation_++ : kZeros;
  if (step.op == Op::Read) std::memset(tag.buffer.data(), 0xC5, step.count * 512);
  if (step.op == Op::Write) {
    for (std::uint64_t s = 0; s < step.count; ++s)
      stamp(tag.buffer.data() + s * 512, step.first + s, tag.generation);
  }
  OracleEvent event;
  event.time = tag.begin;
  event.id = tag.id;
  event.first_sector = step.first;
  event.sectors = step.count;
  event.generation = tag.generation;
  event.kind = step.op == Op::Flush ? OracleEvent::Kind::BeginFlush : OracleEvent::Kind::BeginWrite;
  if (step.op != Op::Read) note(event);
  return request_of(tag);
}

void Session::end(Tag& tag, int result) {
  using Op = engine::Request::Op;
  const Step& step = tag.step;
  const std::uint64_t time = clock_.tick();
  ++requests_;
  if (result != 0) ++failed_requests_;
  transcript_.push_back(
      fmt::format("  [{}..{}] gen {} {} = {}", tag.begin, time, tag.generation, step.text(), result));
  if (result > 0 || (result < 0 && std::find(allowed_errors_.begin(), allowed_errors_.end(), result) ==
                                       allowed_errors_.end())) {
    complain(fmt::format("{} answered {}", step.text(), result));
  }
  OracleEvent event;
  event.time = time;
  event.id = tag.id;
  event.ok = result == 0;
  event.fua = step.fua;
  event.kind = step.op == Op::Flush ? OracleEvent::Kind::EndFlush : OracleEvent::Kind::EndWrite;
  if (step.op == Op::Read) {
    if (result == 0) check_read(tag);
  } else {
    note(event);
  }
  tag.busy = false;
}

void Session::end_compact(const Step& step, const engine::CompactResult& done) {
  moved_ += done.moved;
  cut_ += done.cut;
  transcript_.push_back(fmt::format("  [..{}] {} = {}, moved {} cut {}", clock_.tick(), step.text(),
                                    done.result, done.moved, done.cut));
  // A compaction does not wait for space: it gives some back.
  if (done.result == 0 || done.result == -EBUSY || done.result == -ENOSPC) return;
  if (done.result == -EOPNOTSUPP && disk_.shape.raw_top()) return;
  if (std::ranges::count(allowed_errors_, done.result) == 0)
    complain(fmt::format("{} answered {}", step.text(), done.result));
}

void Session::check_read(Tag& tag) {
  for (std::uint64_t s = 0; s < tag.step.count; ++s) {
    const std::uint64_t sector = tag.step.first + s;
    const std::byte* const bytes = tag.buffer.data() + s * 512;
    const Generation generation = read_stamp(bytes, sector);
    if (live_.legal_since(sector, generation, tag.begin)) continue;
    complain(fmt::format("read {}+{} begun at {}: sector {} is {}, legal: {}", tag.step.first, tag.step.count,
                         tag.begin, sector, describe_sector(bytes), live_.legal_text(sector)));
    return;
  }
}

/// The request as a transport with zero copy asks it first: the data is in a buffer that only the ring knows.
/// Every other tag is one.
engine::Request Session::zero_copied(unsigned number, engine::Request request) {
  const bool moves_data = request.op == engine::Request::Op::Read || request.op == engine::Request::Op::Write;
  if (number % 2 == 0 || !moves_data) return request;
  const auto buffer = static_cast<int>(number);
  ring_->set_buffer(buffer, {request.data, request.length});
  request.buffer = buffer;
  request.data = nullptr;
  return request;
}

Session::Actor Session::serve(Session& self, unsigned number, const StepSource& source) {
  Tag& tag = *self.tags_[number];
  while (source(number, &tag.step)) {
    if (tag.step.pause_ns != 0) co_await io::TimeoutAwaiter(*self.ring_, tag.step.pause_ns);
    if (tag.step.compact) {
      const engine::CompactResult done = co_await self.device_->compact(tag.step.count);
      self.end_compact(tag.step, done);
      continue;
    }
    const engine::Request request = self.begin(tag);
    int result = co_await self.device_->execute(self.zero_copied(number, request));
    if (result == engine::kNeedsMemory) result = co_await self.device_->execute(request);
    self.end(tag, result);
  }
  tag.active = false;
}

Session::Actor Session::serve_again(Session& self, unsigned number) {
  Tag& tag = *self.tags_[number];
  const engine::Request request = self.request_of(tag);
  int result = co_await self.device_->execute(self.zero_copied(number, request));
  if (result == engine::kNeedsMemory) result = co_await self.device_->execute(request);
  self.end(tag, result);
  tag.active = false;
}

bool Session::wait_for_tags() {
  const auto all_done = [&] {
    return std::none_of(tags_.begin(), tags_.end(), [](const auto& tag) { return tag->active; });
  };
  if (ring_->run_until(all_done)) return true;
  if (!ring_->stopped()) {
    std::string text = "a request hangs:";
    for (const auto& tag : tags_) {
      if (tag->active) text += " " + tag->step.text() + ";";
    }
    complain(text);
  }
  return ring_->stopped();
}

bool Session::run(unsigned tags, const StepSource& source) {
  destroy_actors();
  tags_.clear();
  for (unsigned t = 0; t < tags; ++t) {
    tags_.push_back(std::make_unique<Tag>());
    tags_.back()->buffer = AlignedBuffer(kMaxClustersPerRequest * disk_.shape.cluster_bytes());
    tags_.back()->active = true;
  }
  for (unsigned t = 0; t < tags; ++t)
    tags_[t]->coroutine = serve(*this, t, source).handle;
  const bool fine = wait_for_tags();
  if (ring_->unstable_writes() > 0) complain("a write buffer was changed while the write was in flight");
  return fine && violation_.empty();
}

void Session::kill() {
  std::mt19937_64 rng(options_.seed + 77);
  for (std::size_t i = 0; i < clock_.log().size(); ++i) {
    if (clock_.log()[i].completed != io::Recorded::kNever) continue;
    // -EINVAL: never reached the kernel, so no later power cut finds it on disk either.
    if (rng() % 2 == 0) {
      top_->finish(i);
    } else {
      top_->finish_failed(i, EINVAL, 0);
    }
  }
  device_.reset();  // after the operations: it owns the files that clones come from
  destroy_actors();
  adopt_ = true;
}

bool Session::reissue() {
  for (unsigned t = 0; t < tags_.size(); ++t) {
    Tag& tag = *tags_[t];
    tag.active = tag.busy;
    if (tag.active) tag.coroutine = serve_again(*this, t).handle;
  }
  return wait_for_tags() && violation_.empty();
}

bool Session::read_back() {
  std::uint64_t next = 0;
  const std::uint64_t total = disk_.shape.sectors();
  const std::uint64_t part = disk_.shape.cluster_sectors * std::uint64_t{kMaxClustersPerRequest} - 5;
  return run(1, [&](unsigned, Step* step) {
    if (next >= total) return false;
    *step = Step{};
    step->first = next;
    step->count = std::min(part, total - next);
    next += step->count;
    return true;
  });
}

bool Session::close() {
  OracleEvent event;
  event.kind = OracleEvent::Kind::BeginFlush;
  event.id = next_id_++;
  event.time = clock_.tick();
  note(event);
  const Status status = device_->close();
  event.kind = OracleEvent::Kind::EndFlush;
  event.time = clock_.tick();
  event.ok = status.has_value();
  note(event);
  transcript_.push_back(
      fmt::format("  [..{}] close = {}", event.time, status ? "ok" : status.error().message()));
  return status.has_value();
}

Content Session::content() {
  std::vector<std::byte> bytes(static_cast<std::size_t>(top_->size()));
  top_->content().read(bytes, 0);
  Content copy;
  copy.write(bytes, 0);
  copy.set_size(bytes.size());
  return copy;
}

std::string Session::transcript() const {
  std::string text;
  for (const std::string& line : transcript_)
    text += line + '\n';
  return text;
}

}  // namespace ploop::crash
