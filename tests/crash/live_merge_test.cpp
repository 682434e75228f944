// Power cuts during a live merge: two files change, and at every moment the stack of both, read in the
// ordinary way, has to give what was flushed. And proof that this can fail.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <unordered_map>

#include "base/aligned_buffer.hpp"
#include "crash_states.hpp"
#include "engine/device.hpp"
#include "handle.hpp"
#include "harness.hpp"
#include "image/stack.hpp"
#include "io/sim_ring.hpp"
#include "oracle.hpp"
#include "verify.hpp"
#include "workload.hpp"

namespace ploop::crash {
namespace {

Shape merge_shape(std::uint64_t seed) {
  std::mt19937_64 rng(seed * 11 + 3);
  Shape shape;
  shape.version = rng() % 2 == 0 ? format::Version::V1 : format::Version::V2;
  shape.clusters =
      rng() % 8 == 0 ? 1100
                     : 6 + static_cast<std::uint32_t>(rng() % 20);  // with a table of several pages at times
  shape.levels = 2 + static_cast<std::uint32_t>(rng() % 3);
  shape.can_clone = rng() % 2 == 0;
  shape.top_percent = shape.clusters > 100 ? 2 : 30 + static_cast<std::uint32_t>(rng() % 70);
  shape.lower_percent = shape.clusters > 100 ? 2 : 30;
  return shape;
}

std::unique_ptr<io::MemoryFile> file_of(const Content& content, bool can_clone, const char* name) {
  io::MemoryFileOptions options;
  options.can_clone = can_clone;
  auto file = std::make_unique<io::MemoryFile>(name, options);
  std::vector<std::byte> bytes(content.size());
  content.read(bytes, 0);
  file->write(bytes, 0);
  return file;
}

/// A coroutine of the test.
struct Actor {
  struct promise_type {
    Actor get_return_object() { return {}; }
    std::suspend_never initial_suspend() noexcept { return {}; }
    std::suspend_never final_suspend() noexcept { return {}; }
    void return_void() {}
    [[noreturn]] void unhandled_exception() { std::abort(); }
  };
};

/// One life: a device in the state right after the beginning of a live merge, tags that write, the drain, the
/// end of the merge, a few more requests, close.
class MergeLife {
 public:
  MergeLife(const Disk& disk, std::uint64_t seed, engine::Sabotage sabotage)
      : disk_(disk), seed_(seed), ring_(ring_options(seed)), next_generation_(disk.next_generation) {
    into_ =
        std::make_unique<io::RecordingFile>(clock_, file_of(disk.lower.back(), disk.shape.can_clone, "into"));
    overlay_ =
        std::make_unique<io::RecordingFile>(clock_, file_of(disk.top, disk.shape.can_clone, "overlay"));
    clock_.tick();
    open(sabotage);
  }

  void run() {
    if (!violation.empty()) return;
    WorkloadOptions workload;
    workload.seed = seed_;
    workload.requests = 50;
    workload.flush_percent = 15;
    workload.compact_percent = 0;  // one maintenance operation at a time
    const StepSource source = random_steps(disk_.shape, workload);
    unsigned left = kTags + 1;
    for (unsigned t = 0; t < kTags; ++t)
      serve(*this, t, source, &left);
    merge(*this, &left);
    if (!ring_.run_until([&] { return left == 0; })) violation = "something hangs";
    if (!violation.empty()) return;
    OracleEvent event;
    event.kind = OracleEvent::Kind::BeginFlush;
    event.id = next_id_++;
    event.time = clock_.tick();
    events.push_back(event);
    const Status closed = device_->close();
    event.kind = OracleEvent::Kind::EndFlush;
    event.time = clock_.tick();
    event.ok = closed.has_value();
    events.push_back(event);
    if (!closed) violation = closed.error().message();
    device_.reset();
  }

  std::vector<OracleEvent> events;
  std::string violation;
  std::uint64_t merged_at = ~std::uint64_t{0};  ///< from then on the overlay is not part of the chain

  [[nodiscard]] const std::vector<io::Recorded>& log() const { return clock_.log(); }
  [[nodiscard]] std::uint64_t now() const { return clock_.now(); }
  [[nodiscard]] std::uint32_t into_number() const { return into_->number(); }

 private:
  static constexpr unsigned kTags = 3;

  static io::SimRingOptions ring_options(std::uint64_t seed) {
    io::SimRingOptions options;
    options.seed = seed;
    options.immediate_percent = seed % 4 == 0 ? 50 : 0;
    options.in_order_percent = static_cast<unsigned>(seed % 3) * 40;
    return options;
  }

