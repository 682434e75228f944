#include "cli/console.hpp"

#include <cstdio>

namespace ploop::cli {
namespace {

bool write_now(std::FILE* stream, std::string_view text) {
  const std::size_t written = std::fwrite(text.data(), 1, text.size(), stream);
  return std::fflush(stream) == 0 && written == text.size();
}

}  // namespace

void Console::keep_stdout_for_data() { data_only_ = true; }

std::string Console::stamp() const {
  if (verbosity_ < kStampedVerbosity) return {};
  const auto us = std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::steady_clock::now() - start_).count();
  return fmt::format("[{:2}.{:06}] ", us / 1000000, us % 1000000);
}

void Console::message(LogLevel level, std::string_view line) const {
  if (static_cast<int>(level) > verbosity_) return;
  const bool error = level == LogLevel::Error;
  if (!error && data_only_) return;
  write_now(error ? stderr : stdout, fmt::format("{}{}\n", stamp(), line));
}

bool Console::data(std::string_view text) const { return write_now(stdout, text); }

void Console::complaint(std::string_view text) const {
  if (verbosity_ >= static_cast<int>(LogLevel::Error)) write_now(stderr, text);
}

}  // namespace ploop::cli
