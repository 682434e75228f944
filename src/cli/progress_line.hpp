// What is said about a running operation: percent, speed, time that remains. Pure: time is a parameter.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace ploop::cli {

/// Speed of an operation, smoothed over some seconds. What was done before the first sample (by an
/// interrupted run) does not count.
class RateMeter {
 public:
  /// `seconds` since any fixed moment, not falling.
  void sample(double seconds, std::uint64_t done);
  /// Bytes per second; nothing until half a second of work is known.
  [[nodiscard]] std::optional<double> rate() const { return rate_; }

 private:
  bool started_ = false;
  double last_seconds_ = 0;
  std::uint64_t last_done_ = 0;
  std::optional<double> rate_;
};

struct ProgressState {
  std::string_view label;  ///< "Merging"
  std::uint64_t done = 0;
  std::uint64_t total = 0;  ///< 0: not known
  std::optional<double> rate;
};

/// One line of at most `width` characters for a terminal: what does not fit is left out, the bar first, then
/// the time, then the speed.
std::string bar_line(const ProgressState& state, std::size_t width);
/// The same for a log: "Merging: 37% (380 of 1024 MiB, 210.0 MiB/s, 0:03 left)".
std::string plain_line(const ProgressState& state);

}  // namespace ploop::cli
