// Walks through the moments of a recorded life.
#include "power_cut.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <unordered_map>
#include <vector>

#include "verify.hpp"

namespace ploop::crash {

namespace {

/// A point of time worth looking at: an operation has just been submitted, or a durable answer has just been
/// given.
struct Moment {
  std::uint64_t time = 0;                     ///< just before this
  std::size_t operation = CrashStates::kAll;  ///< log index of the operation that is new
};

std::vector<Moment> moments_of(const Session& session) {
  std::vector<Moment> moments;
  for (std::size_t i = 0; i < session.log().size(); ++i) {
    const io::Recorded& entry = session.log()[i];
    if (entry.kind != io::OpKind::Sync) moments.push_back({entry.submitted + 1, i});
  }
  for (const OracleEvent& event : session.events()) {
    const bool flush = event.kind == OracleEvent::Kind::EndFlush;
    const bool fua = event.kind == OracleEvent::Kind::EndWrite && event.fua;
    if (event.ok && (flush || fua)) moments.push_back({event.time + 1, CrashStates::kAll});
  }
  moments.push_back({session.now() + 1, CrashStates::kAll});
  std::sort(moments.begin(), moments.end(), [](const Moment& a, const Moment& b) { return a.time < b.time; });
  return moments;
}

class Judge {
 public:
  Judge(const Disk& disk, const Session& session, const PowerCutLimits& limits, std::uint64_t seed)
      : disk_(disk),
        session_(session),
        limits_(limits),
        seed_(seed),
        rng_(seed),
        oracle_(Oracle::Settles::Flushed, disk.initial),
        states_(disk.top, session.log(), disk.data_start) {}

  PowerCutResult run() {
    for (const Moment& moment : moments_of(session_)) {
      if (!result_.violation.empty() || result_.distinct >= limits_.most_states) break;
      while (next_event_ < session_.events().size() && session_.events()[next_event_].time < moment.time) {
        oracle_.apply(session_.events()[next_event_++]);
      }
      states_.advance(moment.time);
      if (moment.time < limits_.from) continue;
      if (moment.time <= session_.now() && rng_() % 100 >= limits_.moments_percent) continue;
      ++result_.moments;
      states_.enumerate(moment.operation, limits_.enumeration, rng_,
                        [&](const std::vector<Fate>& fates) { visit(moment, fates); });
    }
    return result_;
  }

 private:
  void visit(const Moment& moment, const std::vector<Fate>& fates) {
    if (!result_.violation.empty()) return;
    ++result_.states;
    const Content state = states_.build(fates);
    const auto [known, fresh] = judged_.try_emplace(state.hash(), oracle_.version());
    // The set of legal values only grows until one is settled: what was fine stays fine until then.
    if (!fresh && known->second == oracle_.version()) return;
    known->second = oracle_.version();
    std::string wrong = judge(state, fresh);
    if (wrong.empty()) return;
    result_.violation = fmt::format(
        "{}\n  power cut before {} (seed {}), pending:\n{}  operations until then:\n{}  disk: {}\n  "
        "requests:\n{}",
        wrong, moment.time, seed_, states_.describe(fates), states_.recent(24), disk_.shape.text(),
        session_.transcript());
  }

  std::string judge(const Content& state, bool fresh) {
    View view;
    std::string wrong = read_state(disk_, state, false, &view);
    if (wrong.empty()) wrong = compare(oracle_, view);
    if (!fresh || !wrong.empty()) return wrong;
    const std::uint64_t number = result_.distinct++;
    wrong = scan_state(disk_, state, false);
    if (wrong.empty() && number % limits_.use_every == 0) {
      ++result_.second_lives;
      wrong = use_state(disk_, state, view, seed_ + number);
    }
    if (wrong.empty() && limits_.qemu_every != 0 && disk_.lower.empty() && !disk_.shape.raw_base &&
        number % limits_.qemu_every == limits_.qemu_every / 2) {
      ++result_.qemu;
      wrong = qemu_state(disk_, state, view);
    }
    return wrong;
  }

  const Disk& disk_;
  const Session& session_;
  const PowerCutLimits& limits_;
  std::uint64_t seed_;
  std::mt19937_64 rng_;
  Oracle oracle_;
  CrashStates states_;
  std::size_t next_event_ = 0;
  std::unordered_map<std::uint64_t, std::uint64_t>
      judged_;  ///< content hash to the oracle's version at its last judgement
  PowerCutResult result_;
};

}  // namespace

PowerCutResult power_cut(const Disk& disk, const Session& session, const PowerCutLimits& limits,
                         std::uint64_t seed) {
  return Judge(disk, session, limits, seed).run();
}

}  // namespace ploop::crash
