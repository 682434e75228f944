// Threads over seeds, counters, environment.
#include "harness.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <mutex>
#include <thread>
#include <vector>

#include "base/fd.hpp"

namespace ploop::crash {

namespace {

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define PLOOP_CRASH_SLOW
#endif
#endif
#if defined(NDEBUG) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) && \
    !defined(PLOOP_CRASH_SLOW)
constexpr std::uint64_t kDefaultStates = 60'000;
constexpr std::uint64_t kDefaultScale = 100;
#else
constexpr std::uint64_t kDefaultStates = 4'000;
constexpr std::uint64_t kDefaultScale = 10;
#endif

std::uint64_t number_from(const char* name, std::uint64_t otherwise) {
  const char* const text = std::getenv(name);
  return text == nullptr || *text == '\0' ? otherwise : std::strtoull(text, nullptr, 0);
}

std::mutex counters_mutex;
std::map<std::string, std::uint64_t>& counters() {
  static std::map<std::string, std::uint64_t> all;
  return all;
}

}  // namespace

std::uint64_t first_seed() {
  return number_from("PLOOP_CRASH_SEED", 1);
}
std::uint64_t states_wanted() {
  return number_from("PLOOP_CRASH_STATES", kDefaultStates);
}
std::uint64_t scaled(std::uint64_t amount) {
  return std::max<std::uint64_t>(1, amount * number_from("PLOOP_CRASH_SCALE", kDefaultScale) / 100);
}

std::string run_seeds(std::uint64_t count, const std::function<std::string(std::uint64_t seed)>& job,
                      const std::function<bool()>& more) {
  std::atomic<std::uint64_t> next{0};
  std::atomic<bool> stop{false};
  std::mutex mutex;
  std::uint64_t failed_seed = 0;
  std::string failure;
  const auto work = [&] {
    while (!stop && (!more || more())) {
      const std::uint64_t n = next++;
      if (n >= count) return;
      const std::uint64_t seed = first_seed() + n;
      std::string text = job(seed);
      if (text.empty()) continue;
      stop = true;
      const std::scoped_lock lock(mutex);
      if (!failure.empty() && failed_seed < seed) continue;
      failed_seed = seed;
      failure = fmt::format("seed {} (PLOOP_CRASH_SEED={} repeats it): {}", seed, seed, text);
    }
  };
  std::vector<std::thread> threads;
  for (unsigned t = 1; t < std::max(1U, std::thread::hardware_concurrency()); ++t)
    threads.emplace_back(work);
  work();
  for (std::thread& thread : threads)
    thread.join();
  return failure;
}

void count(const std::string& name, std::uint64_t amount) {
  const std::scoped_lock lock(counters_mutex);
  counters()[name] += amount;
}

std::uint64_t counted(const std::string& name) {
  const std::scoped_lock lock(counters_mutex);
  return counters()[name];
}

void publish_counters(const std::string& suite) {
  const std::scoped_lock lock(counters_mutex);
  std::string line;
  std::string json = fmt::format("{{\n  \"suite\": \"{}\",\n  \"first_seed\": {}", suite, first_seed());
  for (const auto& [name, value] : counters()) {
    line += fmt::format(" {}={}", name, value);
    json += fmt::format(",\n  \"{}\": {}", name, value);
  }
  json += "\n}\n";
  fmt::print("{}: first seed {}{}\n", suite, first_seed(), line);
  std::fflush(stdout);
  const char* const path = std::getenv("PLOOP_CRASH_JSON");
  const std::string file = path != nullptr && *path != '\0' ? path : suite + "-counters.json";
  const Status written = write_file_atomic(file, json, 0644);
  if (!written) fmt::print("{}: {}\n", suite, written.error().message());
}

}  // namespace ploop::crash
