// The state of a live device and the steps that work on it. Internal to the engine; device.hpp is the public
// face.
//
// Files: core.cpp (look-up, fast path, request life cycle), hold.cpp (standing still), chain.cpp (another
// top, a merged top), overlay.cpp (a former top being drained), read.cpp, write.cpp (writes and zeroing of
// mapped clusters), first_write.cpp (taking a cluster), partial.cpp (clusters with sectors still below),
// commit.cpp (flush), reclaim.cpp (freed clusters), compact.cpp (a shorter file), tracking.cpp (for copies).
// All of it runs on the ring's thread.
//
// Invariants:
//  - a map entry always reads correctly: it is stored only when the cluster holds what the guest must see;
//  - what the table on disk says is durable_; a cluster it names is never written as another guest cluster;
//  - a cluster returns to the allocator only when no table names it, durably, and every request that could
//  have looked it up
//    has ended (grace period), and it was punched.
#pragma once

#include <array>
#include <cerrno>
#include <cstdint>
#include <vector>

#include "base/aligned_buffer.hpp"
#include "base/result.hpp"
#include "engine/allocator.hpp"
#include "engine/cluster_map.hpp"
#include "engine/compact.hpp"
#include "engine/device.hpp"
#include "engine/task.hpp"
#include "engine/tracker.hpp"
#include "image/delta.hpp"
#include "io/ring.hpp"

namespace ploop::engine {

/// In-memory side of a partial record; a successor starts with all of them idle.
struct PartialState {
  std::uint32_t writers = 0;  ///< writes into the cluster in flight
  bool filling = false;       ///< being completed; new writes wait
  WaitList changed;           ///< writers reached 0, or filling ended
};

struct FillGroup;

/// A contiguous piece of one file.
struct Extent {
  io::BlockFile* file;
  std::uint64_t offset;
  std::uint64_t length;
  bool raw;  ///< may end early: the rest reads as zeros
};

/// An empty delta that is ready to become the top; everything that takes time has been done.
struct NewTop {
  image::Delta delta;
  format::Header header;
  Allocator allocator;
  std::vector<std::uint32_t> durable;
};

/// Clusters that are pulled out of the overlay side by side.
struct PullGroup {
  std::uint32_t running = 0;
  int result = 0;
  WaitList ended;
};

class Core {
 public:
  /// `stats` outlives the core.
  Core(io::Ring& ring, DeviceConfig&& config, Stats& stats);
  ~Core();
  Core(const Core&) = delete;
  Core& operator=(const Core&) = delete;

  // device.cpp
  Status open();
  Status close();

  // core.cpp: request life cycle. True: finished inside, awaiter.result is set.
  bool start(ExecuteAwaiter& request);
  void start_compact(CompactAwaiter& request);
  [[nodiscard]] std::uint64_t size_bytes() const { return size_bytes_; }

  FramePool frames;
  Stats& stats;

 private:
  friend class Device;
  static constexpr std::size_t kCopyBuffers = 4;
  static constexpr std::size_t kCopyBytes = 256 * 1024;
  static constexpr std::size_t kMaxMoves = 16;
  /// Internal result: a cluster of the request is being moved; try again from the start, after waiting
  /// outside the phase.
  static constexpr int kMoving = -ERESTART;
  /// Internal result: there is no space to fill a partial cluster, and as nothing had been written to it, it
  /// is none any more.
  static constexpr int kUndone = -ENODATA;
#ifdef PLOOP_SABOTAGE
  static constexpr std::size_t kMaxPagesPerCommit = 1;  // small disks shall see commits of several rounds
#else
  static constexpr std::size_t kMaxPagesPerCommit = 64;
#endif

