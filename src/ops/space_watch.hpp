// Devices that wait for space: the host's file system is full, and a write that needs a cluster is not
// answered until there is room. Whoever waits for such a device, in the kernel most of all, is told why.
#pragma once

#include <condition_variable>
#include <mutex>
#include <string>
#include <thread>

#include "control/device_state.hpp"

namespace ploop::ops {

/// Whether the device waits for space right now. Asks its daemon, for half a second at most; false also for
/// one that does not answer or that the caller may not ask.
bool waits_for_space(const control::DeviceState& device);

/// "/dev/ploop0 waits for space: ...", what is wrong and what to do.
std::string space_advice(const control::DeviceState& device);

/// For as long as a command may wait for the device. While it lives, a thread looks every second whether the
/// device waits for space, and says so once, as an error.
class SpaceWatch {
 public:
  explicit SpaceWatch(control::DeviceState device);
  ~SpaceWatch();
  SpaceWatch(const SpaceWatch&) = delete;
  SpaceWatch& operator=(const SpaceWatch&) = delete;

 private:
  void watch();

  control::DeviceState device_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool over_ = false;  ///< under mutex_
  std::thread thread_;
};

}  // namespace ploop::ops
