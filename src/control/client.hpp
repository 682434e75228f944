// Talking to a running device through its control socket; the protocol is docs/control-protocol.md.
#pragma once

#include <chrono>
#include <functional>
#include <string>
#include <vector>

#include "base/fd.hpp"
#include "base/result.hpp"
#include "control/chain_messages.hpp"
#include "control/device_state.hpp"
#include "control/shrink_messages.hpp"
#include "control/track_messages.hpp"

namespace ploop::control {

/// Versions of the program that served before and that serves now.
struct UpgradeResult {
  std::string from;
  std::string to;
};

/// One connection. Calls are answered in order; each waits at most `timeout` (ExitCode::System, ETIMEDOUT).
/// Errors of the device come back with their own exit code.
class Client {
 public:
  static Result<Client> connect(int device_number);

  /// To the device's guardian instead of its worker, for the methods of RUNDIR/ploopN/admin.
  static Result<Client> connect_admin(int device_number);
  /// The daemon becomes `program` (absolute); returns when that serves, or when it is clear that the old one
  /// goes on: ExitCode::Busy while the device is in another state or an operation runs, Param for a program
  /// that can't take over, System for one that failed.
  Result<UpgradeResult> upgrade(const std::string& program);

  Status ping();
  Result<DeviceState> info();
  Result<DeviceStats> stats();
  /// Everything written before is durable when this returns.
  Status flush();
  /// See detach_device(), which also waits for the end of the daemon.
  Status detach();

  // Changes of a running device. ExitCode::Busy while another maintenance operation runs, or the error of the
  // step that failed otherwise; the device goes on as it was then. `commit` is renamed while the device
  // stands still. `known` are the device's images as the caller knows them: Busy when somebody has changed
  // them since.

  /// A live snapshot: `top` (an empty delta, complete and durable) takes the writes from now on. Everything
  /// acknowledged before is in the former top, which is closed cleanly.
  Status push_delta(const DeltaSpec& top, const CommitPoint& commit);
  /// Moves the top into the level below, under I/O, then drops it and passes the commit point. Joins or
  /// resumes one that was begun. `progress` gets bytes done and in total; may be empty. `cancelled` is asked
  /// from time to time; true stops the merge, which can be resumed (ExitCode::System).
  Status merge_top(const std::vector<DeltaSpec>& known, const CommitPoint& commit,
                   const std::function<void(std::uint64_t, std::uint64_t)>& progress = {},
                   const std::function<bool()>& cancelled = {});
  /// The device gives up its shared lock on a lower level, so that the caller can lock and write the file in
  /// a way that does not change what the device reads. Ends with set_lower().
  Status lend(std::size_t level);
  /// All levels below the top become these, opened and read anew; the guest must see the same bytes.
  Status set_lower(const std::vector<DeltaSpec>& known, const std::vector<DeltaSpec>& lower,
                   const CommitPoint& commit);
  /// The device, its top image included, gets this size, which must be larger and a multiple of the cluster.
  Status grow(std::uint64_t size_sectors, const CommitPoint& commit);
  Result<MaintenanceState> maintenance();

  /// The write tracker on the top's file, see engine/tracker.hpp and docs/control-protocol.md. It belongs to
  /// this connection: when that closes, tracking ends. ExitCode::Busy while another maintenance operation
  /// runs; Param when it is not on.
  Result<TrackStart> track_start();
  /// Writes below this position of the file are recorded from now on; 0 starts all over.
  Status track_set(std::uint64_t position);
  Result<TrackBatch> track_read();
  /// ExitCode::Busy as long as something has to be read again: it stays on.
  Status track_stop();
  Status track_abort();

  /// The whole clusters of this range of the device, as far as the top has them, lose their content: they
  /// read as zeros and their space is given back. Gives how many there were. `dry`: nothing changes.
  Result<std::uint64_t> discard(std::uint64_t offset, std::uint64_t length, bool dry = false);
  /// Moves clusters from the end of the top's file into holes and cuts the file, at most so many clusters of
  /// it; to be called until it has nothing more to do. ExitCode::Busy while another maintenance operation
  /// runs, Param for a raw top.
  Result<CompactStep> compact(std::uint64_t most_clusters);

  void set_timeout(std::chrono::milliseconds timeout) { timeout_ = timeout; }

 private:
  Client(int number, Fd socket) : number_(number), socket_(std::move(socket)) {}
  /// Sends one request and gives the text of "result".
  Result<std::string> call(const std::string& method, const std::string& params = "{}",
                           const std::function<void(std::string_view)>& on_event = {});
  Status change(const std::string& method, const ChainChange& change);
  /// Asks for a change of the chain with the guardian's permission, which ends with the answer.
  Status permitted_change(const std::string& method, const ChainChange& change, const Permission& permission,
                          const std::function<void(std::string_view)>& on_event = {});

  int number_;
  Fd socket_;
  std::uint64_t next_id_ = 1;
  std::chrono::milliseconds timeout_{60000};
};

}  // namespace ploop::control