  struct Copy {
    AlignedBuffer buffer;
    bool busy = false;
  };
  /// Table pages of the round that is being committed; `images` holds kTablePageSize bytes each.
  struct Round {
    std::array<std::uint32_t, kMaxPagesPerCommit> pages{};
    std::size_t count = 0;
    AlignedBuffer images;
  };
  /// A write or zeroing inside one guest cluster.
  struct Piece {
    std::uint64_t cluster;
    std::uint64_t offset;  ///< inside the cluster, bytes
    std::uint64_t length;
    std::byte* data;  ///< null: zeros
  };

  // core.cpp
  [[nodiscard]] bool check(const Request& r, int* error) const;
  [[nodiscard]] bool find_extent(std::uint64_t offset, std::uint64_t length, bool for_write,
                                 Extent* out) const;
  [[nodiscard]] Extent extent_of(Entry e, std::uint64_t offset_in_cluster, std::uint64_t length) const;
  [[nodiscard]] bool is_top(Entry e) const {
    return e.mapped() && e.level() == top_level_;
  }
  bool start_fast(ExecuteAwaiter& a);
  static void fast_finished(io::Completion* c);
  bool complete_fast(ExecuteAwaiter& a);
  static Detached run(Core& self, ExecuteAwaiter* a);
  void finish(ExecuteAwaiter& a, int result);
  void count(const Request& r);
  void enter_phase(ExecuteAwaiter& a);
  void leave_phase(ExecuteAwaiter& a);
  [[nodiscard]] bool can_wait(int result) const;
  static Task<int> wait_for_space(Core& self);
  [[nodiscard]] bool sabotaged(Sabotage s) const;
  void fail_device();
  void note_data_changed() {
    ++data_generation_;
  }
  /// Around everything that changes bytes of the top's file while the device runs; see tracker.hpp for why it
  /// is the end that counts.
  void top_write_begins() {
    ++top_writes_;
  }
  void top_write_ended(std::uint64_t file_offset, std::uint64_t length) {
    --top_writes_;
    tracker_.mark(file_offset, length);
  }

  static Task<int> pause_for_space(Core& self);
  void request_ended();

  // hold.cpp
  static Task<int> hold(Core& self);
  void give_up();
  void release();
  void take_held_requests(Core& from);

  // chain.cpp
  Result<NewTop> prepare_push(image::Delta delta) const;
  Status seal_top();
  Status unseal_top();
  void push(NewTop top);
  void drop_overlay();
  void prepare_buffers();
  [[nodiscard]] static std::uint64_t allocator_limit(const format::Header& header);

  // overlay.cpp
  static Task<int> drain_overlay(Core& self);
  static Task<int> pull_all(Core& self);
  static Task<int> pull(Core& self, std::uint64_t cluster);
  static Detached pull_in_background(Core& self, std::uint64_t cluster, PullGroup* group);
  static Task<int> unmask(Core& self);
  std::uint64_t build_unmasked(std::size_t i);
  [[nodiscard]] std::uint64_t overlay_end() const;
  void build_overlay();
  [[nodiscard]] bool in_overlay(Entry e) const {
    return e.mapped() && e.level() > top_level_;
  }
  /// Whether something below the top's level has data for a cluster that is now at `lower`.
  [[nodiscard]] bool below_of(Entry lower) const {
    return in_overlay(lower) ? lower.below() : lower.mapped();
  }
  [[nodiscard]] bool has_overlay() const {
    return overlay_ != nullptr;
  }

  // read.cpp
  static Task<int> read(Core& self, const Request* r);
  static Task<int> read_extent(Core& self, Extent extent, std::byte* data);

  // write.cpp
  static Task<int> write(Core& self, const Request* r);
  static Task<int> write_piece(Core& self, Piece piece);
  static Task<int> zero_cluster(Core& self, Piece piece);
  static Task<int> write_file(Core& self, std::uint64_t file_offset, std::uint64_t length, std::byte* data);
  static Task<int> zero_file(Core& self, std::uint64_t file_offset, std::uint64_t length);
  [[nodiscard]] bool covers_cluster(const Piece& p) const;

