// The part of the guardian that passes the device's size on, from the worker that changed it to the keeper,
// who tells the kernel.
#include <utility>

#include "base/log.hpp"
#include "control/json.hpp"
#include "control/protocol.hpp"
#include "daemon/guardian.hpp"

namespace ploop::daemon {

using control::Json;

/// The block device is to have the size that the worker has by now. The keeper is told one at a time, or a
/// worker that says it without end would fill the channel to a keeper that waits for that worker.
void Guardian::tell_size() {
  size_changed_ = awaited_sizes_ > 0;
  if (size_changed_) return;
  ++awaited_sizes_;
  const std::string body = control::to_line(Json{{"sectors", state_.size_sectors}});
  ignore(side_->keeper().channel.send("resize", body), "a dead keeper is noticed by its end");
}

/// The size is in the image, whether the commit point that belongs to it was passed or not.
void Guardian::worker_resized(const Message& message) {
  const Result<Json> json = control::parse_object(message.body, "worker");
  const Result<std::uint64_t> sectors =
      json ? control::unsigned_field(*json, "sectors") : fail(Error(json.error()));
  if (sectors && *sectors > state_.size_sectors) {
    state_.size_sectors = *sectors;
    publish_state();
  }
  worker_waits_ = true;
  if (!side_->keeper().channel.open()) return refuse_size();
  tell_size();
}

/// Answers to what an earlier worker or program asked for must not end this worker's waiting for a later
/// size.
void Guardian::size_told(const Message& message) {
  if (awaited_sizes_ > 0) --awaited_sizes_;
  if (awaited_sizes_ > 0) return;
  if (size_changed_) return tell_size();
  if (!std::exchange(worker_waits_, false)) return;
  tell_worker("resized", message.body);
}

/// Whoever waits for the device's new size hears that nobody is left to tell the kernel.
void Guardian::refuse_size() {
  worker_waits_ = false;
  const Error error{ExitCode::DeviceIoctl, 0,
                    "The keeper of the block device ended: it gets its new size when it is mounted again"};
  tell_worker("resized", control::encode_outcome(fail(Error(error))));
}

}  // namespace ploop::daemon
