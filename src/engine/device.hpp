// A live block device over a stack of deltas: reads, writes, zeroing, flush. See docs/design.md, section 4,
// for the ideas and docs/crash-consistency.md for the rules it keeps.
//
// Everything runs on the one thread that runs the ring. A transport owns endless coroutines, one per tag, and
// does
//
//     const int result = co_await device.execute(request);
//
// A mapped read or write is one look-up and one submission. Everything else (first writes, zeroing, requests
// that cross extents, flush) runs in a coroutine of the device whose frame comes from a pool, so that steady
// state allocates nothing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/result.hpp"
#include "engine/compact.hpp"
#include "engine/maintenance.hpp"
#include "engine/request.hpp"
#include "engine/stats.hpp"
#include "engine/task.hpp"
#include "engine/tracker.hpp"
#include "image/delta.hpp"
#include "io/ring.hpp"

namespace ploop::engine {

class Core;
struct NewTop;

/// What an allocating write does when the host file system is full.
enum class OnNoSpace : std::uint8_t {
  Pause,  ///< waits, retries once a second, everything else goes on
  Fail,   ///< answers ENOSPC
};

/// Breaks one ordering rule on purpose, so that the power-cut simulator can prove that it would notice. Has
/// an effect only in builds with PLOOP_SABOTAGE, which only tests make.
enum class Sabotage : std::uint8_t {
  None,
  DataBeforePointer,    ///< O1: table pages are written without the barrier on the data
  LengthBeforePointer,  ///< O2: pages go out before the extension of the file is durable
  NoPassengers,         ///< O3: pages are built from the live map, after the barrier
  ClearBeforeReuse,     ///< O6: a freed cluster is handed out again at once
  UnmaskNever,       ///< a live merge: a flush is answered while a slot of the former top still hides what it
                     ///< covers
  UnmaskEarly,       ///< a live merge: the former top's slot is cleared before the slot that replaces it is
                     ///< durable
  WriteWhileMoving,  ///< O7: a cluster is written while it moves
  CutBeforeCommit,   ///< O7: moved clusters are cut off while the table on disk still names them
};

struct DeviceConfig {
  std::vector<image::Delta> deltas;  ///< base first; the device takes them over
  bool writable = true;              ///< only the top is ever written
  std::span<std::byte>
      map_memory;  ///< Device::map_bytes() bytes, 8-aligned, zero-filled unless adopted; outlives the device
  bool adopt_map = false;  ///< take over the map a killed worker left in map_memory
  bool running = false;    ///< somebody uses the device already: it must not end for want of space
  OnNoSpace on_no_space = OnNoSpace::Pause;
  bool overlay = false;     ///< a live merge was begun: the last delta is being drained into the one below,
                            ///< which is written
  bool allow_clone = true;  ///< use reflinks where the files can
  std::uint64_t commit_delay_ns =
      1'000'000'000;  ///< a changed map is committed at the latest after this time
  /// A compaction works on this much of the file's end at a time; a cancelled one keeps what whole steps have
  /// reached.
  std::uint64_t compact_pass_bytes = 1'073'741'824;
  Sabotage sabotage = Sabotage::None;
};

/// How far a live merge is, in bytes.
struct MergeProgress {
  std::uint64_t done = 0;
  std::uint64_t total = 0;
};

class Device {
 public:
  /// Bytes of map memory for this stack.
  static std::uint64_t map_bytes(std::span<const image::Delta> deltas);
  /// The same for a disk of this size, in bytes.
  static std::uint64_t map_bytes(std::uint64_t size_bytes, std::uint64_t cluster_bytes);

  /// Whether a successor has to adopt what is in the map memory; otherwise the tables on disk say at least as
  /// much. Only meaningful for memory that a device of ours used.
  static bool map_is_live(std::span<const std::byte> memory);
  /// Which layout the map's memory has; programs with the same one can take over each other's maps.
  static std::uint64_t map_layout();

  /// Checks that the deltas form a stack, builds the map, and marks the top in use (durably) when writable.
  /// Uses the files synchronously; the ring is used from the first execute() on. ExitCode::Format, Param,
  /// Read, Write, Fsync.
  static Result<std::unique_ptr<Device>> open(io::Ring& ring, DeviceConfig config);
  /// Abandons everything that was not committed, as a killed process would; the ring must not be run any
  /// more. Call close() before for a clean end.
  ~Device();
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  /// Awaitable; gives 0 or -errno. The request's memory stays valid until then. One with its data in a buffer
  /// of the ring may give kNeedsMemory: what is more than one look-up and one submission is done with memory
  /// only.
  [[nodiscard]] ExecuteAwaiter execute(const Request& request) { return {*core_, request}; }

  // Changing a running device. On the ring's thread, from a coroutine or between them; one operation at a
  // time (begin()).