  // first_write.cpp
  static Task<int> take_cluster(Core& self, Piece piece, bool* written);
  static Task<int> copy_up(Core& self, Piece piece, std::uint32_t image_cluster, Entry lower, bool* written);
  static Task<int> allocate(Core& self, std::uint32_t* image_cluster);
  static Task<int> extend(Core& self);
  void map_top(std::uint64_t cluster, std::uint32_t image_cluster, bool below);
  void unmap_top(std::uint64_t cluster);
  void release_cluster(std::uint64_t cluster, std::uint32_t image_cluster);

  // partial.cpp
  static Task<int> write_partial(Core& self, Piece piece);
  static Task<int> zero_partial(Core& self, std::uint64_t cluster);
  static Task<int> fill(Core& self, std::uint16_t record);
  static Task<int> fill_absent(Core& self, std::uint16_t record, std::byte* buffer);
  static Task<int> take_record(Core& self, std::uint16_t* record);
  static Detached fill_in_background(Core& self, std::uint16_t record, FillGroup* group);
  static Task<int> fill_all(Core& self);
  void finish_partial(std::uint16_t record);
  void undo_partial(std::uint16_t record);
  [[nodiscard]] bool any_partial() const {
    return partials_in_use_ > 0;
  }

  // commit.cpp
  static Task<int> flush(Core& self);
  static Detached commit_loop(Core& self);
  static Task<int> commit(Core& self);
  static Task<int> commit_round(Core& self);
  static Task<int> barrier(Core& self);
  static Task<int> write_pages(Core& self);
  bool capture(std::uint64_t* next);
  void build_page(std::uint32_t page, std::byte* image) const;
  void settle();
  void mark_dirty(std::uint64_t cluster);
  void arm_timer();
  static void timer_fired(io::Completion* c);
  [[nodiscard]] std::uint32_t wanted(std::uint64_t cluster) const;
  [[nodiscard]] std::uint32_t captured(std::uint64_t cluster, bool* found) const;
  [[nodiscard]] bool needs_commit() const {
    return dirty_pages_count_ > 0 || any_partial();
  }

  // reclaim.cpp
  void retire(std::uint32_t image_cluster);
  void start_reclaim();
  static Detached reclaim_loop(Core& self);
  static Task<int> grace_period(Core& self);

  // tracking.cpp
  [[nodiscard]] Result<std::uint64_t> top_file_bytes() const;
  [[nodiscard]] Result<std::uint64_t> top_used_bytes() const;

  // compact.cpp
  static Detached run_compact(Core& self, CompactAwaiter* a);
  static Task<int> compact(Core& self, std::uint64_t most_clusters, CompactResult* done);
  static Task<int> compact_pass(Core& self, std::uint64_t target, CompactResult* done);
  static Task<int> move_batch(Core& self, std::uint64_t target, CompactResult* done);
  static Task<int> move_cluster(Core& self, std::uint64_t cluster, std::uint64_t target);
  static Task<int> copy_cluster(Core& self, std::uint32_t from, std::uint32_t to, bool clean,
                                std::byte* buffer);
  static Task<int> cut_file(Core& self, std::uint64_t* clusters);
  static Task<int> settle_frees(Core& self);
  [[nodiscard]] bool is_moving(std::uint64_t first, std::uint64_t last) const;
  [[nodiscard]] std::uint64_t live_end() const;

  // device.cpp
  Status check_stack();
  Status choose_top();
  [[nodiscard]] image::Delta& top_delta() {
    return deltas_[top_level_];
  }
  Status prepare_top();
  Status build_map();
  void fill_map();
  Status adopt_map();
  [[nodiscard]] Result<Entry> looked_up(std::uint64_t guest_cluster, Entry entry) const;
  Status look_up_lower();
  void build_allocator();
  static Detached finish_work(Core& self, int* result, bool* done);

  struct TimerCompletion : io::Completion {
    Core* core = nullptr;
    bool armed = false;
  };
  /// A guest cluster that is being written for the first time; a second writer waits.
  struct Claim {
    std::uint64_t cluster = 0;
    bool active = false;
  };