  void open(engine::Sabotage sabotage) {
    engine::DeviceConfig config;
    for (std::size_t level = 0; level + 1 < disk_.lower.size(); ++level)
      add(config, std::make_unique<ContentFile>(disk_.lower[level], disk_.shape.can_clone), false);
    add(config, std::make_unique<Handle>(*into_), true);
    add(config, std::make_unique<Handle>(*overlay_), true);
    if (!violation.empty()) return;
    const std::uint64_t bytes = engine::Device::map_bytes(config.deltas);
    memory_.assign((bytes + 7) / 8, 0);
    config.map_memory = std::as_writable_bytes(std::span(memory_)).first(bytes);
    config.overlay = true;
    config.sabotage = sabotage;
    config.on_no_space = engine::OnNoSpace::Fail;
    auto device = engine::Device::open(ring_, std::move(config));
    if (!device) {
      violation = device.error().message();
      return;
    }
    device_ = *std::move(device);
  }

  void add(engine::DeviceConfig& config, std::unique_ptr<io::BlockFile> file, bool writable) {
    auto delta = image::Delta::open(std::move(file), image::Kind::Ploop1,
                                    {.allow_in_use = true, .writable = writable});
    if (delta) {
      config.deltas.push_back(*std::move(delta));
    } else {
      violation = delta.error().message();
    }
  }

  static Actor serve(MergeLife& self, unsigned tag, const StepSource& source, unsigned* left) {
    using Op = engine::Request::Op;
    Step step;
    AlignedBuffer buffer(4 * self.disk_.shape.cluster_bytes());
    while (source(tag, &step)) {
      if (step.pause_ns != 0) co_await io::TimeoutAwaiter(self.ring_, step.pause_ns);
      OracleEvent event;
      event.kind = step.op == Op::Flush ? OracleEvent::Kind::BeginFlush : OracleEvent::Kind::BeginWrite;
      event.id = self.next_id_++;
      event.first_sector = step.first;
      event.sectors = step.count;
      event.generation = step.op == Op::Write ? self.next_generation_++ : kZeros;
      event.time = self.clock_.tick();
      if (step.op == Op::Write) {
        for (std::uint64_t s = 0; s < step.count; ++s)
          stamp(buffer.data() + s * 512, step.first + s, event.generation);
      }
      if (step.op != Op::Read) self.events.push_back(event);
      const engine::Request request{
          step.op,          step.fua,
          step.unmap,       step.first * 512,
          step.count * 512, step.op == Op::Write || step.op == Op::Read ? buffer.data() : nullptr};
      const int result = co_await self.device_->execute(request);
      if (result != 0) self.violation = fmt::format("{} answered {}", step.text(), result);
      event.kind = step.op == Op::Flush ? OracleEvent::Kind::EndFlush : OracleEvent::Kind::EndWrite;
      event.time = self.clock_.tick();
      event.ok = true;
      event.fua = step.fua;
      if (step.op != Op::Read) self.events.push_back(event);
    }
    --*left;
  }

  static Actor merge(MergeLife& self, unsigned* left) {
    const int drained = co_await self.device_->drain_overlay();
    const int held = co_await self.device_->hold();
    // A saboteur leaves the overlay as it is.
    if (held != 0 || (drained != 0 && drained != -EAGAIN))
      self.violation = fmt::format("drain {} hold {}", drained, held);
    self.merged_at = self.clock_.tick();
    self.device_->drop_overlay();
    self.device_->release();
    --*left;
  }

  const Disk& disk_;
  std::uint64_t seed_;
  io::SimDisk clock_;
  io::SimRing ring_;
  std::unique_ptr<io::RecordingFile> into_;
  std::unique_ptr<io::RecordingFile> overlay_;
  std::vector<std::uint64_t> memory_;
  std::unique_ptr<engine::Device> device_;
  Generation next_generation_;
  std::uint32_t next_id_ = 1;
};

/// Walks through the moments of a life with states of both files.
class MergeJudge {
 public:
  MergeJudge(const Disk& disk, const MergeLife& life, std::uint64_t seed)
      : disk_(disk), life_(life), rng_(seed), oracle_(Oracle::Settles::Flushed, disk.initial) {
    for (const io::Recorded& entry : life.log())
      (entry.file == life.into_number() ? into_log_ : overlay_log_).push_back(entry);
    into_.emplace(disk.lower.back(), into_log_, disk.data_start);
    overlay_.emplace(disk.top, overlay_log_, disk.data_start);
  }

  std::string run() {
    std::vector<std::uint64_t> times;
    for (const io::Recorded& entry : life_.log())
      times.push_back(entry.submitted + 1);
    for (const OracleEvent& event : life_.events)
      times.push_back(event.time + 1);
    times.push_back(life_.merged_at + 1);
    std::sort(times.begin(), times.end());
    std::size_t next = 0;
    for (const std::uint64_t time : times) {
      while (next < life_.events.size() && life_.events[next].time < time)
        oracle_.apply(life_.events[next++]);
      into_->advance(time);
      overlay_->advance(time);
      if (std::string wrong = look(time); !wrong.empty())
        return fmt::format("{}\n  power cut before {}, {}", wrong, time, disk_.shape.text());
    }
    return "";
  }

