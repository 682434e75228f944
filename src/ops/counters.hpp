// `stat`: what a device has done. The daemon counts since attach and never goes back; clearing and loading
// are a shift that is kept beside the device's state and goes with it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.hpp"

namespace ploop::ops {

struct CounterValue {
  std::string name;  ///< as in docs/control-protocol.md
  std::uint64_t value = 0;
};

/// Of a running device, less what was cleared. ExitCode::Sysfs (9) when it does not run.
Result<std::vector<CounterValue>> device_counters(const std::string& device);

/// From here on the counters begin at 0.
Status clear_counters(const std::string& device);

/// From here on they begin at these values. Gives the names that do not exist; the others were set.
Result<std::vector<std::string>> load_counters(const std::string& device,
                                               const std::vector<CounterValue>& values);

}  // namespace ploop::ops
