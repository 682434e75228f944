#include "cli/console.hpp"

#include <sys/ioctl.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>

namespace ploop::cli {
namespace {

bool write_now(std::FILE* stream, std::string_view text) {
  const std::size_t written = std::fwrite(text.data(), 1, text.size(), stream);
  return std::fflush(stream) == 0 && written == text.size();
}

constexpr std::size_t kUsualWidth = 80;
constexpr std::string_view kErase = "\r\x1b[K";

}  // namespace

void Console::keep_stdout_for_data() {
  data_only_ = true;
}

std::string Console::stamp() const {
  if (verbosity_ < kStampedVerbosity) return {};
  const auto us =
      std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::steady_clock::now() - start_)
          .count();
  return fmt::format("[{:2}.{:06}] ", us / 1000000, us % 1000000);
}

void Console::message(LogLevel level, std::string_view line) const {
  if (static_cast<int>(level) > verbosity_) return;
  const bool error = level == LogLevel::Error;
  if (!error && data_only_) return;
  const std::scoped_lock lock(mutex_);
  erase_status();
  write_now(error ? stderr : stdout, fmt::format("{}{}\n", stamp(), line));
  if (!status_.empty()) write_now(stderr, status_);
}

bool Console::data(std::string_view text) const {
  const std::scoped_lock lock(mutex_);
  erase_status();
  return write_now(stdout, text);
}

void Console::complaint(std::string_view text) const {
  const std::scoped_lock lock(mutex_);
  erase_status();
  if (verbosity_ >= static_cast<int>(LogLevel::Error)) write_now(stderr, text);
}

double Console::seconds() const {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
}

bool Console::can_show_status() const {
  const char* terminal = std::getenv("TERM");
  const bool can_erase = terminal != nullptr && *terminal != '\0' && std::string_view(terminal) != "dumb";
  return verbosity_ >= static_cast<int>(LogLevel::Progress) && can_erase && ::isatty(STDERR_FILENO) == 1;
}

std::size_t Console::status_width() const {
  winsize size{};
  const bool known = ::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 1;
  return (known ? size.ws_col : kUsualWidth) - 1;  // the last column would start a new line on some terminals
}

void Console::show_status(std::string text) {
  const std::scoped_lock lock(mutex_);
  status_ = std::move(text);
  write_now(stderr, std::string(kErase) + status_);
}

void Console::clear_status() {
  const std::scoped_lock lock(mutex_);
  erase_status();
  status_.clear();
}

void Console::erase_status() const {
  if (!status_.empty()) write_now(stderr, kErase);
}

}  // namespace ploop::cli
