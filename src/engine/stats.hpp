// Counters of a device. Written by the ring's thread only; other threads may read slightly old values.
#pragma once

#include <atomic>
#include <cstdint>

namespace ploop::engine {

/// A counter with one writer: plain speed for the writer, no data race for readers.
class Counter {
 public:
  void add(std::uint64_t n = 1) {
    value_.store(value_.load(std::memory_order_relaxed) + n, std::memory_order_relaxed);
  }
  [[nodiscard]] std::uint64_t get() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<std::uint64_t> value_{0};
};

struct Stats {
  Counter reads, read_bytes;
  Counter writes, write_bytes;
  Counter flushes;  ///< requests
  Counter zeroings, zeroed_bytes;
  Counter allocated;    ///< clusters taken
  Counter reused;       ///< of these, holes
  Counter freed;        ///< clusters returned
  Counter moved;        ///< clusters that compaction put elsewhere
  Counter clones;       ///< first writes that shared the parent's cluster
  Counter fills;        ///< partial clusters completed from below
  Counter fill_bytes;   ///< bytes read from below for that
  Counter barriers;     ///< fdatasync on the top
  Counter table_pages;  ///< table pages written
  Counter commits;      ///< rounds that wrote pages
  Counter errors;       ///< requests answered with an error
};

}  // namespace ploop::engine
