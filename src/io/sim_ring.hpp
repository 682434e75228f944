// The ring of the simulators: operations finish in a seeded random order, time is virtual, and everything
// stops at a chosen event. The same seed gives the same run.
//
// An operation takes effect when it finishes, not before: a read sees what the file holds at that moment, a
// write is invisible until then. Read buffers are filled with a pattern at submission, so that bytes which
// were never delivered are noticed; a write buffer that changes while the write is in flight is counted.
#pragma once

#include <cstdint>
#include <map>
#include <random>
#include <span>
#include <vector>

#include "io/fault_file.hpp"
#include "io/ring.hpp"

namespace ploop::io {

/// A file that wants to know when an operation began, not only when it took effect (RecordingFile). SimRing
/// calls begin() at submission and finish() at completion instead of the plain calls; reads are not staged.
class StagedFile : public BlockFile {
 public:
  /// The token of a started operation. The data of a write is copied here.
  virtual std::uint64_t begin(const Op& op) = 0;
  /// Takes effect now and gives the result.
  virtual int finish(std::uint64_t token) = 0;
  /// Ends with -error. What reaches the disk of a failed operation is open; `live_bytes` of a write become
  /// visible.
  virtual int finish_failed(std::uint64_t token, int error, std::uint64_t live_bytes) = 0;
};

struct SimRingOptions {
  std::uint64_t seed = 1;
  unsigned immediate_percent = 0;  ///< operations that finish inside submit()
  unsigned in_order_percent = 0;   ///< completions that take the oldest operation instead of any
  std::uint64_t alignment =
      512;  ///< of offset, length and memory of reads and writes, as O_DIRECT wants; else -EINVAL
  FaultPlan* faults = nullptr;  ///< outlives the ring
};

class SimRing final : public Ring {
 public:
  static constexpr std::uint64_t kNever = ~std::uint64_t{0};

  explicit SimRing(const SimRingOptions& options);
  SimRing() : SimRing(SimRingOptions{}) {}

  bool submit(const Op& op, Completion* done) override;
  void submit_timeout(std::uint64_t nanoseconds, Completion* done) override;
  void cancel_timeout(Completion* done) override;
  void post(Completion* done) override { posted_.push_back(done); }
  /// Everything posted, or one timeout, or one operation per call; false when there is none or the ring has
  /// stopped.
  bool run_once(bool wait) override;

  /// What a registered buffer holds, for operations that name it; an empty one is not registered. The memory
  /// outlives them.
  void set_buffer(int index, std::span<std::byte> memory) { buffers_[index] = memory; }

  /// Nothing finishes any more once that many operations have (kNever: no limit). What is in flight then
  /// stays in flight.
  void stop_after(std::uint64_t operations) { stop_after_ = operations; }
  [[nodiscard]] bool stopped() const { return finished_ >= stop_after_; }
  /// run_once() until nothing is in flight, the ring stopped, or `done()` is true. False when `done()` never
  /// became true.
  template <typename Done>
  bool run_until(Done done) {
    while (!done()) {
      if (!run_once(true)) return done();
    }
    return true;
  }
  void run_all() {
    while (run_once(true)) {
    }
  }

  [[nodiscard]] std::uint64_t now() const { return now_; }              ///< virtual nanoseconds
  [[nodiscard]] std::uint64_t finished() const { return finished_; }    ///< operations that finished
  [[nodiscard]] std::uint64_t submitted() const { return submitted_; }  ///< operations, by submit()
  [[nodiscard]] std::size_t in_flight() const { return flights_.size(); }
  /// Write buffers that were changed between submission and completion.
  [[nodiscard]] std::uint64_t unstable_writes() const { return unstable_writes_; }
  /// Operations of one kind that finished without an error.
  [[nodiscard]] std::uint64_t succeeded(OpKind kind) const {
    return succeeded_[static_cast<std::size_t>(kind)];
  }

 private:
  struct Flight {
    Op op;
    Completion* done = nullptr;
    StagedFile* staged = nullptr;
    std::uint64_t token = 0;
    std::uint64_t checksum = 0;  ///< of a write's data
  };
  struct Timeout {
    std::uint64_t due = 0;
    Completion* done = nullptr;
  };

  Flight start(const Op& op, Completion* done);
  int take_effect(Flight& flight);
  int fail(Flight& flight, const FaultPlan::Verdict& verdict);
  bool run_posted();
  bool run_timeout();
  std::uint64_t random(std::uint64_t bound) { return rng_() % bound; }

  SimRingOptions options_;
  std::mt19937_64 rng_;
  std::vector<Flight> flights_;  ///< oldest first
  std::vector<Timeout> timeouts_;
  std::vector<Completion*> posted_;
  std::map<int, std::span<std::byte>> buffers_;
  std::uint64_t now_ = 0;
  std::uint64_t finished_ = 0;
  std::uint64_t submitted_ = 0;
  std::uint64_t stop_after_ = kNever;
  std::uint64_t unstable_writes_ = 0;
  std::uint64_t succeeded_[7] = {};
};

}  // namespace ploop::io