  std::uint64_t distinct = 0;

 private:
  static std::vector<Content> some_states(const CrashStates& states, std::mt19937_64& rng) {
    std::vector<Content> chosen;
    Enumeration limits;
    limits.per_event = 4;
    limits.random_subsets = 4;
    states.enumerate(CrashStates::kAll, limits, rng, [&](const std::vector<Fate>& fates) {
      if (chosen.size() < 4) chosen.push_back(states.build(fates));
    });
    return chosen;
  }

  std::string look(std::uint64_t time) {
    const std::vector<Content> into = some_states(*into_, rng_);
    const bool merged = time > life_.merged_at;
    const std::vector<Content> overlay = merged ? std::vector<Content>(1) : some_states(*overlay_, rng_);
    for (const Content& a : into) {
      for (const Content& b : overlay) {
        const std::uint64_t key = a.hash() * 31 + (merged ? 0 : b.hash());
        const auto [known, fresh] = judged_.try_emplace(key, oracle_.version());
        if (!fresh && known->second == oracle_.version()) continue;
        known->second = oracle_.version();
        distinct += fresh ? 1 : 0;
        View view;
        std::string wrong = read(a, merged ? nullptr : &b, &view);
        if (wrong.empty()) wrong = compare(oracle_, view);
        if (!wrong.empty()) return wrong;
      }
    }
    return "";
  }

  /// Through image::Stack, as whoever mounts it afterwards does.
  std::string read(const Content& into, const Content* overlay, View* view) const {
    std::vector<image::Delta> deltas;
    std::string wrong;
    const auto add = [&](const Content& content) {
      auto delta = image::Delta::open(std::make_unique<ContentFile>(content), image::Kind::Ploop1,
                                      {.allow_in_use = true});
      if (delta)
        deltas.push_back(*std::move(delta));
      else
        wrong = "open: " + delta.error().message();
    };
    for (std::size_t level = 0; level + 1 < disk_.lower.size(); ++level)
      add(disk_.lower[level]);
    add(into);
    if (overlay != nullptr) add(*overlay);
    if (!wrong.empty()) return wrong;
    const auto stack = image::Stack::make(std::move(deltas));
    if (!stack) return stack.error().message();
    std::vector<std::byte> bytes(disk_.shape.sectors() * 512);
    if (const Status done = stack->read(0, bytes); !done) return done.error().message();
    view->sectors.resize(disk_.shape.sectors());
    for (std::uint64_t s = 0; s < view->sectors.size(); ++s)
      view->sectors[s] = read_stamp(bytes.data() + s * 512, s);
    return "";
  }

  const Disk& disk_;
  const MergeLife& life_;
  std::mt19937_64 rng_;
  Oracle oracle_;
  std::vector<io::Recorded> into_log_;
  std::vector<io::Recorded> overlay_log_;
  std::optional<CrashStates> into_;
  std::optional<CrashStates> overlay_;
  std::unordered_map<std::uint64_t, std::uint64_t> judged_;
};

std::string live(std::uint64_t seed, engine::Sabotage sabotage) {
  const auto disk = make_disk(merge_shape(seed), seed);
  if (!disk) return disk.error().message();
  MergeLife life(*disk, seed, sabotage);
  life.run();
  if (!life.violation.empty()) return life.violation;
  MergeJudge judge(*disk, life, seed);
  std::string wrong = judge.run();
  count("live_merge_states", judge.distinct);
  return wrong;
}

TEST(LiveMerge, EveryPowerCutLeavesWhatWasFlushed) {
  const std::string wrong =
      run_seeds(scaled(60), [](std::uint64_t seed) { return live(seed, engine::Sabotage::None); });
  EXPECT_EQ(wrong, "");
  EXPECT_GE(counted("live_merge_states"), scaled(10000));
  publish_counters("crash_live_merge");
}

class LiveMergeSaboteurs : public testing::TestWithParam<engine::Sabotage> {};

TEST_P(LiveMergeSaboteurs, AreCaught) {
  std::uint64_t caught = 0;
  for (std::uint64_t seed = first_seed(); seed < first_seed() + 40 && caught < 3; ++seed) {
    caught += live(seed, GetParam()).find("power cut") == std::string::npos ? 0 : 1;
  }
  EXPECT_GE(caught, 3u);
}

INSTANTIATE_TEST_SUITE_P(All, LiveMergeSaboteurs,
                         testing::Values(engine::Sabotage::UnmaskNever, engine::Sabotage::UnmaskEarly,
                                         engine::Sabotage::DataBeforePointer,
                                         engine::Sabotage::NoPassengers));

}  // namespace
}  // namespace ploop::crash
