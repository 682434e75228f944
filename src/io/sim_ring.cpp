// Seeded completion order, virtual time, injected failures.
#include "io/sim_ring.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string_view>

#include "base/units.hpp"

namespace ploop::io {

namespace {

/// What a read buffer holds until the read has finished.
constexpr int kUnreadPattern = 0xC3;

std::uint64_t checksum(const Op& op) {
  return std::hash<std::string_view>{}(std::string_view(reinterpret_cast<const char*>(op.data), op.length));
}

bool has_data(OpKind kind) {
  return kind == OpKind::Read || kind == OpKind::Write;
}

}  // namespace

SimRing::SimRing(const SimRingOptions& options) : options_(options), rng_(options.seed) {}

SimRing::Flight SimRing::start(const Op& op, Completion* done) {
  Flight flight{op, done, nullptr, 0, 0};
  if (op.kind == OpKind::Read) std::memset(op.data, kUnreadPattern, op.length);
  if (op.kind == OpKind::Write) flight.checksum = checksum(op);
  if (op.kind != OpKind::Read) {
    flight.staged = dynamic_cast<StagedFile*>(op.file);
    if (flight.staged != nullptr) flight.token = flight.staged->begin(op);
  }
  return flight;
}

bool SimRing::submit(const Op& asked, Completion* done) {
  ++submitted_;
  Op op = asked;
  if (op.buffer != kNoBuffer) {
    const std::span<std::byte> memory = buffers_[op.buffer];
    if (!has_data(op.kind) || memory.size() < op.length) {
      done->result = -EFAULT;
      return true;
    }
    op.data = memory.data();
  }
  const bool misaligned = options_.alignment > 1 && has_data(op.kind) &&
                          (op.offset % options_.alignment != 0 || op.length % options_.alignment != 0 ||
                           reinterpret_cast<std::uintptr_t>(op.data) % options_.alignment != 0);
  if (op.file == nullptr || misaligned) {
    done->result = -EINVAL;
    return true;
  }
  Flight flight = start(op, done);
  if (stop_after_ == kNever && options_.immediate_percent > random(100)) {
    ++finished_;
    done->result = take_effect(flight);
    return true;
  }
  flights_.push_back(flight);
  return false;
}

void SimRing::submit_timeout(std::uint64_t nanoseconds, Completion* done) {
  timeouts_.push_back({now_ + nanoseconds, done});
}

void SimRing::cancel_timeout(Completion* done) {
  std::erase_if(timeouts_, [done](const Timeout& timeout) { return timeout.done == done; });
}

bool SimRing::run_posted() {
  if (posted_.empty()) return false;
  std::vector<Completion*> batch;
  batch.swap(posted_);  // what these post in turn waits for the next call
  for (Completion* done : batch)
    done->finished(done);
  return true;
}

bool SimRing::run_timeout() {
  if (timeouts_.empty()) return false;
  const auto first = std::min_element(timeouts_.begin(), timeouts_.end(),
                                      [](const Timeout& a, const Timeout& b) { return a.due < b.due; });
  // A device may be slower than any timeout: sometimes time passes although operations are in flight.
  if (first->due > now_ && !flights_.empty() && random(64) != 0) return false;
  now_ = std::max(now_, first->due);
  Completion* const done = first->done;
  timeouts_.erase(first);
  done->result = 0;
  done->finished(done);
  return true;
}

bool SimRing::run_once(bool /*wait*/) {
  if (stopped()) return false;
  if (run_posted() || run_timeout()) return true;
  if (flights_.empty()) return false;
  const std::size_t index = options_.in_order_percent > random(100) ? 0 : random(flights_.size());
  Flight flight = flights_[index];
  flights_.erase(flights_.begin() + static_cast<std::ptrdiff_t>(index));
  now_ += 1000 + random(100000);
  ++finished_;
  flight.done->result = take_effect(flight);
  flight.done->finished(flight.done);
  return true;
}

int SimRing::take_effect(Flight& flight) {
  if (flight.op.kind == OpKind::Write && checksum(flight.op) != flight.checksum) ++unstable_writes_;
  if (options_.faults != nullptr) {
    const auto verdict = options_.faults->next(flight.op.kind);
    if (verdict.error != 0) return fail(flight, verdict);
  }
  const int result = flight.staged != nullptr ? flight.staged->finish(flight.token) : run_in_place(flight.op);
  if (result >= 0) ++succeeded_[static_cast<std::size_t>(flight.op.kind)];
  return result;
}

int SimRing::fail(Flight& flight, const FaultPlan::Verdict& verdict) {
  const Op& op = flight.op;
  const std::uint64_t live =
      op.kind == OpKind::Write && verdict.half_done ? round_down(op.length / 2, kSectorSize) : 0;
  if (flight.staged != nullptr) return flight.staged->finish_failed(flight.token, verdict.error, live);
  if (live != 0) {
    const std::int64_t written = op.file->write({op.data, static_cast<std::size_t>(live)}, op.offset);
    if (written < 0) return static_cast<int>(written);
  }
  return -verdict.error;
}

}  // namespace ploop::io
