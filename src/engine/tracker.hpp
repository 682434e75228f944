// The write tracker: which parts of the top's image file were written since somebody read them. `ploop copy`
// transfers the file while the guest goes on writing, and asks here what to transfer again.
//
// It works on positions in the image *file*: guest data, filled-up sectors, clones, punches, table pages,
// moved clusters. Below the *position* a write is recorded; at or above it nothing is, because the copy has
// not read that far yet. The end of the file that was handed out as growth moves the position too.
//
// Why recording a write when it has *ended* is right. Let the copy read a block between the moment it was
// handed out and the moment it is handed out again (or the tracker is stopped).
//   - A write that ended before the hand-out is in the file: the read sees it.
//   - A write that ends later is recorded at its end, by then surely below the position: the block is handed
//     out once more, and what was read, old, new or torn, is replaced.
//   - A write still under way is neither: stop() refuses while one is, so that the last read of every block
//     comes after the last write to it.
// Recording at submission instead would lose a write that is submitted, handed out, read old, and then ends.
// A write above the position at its submission and below it at its end is the same case.
//
// Granularity is 4 KiB, so that small random writes cost the copy what they are and not a cluster each; files
// above 256 GiB get a coarser one, so that the memory stays below kMaxBits / 8 bytes. All of it is taken by
// start(); mark() takes none. The ring's thread only.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/result.hpp"

namespace ploop::engine {

/// A piece of the image file, [start, end) in bytes.
struct FileExtent {
  std::uint64_t start = 0;
  std::uint64_t end = 0;
  bool operator==(const FileExtent&) const = default;
};

class Tracker {
 public:
  static constexpr unsigned kMinShift = 12;                          ///< 4 KiB
  static constexpr std::uint64_t kMaxBits = std::uint64_t{1} << 26;  ///< 8 MiB of memory

  /// What one read() gave.
  struct Batch {
    std::size_t count = 0;        ///< extents filled in
    bool round_complete = false;  ///< everything recorded or grown when the round began has been handed out
  };

  /// Begins with nothing recorded and the position at 0. `file_limit`: bytes that the file can reach while
  /// tracking. The only place where memory is taken. ExitCode::Busy when it is on already.
  Status start(std::uint64_t file_limit);
  [[nodiscard]] bool active() const { return active_; }
  [[nodiscard]] std::uint64_t granularity() const { return std::uint64_t{1} << shift_; }

  /// From now on writes below `bytes` are recorded. 0 starts all over: what was recorded is forgotten, since
  /// everything is going to be read again. ExitCode::Param when it would move backwards otherwise, or beyond
  /// the limit.
  Status set_position(std::uint64_t bytes);
  [[nodiscard]] std::uint64_t position() const { return position_; }

  /// A write to this range of the file has ended, well or not. Does nothing while off.
  void mark(std::uint64_t offset, std::uint64_t length) {
    if (active_) record(offset, length);
  }

  /// Hands out the next recorded extents, cut at `file_end`; they are not recorded any more. At the end of a
  /// round (in the order of the file) also what lies between the position and `used_end`, and the position
  /// moves there. A round that hands out nothing at all means that nothing is left.
  Batch read(std::span<FileExtent> out, std::uint64_t used_end, std::uint64_t file_end);

  /// Recorded and not handed out, in bytes; granules count whole.
  [[nodiscard]] std::uint64_t dirty_bytes() const { return dirty_ << shift_; }

  /// Off again, if nothing is recorded, the file has not grown beyond the position and no write is under way
  /// (`writing`): everything below used_end was read after its last change. ExitCode::Busy otherwise, and it
  /// stays on.
  Status stop(std::uint64_t used_end, bool writing);
  /// Off, whatever is recorded. Gives the memory back.
  void abort();

 private:
  void record(std::uint64_t offset, std::uint64_t length);
  void set_bits(std::uint64_t first, std::uint64_t last);
  void clear_bits(std::uint64_t first, std::uint64_t last);
  template <typename Change>
  void change_words(std::uint64_t first, std::uint64_t last, Change change);
  [[nodiscard]] std::uint64_t find(bool value, std::uint64_t from) const;

  bool active_ = false;
  unsigned shift_ = kMinShift;
  std::uint64_t limit_ = 0;  ///< bytes
  std::uint64_t bits_ = 0;
  std::uint64_t position_ = 0;  ///< bytes
  std::uint64_t cursor_ = 0;    ///< granule where the next read() goes on
  std::uint64_t dirty_ = 0;     ///< granules
  std::vector<std::uint64_t> words_;
};

}  // namespace ploop::engine
