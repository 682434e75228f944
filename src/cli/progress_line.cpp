#include "cli/progress_line.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/units.hpp"

namespace ploop::cli {
namespace {

constexpr double kShortest = 0.5;  ///< seconds of work that say something about speed
constexpr double kMemory = 4;      ///< seconds after which old samples hardly count
constexpr std::size_t kLeastBar = 10;
constexpr std::size_t kMostBar = 40;

unsigned percent_of(const ProgressState& state) {
  if (state.total == 0) return 0;
  const double share = static_cast<double>(state.done) / static_cast<double>(state.total);
  return static_cast<unsigned>(std::clamp(share, 0.0, 1.0) * 100);
}

std::string amount(const ProgressState& state) {
  if (state.total == 0) return fmt::format("{} MiB", state.done / kMiB);
  return fmt::format("{} of {} MiB", state.done / kMiB, (state.total + kMiB - 1) / kMiB);
}

std::string speed(const ProgressState& state) {
  return state.rate ? fmt::format("{:.1f} MiB/s", *state.rate / static_cast<double>(kMiB)) : "";
}

std::string remaining(const ProgressState& state) {
  if (!state.rate || *state.rate < 1 || state.total <= state.done) return "";
  const double left = std::ceil(static_cast<double>(state.total - state.done) / *state.rate);
  if (left >= 100.0 * 3600) return "";
  const auto seconds = static_cast<unsigned>(left);
  if (seconds >= 3600)
    return fmt::format("{}:{:02}:{:02} left", seconds / 3600, seconds / 60 % 60, seconds % 60);
  return fmt::format("{}:{:02} left", seconds / 60, seconds % 60);
}

std::string drawn_bar(const ProgressState& state, std::size_t width) {
  const std::size_t filled = width * percent_of(state) / 100;
  return "[" + std::string(filled, '#') + std::string(width - filled, '.') + "]";
}

}  // namespace

void RateMeter::sample(double seconds, std::uint64_t done) {
  const double passed = seconds - last_seconds_;
  if (!started_ || done < last_done_) {
    started_ = true;
    rate_.reset();
  } else if (passed < kShortest) {
    return;
  } else {
    const double now = static_cast<double>(done - last_done_) / passed;
    const double weight = rate_ ? 1 - std::exp(-passed / kMemory) : 1;
    rate_ = rate_.value_or(0) * (1 - weight) + now * weight;
  }
  last_seconds_ = seconds;
  last_done_ = done;
}

std::string bar_line(const ProgressState& state, std::size_t width) {
  const std::string label = std::string(state.label) + " ";
  const std::string share = state.total == 0 ? amount(state) : fmt::format("{:3}%", percent_of(state));
  std::string line = label + share;
  for (const std::string& more : {speed(state), remaining(state)}) {
    if (!more.empty() && line.size() + 2 + more.size() <= width) line += "  " + more;
  }
  const std::size_t room = width > line.size() + 3 ? width - line.size() - 3 : 0;
  if (state.total != 0 && room >= kLeastBar)
    line.insert(label.size(), drawn_bar(state, std::min(room, kMostBar)) + " ");
  return line.substr(0, width);
}

std::string plain_line(const ProgressState& state) {
  std::string details = amount(state);
  for (const std::string& more : {speed(state), remaining(state)}) {
    if (!more.empty()) details += ", " + more;
  }
  if (state.total == 0) return fmt::format("{}: {}", state.label, details);
  return fmt::format("{}: {}% ({})", state.label, percent_of(state), details);
}

}  // namespace ploop::cli
