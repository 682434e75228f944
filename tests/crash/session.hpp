// One simulated life of a disk: an engine device on a SimRing and a RecordingFile, tags that send requests,
// and a note of everything that was asked and answered. Can be killed at any operation and taken over.
#pragma once

#include <coroutine>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/aligned_buffer.hpp"
#include "engine/device.hpp"
#include "io/recording_file.hpp"
#include "oracle.hpp"
#include "shape.hpp"

namespace ploop::crash {

/// One request of a tag, in sectors.
struct Step {
  engine::Request::Op op = engine::Request::Op::Read;
  std::uint64_t first = 0;
  std::uint64_t count = 0;
  bool fua = false;
  bool unmap = false;
  std::uint64_t pause_ns = 0;  ///< before the request
  bool compact = false;        ///< no request: a compaction, of at most `count` clusters of the file
  [[nodiscard]] std::string text() const;
};

/// Gives the next step of a tag; false: the tag is done.
using StepSource = std::function<bool(unsigned tag, Step* step)>;

struct SessionOptions {
  std::uint64_t seed = 1;
  unsigned immediate_percent = 0;
  unsigned in_order_percent = 0;
  std::uint64_t commit_delay_ns = 1'000'000'000;
  std::uint64_t compact_pass_bytes = 1'073'741'824;
  engine::Sabotage sabotage = engine::Sabotage::None;
  engine::OnNoSpace on_no_space = engine::OnNoSpace::Fail;
  io::FaultPlan* faults = nullptr;  ///< outlives the session; must be clear while open() runs
  bool can_punch = true;
  bool can_allocate = true;
  std::uint64_t capacity = ~std::uint64_t{0};
};

class Session {
 public:
  /// The disk outlives the session.
  Session(const Disk& disk, const SessionOptions& options);
  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  /// Opens the engine device; after kill() it takes the map over. False: violation() says why.
  bool open();
  /// Runs these many tags until all are done, or the ring stopped. False: a request hung.
  bool run(unsigned tags, const StepSource& source);
  /// The ring stopped: the worker dies. Operations in flight happen or not, as the seed wants.
  void kill();
  /// Sends the requests that were in flight at the kill again, and waits for them.
  bool reissue();
  /// Reads the whole device and compares it with what may be read.
  bool read_back();
  /// Clean end. True when the device closed without an error.
  bool close();

  void stop_after(std::uint64_t operations) { ring_->stop_after(ring_->finished() + operations); }
  [[nodiscard]] bool stopped() const { return ring_->stopped(); }
  [[nodiscard]] io::SimRing& ring() { return *ring_; }
  [[nodiscard]] engine::Device& device() { return *device_; }
  [[nodiscard]] io::RecordingFile& top() { return *top_; }
  /// What the top's file holds now.
  [[nodiscard]] Content content();
  [[nodiscard]] const std::vector<io::Recorded>& log() const { return clock_.log(); }
  [[nodiscard]] std::uint64_t now() const { return clock_.now(); }
  [[nodiscard]] const std::vector<OracleEvent>& events() const { return events_; }
  /// What a live device did wrong; empty when nothing.
  [[nodiscard]] const std::string& violation() const { return violation_; }
  /// Every request with its times and result, for reports.
  [[nodiscard]] std::string transcript() const;
  /// Requests answered with an error, and all.
  [[nodiscard]] std::uint64_t failed_requests() const { return failed_requests_; }
  [[nodiscard]] std::uint64_t requests() const { return requests_; }
  /// Clusters that compactions moved, and by which they cut the file.
  [[nodiscard]] std::uint64_t moved() const { return moved_; }
  [[nodiscard]] std::uint64_t cut() const { return cut_; }
  /// Results that were neither 0 nor this are violations.
  void expect_errors(std::vector<int> allowed) { allowed_errors_ = std::move(allowed); }

 private:
  struct Tag {
    AlignedBuffer buffer;
    Step step;
    bool busy = false;
    bool active = false;
    std::uint32_t id = 0;
    Generation generation = kZeros;
    std::uint64_t begin = 0;
    std::coroutine_handle<> coroutine;
  };
  struct Actor {
    struct promise_type {
      Actor get_return_object() { return {std::coroutine_handle<promise_type>::from_promise(*this)}; }
      std::suspend_never initial_suspend() noexcept { return {}; }
      std::suspend_always final_suspend() noexcept { return {}; }
      void return_void() {}
      [[noreturn]] void unhandled_exception() { std::abort(); }
    };
    std::coroutine_handle<> handle;
  };
  static Actor serve(Session& self, unsigned tag, const StepSource& source);
  static Actor serve_again(Session& self, unsigned tag);
  engine::Request begin(Tag& tag);
  engine::Request request_of(Tag& tag) const;
  engine::Request zero_copied(unsigned number, engine::Request request);
  void end(Tag& tag, int result);
  void end_compact(const Step& step, const engine::CompactResult& done);
  void check_read(Tag& tag);
  void note(OracleEvent event);
  void complain(std::string text);
  void destroy_actors();
  bool wait_for_tags();
  [[nodiscard]] std::uint64_t oldest_read() const;

  const Disk& disk_;
  SessionOptions options_;
  io::SimDisk clock_;
  std::unique_ptr<io::RecordingFile> top_;
  std::optional<io::SimRing> ring_;
  std::vector<std::uint64_t> map_memory_;
  bool adopt_ = false;
  std::unique_ptr<engine::Device> device_;
  std::vector<std::unique_ptr<Tag>> tags_;
  std::vector<OracleEvent> events_;
  Oracle live_;
  std::vector<std::string> transcript_;
  std::vector<int> allowed_errors_;
  std::string violation_;
  std::uint32_t next_id_ = 1;
  Generation next_generation_;
  std::uint64_t failed_requests_ = 0;
  std::uint64_t requests_ = 0;
  std::uint64_t moved_ = 0;
  std::uint64_t cut_ = 0;
  std::uint64_t incarnation_ = 0;
};

}  // namespace ploop::crash