  io::Ring* ring_;
  DeviceConfig config_;
  std::vector<image::Delta> deltas_;
  std::vector<io::BlockFile*> files_;
  io::BlockFile* top_ = nullptr;
  std::uint16_t top_level_ = 0;
  bool top_is_raw_ = false;
  bool base_is_raw_ = false;
  bool can_clone_ = false;
  bool can_punch_ = true;
  format::Header header_;  ///< of the top, as it is on disk
  std::uint64_t size_bytes_ = 0;
  std::uint64_t cluster_bytes_ = 0;
  unsigned cluster_shift_ = 0;
  std::uint64_t cluster_count_ = 0;

  ClusterMap map_;
  Allocator allocator_;
  std::vector<std::uint32_t> durable_;  ///< image cluster per guest cluster in the table on disk

  std::array<std::uint64_t, 2> in_phase_{};  ///< requests that may hold looked-up clusters, by side
  std::uint8_t phase_ = 0;
  WaitList phase_drained_;
  bool grace_running_ = false;
  WaitList grace_over_;

  std::vector<Claim> claims_;
  WaitList claim_released_;
  bool extending_ = false;
  bool extended_since_barrier_ = false;  ///< only the saboteur of O2 looks at it
  WaitList extended_;

  std::vector<PartialState> partials_;
  std::uint32_t partials_in_use_ = 0;
  std::uint16_t next_victim_ = 0;
  std::array<Copy, kCopyBuffers> copies_;
  WaitList copy_released_;
  AlignedBuffer zeros_;

  Bitmap dirty_pages_;
  std::uint64_t dirty_pages_count_ = 0;
  std::uint32_t table_pages_ = 0;
  Round round_;
  bool round_active_ = false;
  std::uint64_t flushes_wanted_ = 0;  ///< ticket of the newest flush that wants a commit
  std::uint64_t flushes_done_ = 0;    ///< every ticket up to here is answered
  int flush_result_ = 0;
  bool committing_ = false;
  WaitList committed_;
  std::uint64_t data_generation_ = 1;
  std::uint64_t durable_generation_ = 0;
  TimerCompletion timer_;
  bool failed_ = false;

  Bitmap retired_;
  Bitmap reclaiming_;
  std::uint64_t retired_count_ = 0;
  bool reclaim_running_ = false;
  WaitList reclaimed_;

  Tracker tracker_;
  std::uint64_t top_writes_ = 0;  ///< operations in flight that change bytes of the top's file
  std::uint64_t active_ = 0;      ///< requests between start and end
  bool held_ = false;             ///< new requests wait in the queue
  bool gone_ = false;  ///< its files were given away and nothing took its place: every request fails
  ExecuteAwaiter* held_first_ = nullptr;
  ExecuteAwaiter* held_last_ = nullptr;
  WaitList quiet_;  ///< active_ reached 0 while held, or a request began to wait for space

  io::BlockFile* overlay_ = nullptr;  ///< the former top that a merge drains into the top
  format::Header overlay_header_;
  std::vector<std::uint32_t> overlay_table_;  ///< what its table on disk says: each such slot hides the top's
  std::uint64_t overlay_left_ = 0;            ///< slots of it that are in use
  std::uint64_t overlay_total_ = 0;           ///< when the merge began
  bool draining_ = false;
  bool drain_cancelled_ = false;
  WaitList drained_;
  bool compacting_ = false;
  bool compact_cancelled_ = false;
  CompactProgress compact_progress_;
  WaitList compacted_;
  std::array<std::uint64_t, kMaxMoves> moving_{};  ///< guest clusters that may not be written now
  std::size_t moving_count_ = 0;
  WaitList move_ended_;

  std::uint32_t paused_ = 0;
  bool stop_waiting_ = false;
};

}  // namespace ploop::engine
