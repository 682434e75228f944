// Giving space back, behind the control socket: discard and compact. Each call is a coroutine on the ring's
// thread, beside the requests of the device.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "control/server.hpp"
#include "control/shrink_messages.hpp"
#include "engine/device.hpp"

namespace ploop::daemon {

/// Lives beside the device, on the ring's thread.
class Shrinking {
 public:
  using Reply = std::function<void(const control::Call&, const Result<std::string>&)>;
  Shrinking(engine::Device& device, Reply reply) : device_(device), reply_(std::move(reply)) {}
  Shrinking(const Shrinking&) = delete;
  Shrinking& operator=(const Shrinking&) = delete;

  static bool handles(std::string_view method) { return method == "discard" || method == "compact"; }
  void run(control::Call call);
  /// Its discard or compaction, if there is one, has nobody any more and ends soon.
  void connection_closed(std::uint64_t connection);

 private:
  struct Job;
  struct Discard;
  struct Turn;
  static Job discard(Shrinking& self, control::Call call, control::DiscardRange range);
  static Job compact(Shrinking& self, control::Call call, std::uint64_t most_clusters);

  engine::Device& device_;
  Reply reply_;
  std::vector<Discard*> discards_;    ///< the first runs, the others wait for their turn
  std::uint64_t compacting_for_ = 0;  ///< connection; only meaningful while a compaction runs
};

}  // namespace ploop::daemon
