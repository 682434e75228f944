// Which clusters of the top's file are taken. Pure bookkeeping, no I/O: the caller punches, extends and
// reports back.
//
// A cluster is taken while the live map or the table on disk refers to it, or while it is on its way back
// (reclaim). A free cluster inside the file is a hole; a *clean* hole is known to read as zeros, any other
// must be punched before use.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

namespace ploop::engine {

class Bitmap {
 public:
  void resize(std::uint64_t bits) { words_.resize((bits + 63) / 64); }
  [[nodiscard]] bool test(std::uint64_t i) const { return (words_[i / 64] >> (i % 64) & 1) != 0; }
  void set(std::uint64_t i) { words_[i / 64] |= std::uint64_t{1} << (i % 64); }
  void clear(std::uint64_t i) { words_[i / 64] &= ~(std::uint64_t{1} << (i % 64)); }
  /// First bit of this value at or behind `from` and before `end`; `end` when there is none.
  [[nodiscard]] std::uint64_t find(bool value, std::uint64_t from, std::uint64_t end) const;
  void swap(Bitmap& other) { words_.swap(other.words_); }
  [[nodiscard]] std::uint64_t size() const { return words_.size() * 64; }

 private:
  std::vector<std::uint64_t> words_;
};

class Allocator {
 public:
  struct Taken {
    std::uint32_t cluster;
    bool clean;  ///< reads as zeros
    bool hole;   ///< was free inside the used part of the file
  };

  /// `first` = lowest data cluster, `file_clusters` = whole clusters of the file now, `limit` = most clusters
  /// the file may have.
  void reset(std::uint32_t first, std::uint64_t file_clusters, std::uint64_t limit);
  /// The cluster is referred to; for building up after reset().
  void mark_used(std::uint32_t cluster);
  [[nodiscard]] bool is_used(std::uint32_t cluster) const { return used_.test(cluster); }

  /// The lowest free cluster of the file, if there is one.
  std::optional<Taken> take();
  /// The cluster is free again; `clean` when it was punched.
  void give_back(std::uint32_t cluster, bool clean);

  [[nodiscard]] std::uint64_t file_clusters() const { return file_clusters_; }
  [[nodiscard]] std::uint64_t limit() const { return limit_; }
  /// The file was extended by space that reads as zeros.
  void extended_to(std::uint64_t file_clusters);
  /// The file is going to be cut here: nothing behind is handed out until extended_to().
  void cut_to(std::uint64_t file_clusters);
  /// It was cut: what comes behind is new.
  void cut_done() { unknown_end_ = 0; }
  /// Taken clusters, all and in a range of the file.
  [[nodiscard]] std::uint64_t used_clusters() const { return used_between(first_, fresh_from_); }
  [[nodiscard]] std::uint64_t used_between(std::uint64_t from, std::uint64_t end) const;
  /// One behind the highest taken cluster, at least `first`.
  [[nodiscard]] std::uint64_t used_end() const;

 private:
  std::uint32_t first_ = 0;
  std::uint64_t file_clusters_ = 0;
  std::uint64_t limit_ = 0;
  std::uint64_t search_from_ = 0;  // nothing is free below
  std::uint64_t fresh_from_ = 0;   // never taken from here on
  std::uint64_t unknown_end_ =
      0;  // clusters behind the end and before this one may have old content when the file grows again
  Bitmap used_;
  Bitmap clean_;
};

}  // namespace ploop::engine
