// The guardian's view of a transport: the kernel's end of a device, which outlives workers. Nothing here
// waits for a worker; what has to is done by the keeper, a child that the transport starts.
//
//   open -> worker started -> attach -> keeper: attached ...      death of a worker: begin_replacement ->
//   worker started detach: keeper: released -> let_go; in the end always abandon
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "control/device_state.hpp"
#include "daemon/channel.hpp"
#include "daemon/keeper.hpp"
#include "transport/ublk/data_path.hpp"

namespace ploop::daemon {

struct SideOptions {
  int number = -1;  ///< N of /dev/ploopN
  bool read_only = false;
};

/// How data moves with "ublk", "ublk:user-copy" or "ublk:zero-copy"; nothing for other transports.
std::optional<transport::ublk::DataPath> ublk_path(std::string_view transport);
inline bool is_ublk(std::string_view transport) {
  return ublk_path(transport).has_value();
}

/// "fuse" or one of ublk's names for `wanted`, which is one of them or "auto": ublk where the kernel has what
/// it takes. ExitCode::Param for a name that is none, ExitCode::Device with the reason when ublk was asked
/// for and can't be had.
Result<std::string> choose_transport(std::string_view wanted);

/// Smaller discards are not worth a request: the host's page for a single image; with data below, discarding
/// a part of a cluster frees nothing but would have to be remembered. `state` knows its deltas and cluster.
std::uint32_t discard_granularity(const control::DeviceState& state);

class KernelSide {
 public:
  /// `transport` as choose_transport() gave it.
  static std::unique_ptr<KernelSide> make(std::string_view transport, const SideOptions& options);
  virtual ~KernelSide() = default;

  /// Before the first worker. ExitCode::Device when the kernel can't do it.
  virtual Status open() = 0;
  /// The descriptor on which the next worker serves requests; stays this object's.
  [[nodiscard]] virtual int worker_fd() const = 0;

  /// The first worker is ready, and `state` is what it said: makes the block device. The keeper says
  /// "attached" or "error" later.
  virtual Status attach(const control::DeviceState& state) = 0;
  /// The keeper, from attach() at the latest until it ends.
  [[nodiscard]] KeeperProcess& keeper() { return keeper_; }

  /// The worker died, or is about to be replaced while it holds no request. Then worker_fd() is ready for
  /// another one.
  virtual Status begin_replacement() { return {}; }
  /// Whether a message of the keeper that brings a descriptor is for the present worker, and not for one that
  /// is dead meanwhile.
  [[nodiscard]] virtual bool is_for_worker(const Message&) const { return false; }
  /// The keeper died while the device runs. True: there is another one, which has to be told what the old one
  /// was busy with.
  virtual bool replace_keeper() { return false; }

  /// For another program in this process: the text of a JSON object that adopt() of that program understands.
  /// The numbers of the descriptors in it, which have to survive, are appended to `descriptors`. The keeper
  /// is the caller's business.
  [[nodiscard]] virtual std::string hand_over(std::vector<int>& descriptors) const = 0;
  /// Instead of open() and attach(). ExitCode::Protocol.
  virtual Status adopt(std::string_view text) = 0;

  /// The block device is released: drops what still keeps the worker's requests coming. The worker then
  /// commits and exits.
  virtual void let_go() = 0;
  /// Lets go of everything, at once, whatever state it is in: whoever waits for an answer gets an error. The
  /// worker is dead or about to be.
  virtual void abandon() = 0;
  /// After abandon() and the worker's end. False: something is left in the kernel, and what says how to find
  /// it must stay.
  virtual bool wait_for_keeper() = 0;

 protected:
  KeeperProcess keeper_;
};

}  // namespace ploop::daemon
