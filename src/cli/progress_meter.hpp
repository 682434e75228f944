// The progress of one operation on the terminal: a bar on stderr when that is a terminal, a line now and then
// with -v, nothing otherwise. In a command:
//
//   ProgressMeter meter(console, "Merging");
//   options.progress = meter.callback();
//   const Status done = ops::merge(options);
//
// Nothing is shown of work that ends within half a second, and nothing is left of the bar when the meter
// ends.
#pragma once

#include <string>

#include "base/progress.hpp"
#include "cli/console.hpp"
#include "cli/progress_line.hpp"

namespace ploop::cli {

class ProgressMeter {
 public:
  /// The console must outlive it.
  ProgressMeter(Console& console, std::string label);
  ProgressMeter(const ProgressMeter&) = delete;
  ProgressMeter& operator=(const ProgressMeter&) = delete;
  ~ProgressMeter();

  /// For the operation; must not be called after the meter's end.
  ProgressCallback callback();

 private:
  enum class Way { Silent, Bar, Lines };
  void update(std::uint64_t done, std::uint64_t total);

  Console& console_;
  const std::string label_;
  const Way way_;
  double next_;  ///< seconds since the program's start when it is time to show something
  RateMeter rate_;
};

}  // namespace ploop::cli