  /// Awaitable: 0 when the device stands still: new requests wait, nothing is in flight, everything is
  /// durable. Else -errno, and it goes on: ENOSPC when requests wait for space on the host, EIO when the
  /// device failed. Followed by release().
  [[nodiscard]] Task<int> hold();
  void release();

  /// Before hold(): checks that `top` is an empty delta that fits, marks it in use, reserves its table.
  /// ExitCode::Format, Param, Busy, Write, Fsync, Fallocate.
  Status prepare_push(image::Delta top);
  /// While held: the top's file is that of a closed image, durably; and back. ExitCode::Write, Fsync.
  Status seal_top();
  Status unseal_top();
  /// While held: the sealed top becomes read-only, the prepared delta takes the writes.
  void push();

  /// While held: all levels below the top are exchanged, newly opened ones for the old; the top's file is
  /// read anew. With `overlay` a live merge begins: the last of `lower` is opened for writing and takes the
  /// writes, the present top is drained into it. `map_memory` may be the old one or a larger one. An error
  /// leaves a device that answers EIO to everything and can only be closed.
  Status reopen(std::vector<image::Delta> lower, bool overlay, std::span<std::byte> map_memory);

  /// Awaitable, beside requests: moves everything out of the former top. 0, or -errno (then the merge can be
  /// tried again).
  [[nodiscard]] Task<int> drain_overlay();
  /// Ends a running drain soon, with -ECANCELED.
  void cancel_drain();
  [[nodiscard]] MergeProgress merge_progress() const;
  [[nodiscard]] bool merging() const;
  /// While held: the drained former top goes; its file is closed and otherwise left alone.
  void drop_overlay();

  /// False: another maintenance operation is running, or a live merge was begun and not finished.
  bool begin(Maintenance what);
  void end() { maintenance_ = Maintenance::None; }
  [[nodiscard]] Maintenance maintenance() const { return maintenance_; }

  /// Makes the top's file shorter: moves clusters from its end into holes, at most so many clusters of the
  /// file, while requests go on. Awaitable; gives a CompactResult. -EBUSY while one or a merge runs,
  /// -EOPNOTSUPP for a raw top, -EROFS.
  [[nodiscard]] CompactAwaiter compact(std::uint64_t most_clusters = ~std::uint64_t{0}) {
    return {*core_, most_clusters};
  }
  /// Ends a running compaction soon, with what it has reached as its result.
  void cancel_compact();
  [[nodiscard]] CompactProgress compact_progress() const;
  /// A run of whole clusters that the top has, and that a discard would give back.
  struct Run {
    std::uint64_t offset = 0;  ///< bytes of the device
    std::uint64_t length = 0;  ///< 0: there is none
  };
  /// The first one inside the range, at most `most` bytes long.
  [[nodiscard]] Run first_run_in_top(std::uint64_t offset, std::uint64_t length, std::uint64_t most) const;

  /// Commits, trims the file, clears the in-use mark. Runs the ring until done; no request may be in flight.
  /// Fails with ExitCode::Write or Fsync; then the mark stays set and the next attach recovers.
  Status close();

  [[nodiscard]] std::uint64_t size_bytes() const;
  [[nodiscard]] std::uint64_t cluster_bytes() const;
  [[nodiscard]] std::size_t levels() const;
  [[nodiscard]] const image::Delta& delta(std::size_t level) const;
  [[nodiscard]] bool writable() const;
  /// True after a failed barrier or table write: writes and flushes answer EIO until the device is attached
  /// again.
  [[nodiscard]] bool failed() const;
  /// Requests waiting for space on the host file system.
  [[nodiscard]] bool paused_for_space() const;
  [[nodiscard]] const Stats& stats() const;
  /// Makes requests that wait for space give up with ENOSPC, now and later, for a detach that must end; or
  /// lets them wait again, when that detach was refused.
  void stop_waiting_for_space(bool stop);

  /// The write tracker on the top's file (tracker.hpp), for a copy of that file while the device runs. Calls
  /// are made on the ring's thread. ExitCode::Busy while it is on already; Stat when the file's length can't
  /// be read.
  Status track_start();
  /// Bytes of the top's file that are in use; what lies behind them is reserved space that no slot names.
  [[nodiscard]] Result<std::uint64_t> top_used_bytes() const;
  Status track_set(std::uint64_t position);
  Result<Tracker::Batch> track_read(std::span<FileExtent> out);
  /// ExitCode::Busy as long as there is something to read again, or a write is under way.
  Status track_stop();
  void track_abort();
  [[nodiscard]] const Tracker& tracker() const;
  /// For commands that have to know that a path still leads to the top's file. Valid until the levels change;
  /// null when reopen() has failed.
  [[nodiscard]] const io::BlockFile* top_file() const;

 private:
  Device();
  std::unique_ptr<Stats> stats_;
  std::unique_ptr<Core> core_;
  std::unique_ptr<NewTop> pending_;
  Maintenance maintenance_ = Maintenance::None;
};

}  // namespace ploop::engine
