#include "cli/progress_meter.hpp"

namespace ploop::cli {
namespace {

constexpr double kQuiet = 0.5;       ///< seconds before anything is shown
constexpr double kRedraw = 0.1;      ///< between two states of the bar
constexpr double kBetweenLines = 2;  ///< between two lines

}  // namespace

ProgressMeter::ProgressMeter(Console& console, std::string label)
    : console_(console),
      label_(std::move(label)),
      way_(console.verbosity() >= kStampedVerbosity ? Way::Lines
           : console.can_show_status()              ? Way::Bar
                                                    : Way::Silent),
      next_(console.seconds() + kQuiet) {}

ProgressMeter::~ProgressMeter() {
  if (way_ == Way::Bar) console_.clear_status();
}

ProgressCallback ProgressMeter::callback() {
  if (way_ == Way::Silent) return {};
  return [this](std::uint64_t done, std::uint64_t total) { update(done, total); };
}

void ProgressMeter::update(std::uint64_t done, std::uint64_t total) {
  const double now = console_.seconds();
  rate_.sample(now, done);
  if (now < next_) return;
  const ProgressState state{label_, done, total, rate_.rate()};
  if (way_ == Way::Bar) {
    console_.show_status(bar_line(state, console_.status_width()));
    next_ = now + kRedraw;
  } else {
    console_.message(LogLevel::Debug, plain_line(state));
    next_ = now + kBetweenLines;
  }
}

}  // namespace ploop::cli
