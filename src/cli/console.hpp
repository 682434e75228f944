// The only way to the terminal. Data of a command and messages at or below the verbosity are printed, each
// line at once: errors (level -1) on stderr, everything else on stdout. From verbosity 4 on every message
// begins with the seconds since start. Below the messages there may be one status line (a progress bar), on
// stderr and on a terminal only. Any thread.
#pragma once

#include <chrono>
#include <cstddef>
#include <mutex>
#include <string>
#include <string_view>

#include "base/log.hpp"

namespace ploop::cli {

inline constexpr int kDefaultVerbosity = 3;
inline constexpr int kStampedVerbosity = 4;

class Console {
 public:
  [[nodiscard]] int verbosity() const { return verbosity_; }
  void set_verbosity(int level) { verbosity_ = level; }
  /// For commands whose stdout is data: messages for stdout are dropped from here on, errors stay.
  void keep_stdout_for_data();

  /// One message line; the sink of base/log.
  void message(LogLevel level, std::string_view line) const;
  /// Text of any number of lines that a command was asked for; not subject to verbosity. False when it could
  /// not be written, which is the same as not having done what was asked.
  [[nodiscard]] bool data(std::string_view text) const;
  /// Text of any number of lines about a wrong command line; silent from verbosity -2 down.
  void complaint(std::string_view text) const;

  /// Seconds since the program's start.
  [[nodiscard]] double seconds() const;

  /// True when a person can see a status line: stderr is a terminal that can erase, and messages are wanted.
  [[nodiscard]] bool can_show_status() const;
  /// Characters that fit into the status line.
  [[nodiscard]] std::size_t status_width() const;
  /// Shows `text` (at most status_width() characters) in place of the status line before; messages appear
  /// above it.
  void show_status(std::string text);
  void clear_status();

 private:
  [[nodiscard]] std::string stamp() const;
  void erase_status() const;

  mutable std::mutex mutex_;
  std::string status_;
  int verbosity_ = kDefaultVerbosity;
  bool data_only_ = false;
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

}  // namespace ploop::cli
