// What all suites here share: how much to do, doing it on every processor, and the published counters.
//
//   PLOOP_CRASH_SEED      first seed (default 1)
//   PLOOP_CRASH_STATES    distinct crash states of the random suite (default: the gate plus some)
//   PLOOP_CRASH_SCALE     factor for every other suite, in percent (default 100; 10 in unoptimised builds)
//   PLOOP_CRASH_JSON      file that gets the counters (default: crash-counters.json in the working directory)
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>

namespace ploop::crash {

std::uint64_t first_seed();
/// The gate: fewer distinct states than this is a failure.
std::uint64_t states_wanted();
/// `amount`, scaled for the build and by the user; at least 1.
std::uint64_t scaled(std::uint64_t amount);

/// Calls job(seed) for seeds from first_seed() on, on every processor, until `count` were done or a job gave
/// a text, which is returned with its seed. `more`, if given, is asked before each job.
std::string run_seeds(std::uint64_t count, const std::function<std::string(std::uint64_t seed)>& job,
                      const std::function<bool()>& more = {});

/// Adds to a published counter; from any thread.
void count(const std::string& name, std::uint64_t amount);
std::uint64_t counted(const std::string& name);
/// One line to stdout, and the JSON file.
void publish_counters(const std::string& suite);

}  // namespace ploop::crash
