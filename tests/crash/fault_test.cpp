// Every I/O of a run fails, one at a time: once or from then on, with EIO or ENOSPC, writes also half done.
// Whoever asked gets an error, nobody is told that something is durable which is not, and the image stays one
// that opens and can be used.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cerrno>
#include <vector>

#include "harness.hpp"
#include "power_cut.hpp"
#include "verify.hpp"
#include "workload.hpp"

namespace ploop::crash {
namespace {

constexpr unsigned kRequests = 25;
constexpr unsigned kTags = 3;

/// Large tables are for other suites: here every life is repeated for each of its calls.
Shape small_shape(std::uint64_t seed) {
  Shape shape = random_shape(seed);
  shape.clusters = std::min(shape.clusters, 32U);
  return shape;
}

WorkloadOptions workload_of(std::uint64_t seed) {
  WorkloadOptions workload;
  workload.seed = seed;
  workload.requests = kRequests;
  workload.flush_percent = 15;
  return workload;
}

/// I/O calls of the life without any fault, after opening.
std::uint64_t calls_of(const Disk& disk, std::uint64_t seed) {
  io::FaultPlan plan;
  SessionOptions options = random_session(seed);
  options.faults = &plan;
  Session session(disk, options);
  if (!session.open()) return 0;
  const std::uint64_t before = plan.calls();
  if (!session.run(kTags, random_steps(disk.shape, workload_of(seed))) || !session.close()) return 0;
  return plan.calls() - before;
}

/// When the first recorded operation failed; 0: none did.
std::uint64_t first_failure(const Session& session) {
  std::uint64_t time = 0;
  for (const io::Recorded& entry : session.log()) {
    if (entry.result >= 0 || entry.result == -EOPNOTSUPP || entry.completed == io::Recorded::kNever) continue;
    if (time == 0 || entry.completed < time) time = entry.completed;
  }
  return time;
}

/// P14: a flush that began after a barrier failed may not succeed.
bool lies_after_failed_barrier(const Session& session) {
  std::uint64_t failed = ~std::uint64_t{0};
  for (const io::Recorded& entry : session.log()) {
    if (entry.kind == io::OpKind::Sync && entry.result < 0) failed = std::min(failed, entry.completed);
  }
  std::vector<std::uint64_t> begun;
  for (const OracleEvent& event : session.events()) {
    if (event.id >= begun.size()) begun.resize(event.id + 1);
    if (event.kind == OracleEvent::Kind::BeginFlush) begun[event.id] = event.time;
    if (event.kind == OracleEvent::Kind::EndFlush && event.ok && begun[event.id] > failed) return true;
  }
  return false;
}

std::string faulty_life(const Disk& disk, std::uint64_t seed, const io::Fault& fault) {
  io::FaultPlan plan;
  SessionOptions options = random_session(seed);
  options.faults = &plan;
  Session session(disk, options);
  session.expect_errors({-EIO, -ENOSPC});
  const auto complain = [&](const std::string& text) {
    return fmt::format("{}\n  fault at call {} x{} errno {} {}\n  disk: {}\n{}", text, fault.first,
                       fault.times, fault.error, fault.half_done ? "half done" : "", disk.shape.text(),
                       session.transcript());
  };
  if (!session.open()) return session.violation();
  plan.add(fault);
  if (!session.run(kTags, random_steps(disk.shape, workload_of(seed)))) return complain(session.violation());
  if (fault.times != io::Fault::kForEver) {
    plan.clear();
    // The fault is over. Unless the device gave up, everything works again, and what could not be written was
    // said to be so.
    if (!session.read_back()) return complain("afterwards: " + session.violation());
    const std::uint64_t failed_before = session.failed_requests();
    WorkloadOptions more = workload_of(seed + 1);
    more.requests = 6;
    if (!session.run(1, random_steps(disk.shape, more)))
      return complain("afterwards: " + session.violation());
    if (!session.device().failed() && session.failed_requests() != failed_before)
      return complain("errors without a fault");
  }
  const bool closed = session.close();
  if (closed && session.device().failed()) return complain("a failed device closed cleanly");
  if (lies_after_failed_barrier(session)) return complain("a flush succeeded after a barrier had failed");
  count("fault_points", 1);
  count("faults_injected", plan.injected());
  const std::uint64_t failure = first_failure(session);
  if (failure == 0) return "";
  PowerCutLimits limits;
  limits.from = failure;
  limits.enumeration.all_subsets_up_to = 3;
  limits.enumeration.per_event = 3;
  limits.enumeration.per_data_event = 1;
  limits.moments_percent = 15;
  limits.use_every = 32;
  const PowerCutResult result = power_cut(disk, session, limits, seed);
  count("states", result.distinct);
  return result.violation.empty() ? "" : complain(result.violation);
}

TEST(Faults, EveryCallFailsOnceAndForGood) {
  const std::string violation = run_seeds(scaled(28), [](std::uint64_t seed) -> std::string {
    const auto disk = make_disk(small_shape(seed), seed);
    if (!disk) return disk.error().message();
    const std::uint64_t calls = calls_of(*disk, seed);
    if (calls == 0) return "the run without faults failed";
    for (std::uint64_t call = 0; call < calls; ++call) {
      for (const int error : {EIO, ENOSPC}) {
        for (const std::uint64_t times : {std::uint64_t{1}, io::Fault::kForEver}) {
          io::Fault fault;
          fault.first = call;
          fault.times = times;
          fault.error = error;
          fault.half_done = (call + static_cast<std::uint64_t>(error)) % 2 == 0;
          std::string wrong = faulty_life(*disk, seed, fault);
          if (!wrong.empty()) return wrong;
        }
      }
    }
    return "";
  });
  EXPECT_TRUE(violation.empty()) << violation;
  EXPECT_GT(counted("fault_points"), 0U);
}

/// With OnNoSpace::Pause a full file system is waited out: nobody sees an error.
TEST(Faults, FullDiskIsWaitedOut) {
  const std::string violation = run_seeds(scaled(40), [](std::uint64_t seed) -> std::string {
    const auto disk = make_disk(small_shape(seed), seed);
    if (!disk) return disk.error().message();
    const std::uint64_t calls = calls_of(*disk, seed);
    for (const io::OpKind kind :
         {io::OpKind::Write, io::OpKind::Allocate, io::OpKind::Truncate, io::OpKind::Clone}) {
      for (std::uint64_t call = 0; call < calls; call += 3) {
        io::FaultPlan plan;
        SessionOptions options = random_session(seed);
        options.faults = &plan;
        options.on_no_space = engine::OnNoSpace::Pause;
        Session session(*disk, options);
        if (!session.open()) return session.violation();
        plan.add({.kind = kind, .first = call, .times = 1 + call % 4, .error = ENOSPC});
        const bool fine =
            session.run(kTags, random_steps(disk->shape, workload_of(seed))) && session.read_back();
        if (!fine) return session.violation() + "\n" + session.transcript();
        const bool waited = plan.injected() > 0;
        plan.clear();
        if (!session.close()) return "close failed";
        if (!waited) break;
        count("space_waits", 1);
      }
    }
    return "";
  });
  EXPECT_TRUE(violation.empty()) << violation;
  EXPECT_GT(counted("space_waits"), 0U);
}

/// A host file system with little room: what fits is written, the rest is refused, nothing is damaged.
TEST(Faults, SmallHostFileSystem) {
  const std::string violation = run_seeds(scaled(150), [](std::uint64_t seed) -> std::string {
    const auto disk = make_disk(small_shape(seed), seed);
    if (!disk) return disk.error().message();
    SessionOptions options = random_session(seed);
    options.capacity = disk->top.size() + (1 + seed % 6) * disk->shape.cluster_bytes();
    Session session(*disk, options);
    session.expect_errors({-ENOSPC});
    if (!session.open()) return session.violation();
    WorkloadOptions workload = workload_of(seed);
    workload.requests = 60;
    const bool fine = session.run(kTags, random_steps(disk->shape, workload)) && session.read_back();
    if (!fine) return session.violation() + "\n" + session.transcript();
    count("small_disk_refusals", session.failed_requests());
    // Reused holes and files without reservation may leave too little room for the last commit; then the mark
    // stays.
    count("small_disk_refused_closes", session.close() ? 0 : 1);
    PowerCutLimits limits;
    limits.moments_percent = 10;
    const PowerCutResult result = power_cut(*disk, session, limits, seed);
    count("states", result.distinct);
    return result.violation;
  });
  EXPECT_TRUE(violation.empty()) << violation;
  EXPECT_GT(counted("small_disk_refusals"), 0U);
}

}  // namespace
}  // namespace ploop::crash
