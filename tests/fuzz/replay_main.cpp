// Runs a fuzz target without libFuzzer: every file of the corpus, then mutations of them that are the same in
// every run. Arguments: corpus folder, [mutations]. The last input is kept in memory only; the numbers
// printed before an abort say which it was: REPLAY_MUTATION=N runs just that mutation, for a debugger.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace {

using Input = std::vector<std::uint8_t>;

constexpr unsigned long kDefaultMutations = 4000;
/// A slow machine does fewer mutations rather than hold up the tests.
constexpr std::chrono::seconds kTimeLimit{4};

std::atomic<unsigned long> g_current = 0;

void report_abort(int) {
  char text[64];
  const int length = std::snprintf(text, sizeof text, "input %lu\n", g_current.load());
  std::fwrite(text, 1, static_cast<std::size_t>(length), stderr);
  std::signal(SIGABRT, SIG_DFL);
}

std::vector<Input> read_corpus(const std::string& folder) {
  std::vector<std::filesystem::path> names;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.is_regular_file()) names.push_back(entry.path());
  }
  std::sort(names.begin(), names.end());
  std::vector<Input> corpus;
  for (const auto& name : names) {
    std::ifstream in(name, std::ios::binary);
    corpus.emplace_back(std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>());
  }
  return corpus;
}

/// Numbers at which arithmetic goes wrong.
std::uint64_t interesting(std::mt19937_64& random) {
  static constexpr std::uint64_t kValues[] = {
      0,          1,          2,          63,         64,         65,         127,      128,      255,
      512,        4095,       4096,       65535,      65536,      131072,     1u << 29, 1u << 31, 0x7FFFFFFF,
      0xFFFFFFFE, 0xFFFFFFFF, 0x746F6E59, 0x312E3276, 1ull << 32, ~0ull >> 1, ~0ull};
  return kValues[random() % std::size(kValues)];
}

void mutate(Input& input, const std::vector<Input>& corpus, std::mt19937_64& random) {
  if (input.empty()) input.push_back(0);
  const std::size_t at = random() % input.size();
  const auto put = [&](std::uint64_t value, std::size_t width) {
    for (std::size_t i = 0; i < width && at + i < input.size(); ++i)
      input[at + i] = static_cast<std::uint8_t>(value >> (8 * i));
  };
  switch (random() % 8) {
    case 0:
      input[at] ^= static_cast<std::uint8_t>(1u << (random() % 8));
      break;
    case 1:
      input[at] = static_cast<std::uint8_t>(random());
      break;
    case 2:
      put(interesting(random), 4);
      break;
    case 3:
      put(interesting(random), 8);
      break;
    case 4:
      put(random() % 300, 4);
      break;
    case 5:
      input.resize(at);
      break;
    case 6:
      input.insert(input.end(), 1 + random() % 64, static_cast<std::uint8_t>(random()));
      break;
    default: {
      const Input& other = corpus[random() % corpus.size()];
      if (other.empty()) break;
      const std::size_t from = random() % other.size();
      const std::size_t count =
          std::min({other.size() - from, input.size() - at, std::size_t{1 + random() % 64}});
      std::copy_n(other.begin() + static_cast<std::ptrdiff_t>(from), count,
                  input.begin() + static_cast<std::ptrdiff_t>(at));
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: %s CORPUS [MUTATIONS]\n", argv[0]);
    return 2;
  }
  std::signal(SIGABRT, report_abort);
  const std::vector<Input> corpus = read_corpus(argv[1]);
  if (corpus.empty()) {
    std::fprintf(stderr, "%s: no seeds\n", argv[1]);
    return 2;
  }
  const unsigned long mutations = argc > 2 ? std::strtoul(argv[2], nullptr, 10) : kDefaultMutations;
  const char* only = std::getenv("REPLAY_MUTATION");
  const auto start = std::chrono::steady_clock::now();
  for (const Input& input : corpus) {
    if (only == nullptr) LLVMFuzzerTestOneInput(input.data(), input.size());
    ++g_current;
  }
  unsigned long done = 0;
  for (; done < mutations; ++done) {
    if (only == nullptr && std::chrono::steady_clock::now() - start > kTimeLimit) break;
    // Each mutation has its own seed, so that one can be repeated alone.
    std::mt19937_64 random(done);
    Input input = corpus[random() % corpus.size()];
    for (std::size_t count = 1 + random() % 6; count > 0; --count)
      mutate(input, corpus, random);
    g_current = done;
    if (only == nullptr || std::strtoul(only, nullptr, 10) == done)
      LLVMFuzzerTestOneInput(input.data(), input.size());
  }
  std::printf("%zu seeds, %lu mutations\n", corpus.size(), done);
  return 0;
}
