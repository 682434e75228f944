// Operations that change the levels or the size of the running device: push_delta, merge_top, lend,
// set_lower, grow. Each is a coroutine on the ring's thread, one at a time. What makes a change true is the
// commit point, which the guardian passes while the device stands still: it knows the chain from then on,
// whatever happens to this process.
#pragma once

#include <coroutine>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "control/attach_spec.hpp"
#include "control/chain_messages.hpp"
#include "control/server.hpp"
#include "daemon/channel.hpp"
#include "daemon/file_source.hpp"
#include "daemon/live_map.hpp"
#include "engine/device.hpp"
#include "io/uring_ring.hpp"
#include "transport/transport.hpp"

namespace ploop::daemon {

class Operations {
 public:
  /// What the operations work on; all of it outlives them.
  struct Parts {
    io::UringRing& ring;
    engine::Device& device;
    transport::Transport& transport;
    LiveMap& map;
    Channel& guardian;
    FileSource& files;
    control::AttachSpec spec;              ///< of the running device; kept up to date
    std::optional<std::size_t> lent = {};  ///< by a predecessor
  };
  /// How answers leave; called on the ring's thread.
  struct Replies {
    std::function<void(const control::Call&, const Status&)> result;
    std::function<void(const control::Call&, const std::string&)> event;
  };
  Operations(Parts parts, Replies replies);
  Operations(const Operations&) = delete;
  Operations& operator=(const Operations&) = delete;

  [[nodiscard]] static bool handles(std::string_view method);
  void run(control::Call call);
  /// The name of what keeps this process from being replaced in order; "" when nothing does.
  [[nodiscard]] std::string_view occupied_by() const;
  /// Lets the transport retire; no operation begins any more. False: this transport can't.
  bool retire();
  void stay();
  /// Answers of the guardian; true when the message was one.
  bool on_guardian(const Message& message);
  void connection_closed(std::uint64_t connection);
  [[nodiscard]] control::MaintenanceState state() const;

 private:
  struct Job;
  struct Ask;
  using Change = control::ChainChange;
  using ChainState = control::ChainState;

  static Job push_delta(Operations& self, control::Call call, Change change);
  static Job merge_top(Operations& self, control::Call call, Change change);
  static Job set_lower(Operations& self, control::Call call, Change change);
  static Job grow(Operations& self, control::Call call, Change change);
  static Job report_merge(Operations& self);
  static Job take_back(Operations& self);
  Status lend(const control::Call& call, std::size_t level);

  Ask commit(const ChainState& next);
  Ask resize_device();
  [[nodiscard]] ChainState current() const;
  void adopt(const ChainState& next);
  Status prepare_push(const Change& change);
  Result<std::vector<image::Delta>> open_merge(ChainState& next, bool& changed);
  Status grow_lower(image::Delta& into) const;
  Status grow_top(std::uint64_t size_sectors);
  void undo_growth() const;
  Status check_growth(std::uint64_t size_sectors) const;
  Result<std::vector<image::Delta>> open_lower(const std::vector<control::DeltaSpec>& lower,
                                               FileRole role = FileRole::Level) const;
  bool relock(std::size_t level);
  void level_is_back();
  void restore_lower(bool changed);
  void finish(const control::Call& call, const Status& status);

  Parts parts_;
  Replies replies_;
  std::coroutine_handle<> asking_;  ///< waits for the guardian
  std::optional<Status> answered_;
  std::vector<control::Call> merging_;  ///< who waits for the end of the merge
  control::CommitPoint merge_commit_;   ///< of the last who asked
  std::optional<std::size_t> lent_;
  std::uint64_t lent_to_ = 0;  ///< connection; 0: the borrower's has ended, and take_back() runs
};

}  // namespace ploop::daemon
