#include "ops/space_watch.hpp"

#include <chrono>
#include <utility>

#include "base/log.hpp"
#include "control/client.hpp"
#include "ops/running.hpp"

namespace ploop::ops {
namespace {

constexpr std::chrono::milliseconds kPatience{500};
constexpr std::chrono::seconds kInterval{1};

}  // namespace

bool waits_for_space(const control::DeviceState& device) {
  auto client = control::Client::connect(device.number);
  if (!client) return false;
  client->set_timeout(kPatience);
  const auto stats = client->stats();
  return stats && stats->waits_for_space;
}

std::string space_advice(const control::DeviceState& device) {
  const std::string where = device.deltas.empty() ? "its image" : device.deltas.back().path;
  return device_name(device) + " waits for space: the file system that " + where +
         " lies on is full; writes go on as soon as there is room";
}

SpaceWatch::SpaceWatch(control::DeviceState device)
    : device_(std::move(device)), thread_([this] { watch(); }) {}

SpaceWatch::~SpaceWatch() {
  {
    const std::lock_guard guard(mutex_);
    over_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void SpaceWatch::watch() {
  std::unique_lock lock(mutex_);
  while (!changed_.wait_for(lock, kInterval, [this] { return over_; })) {
    lock.unlock();
    const bool waits = waits_for_space(device_);
    lock.lock();
    if (!waits || over_) continue;
    return log_error("{}", space_advice(device_));
  }
}

}  // namespace ploop::ops
