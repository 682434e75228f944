// The file behind the engine's map: shared memory that outlives the worker.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

#include "base/fd.hpp"
#include "base/result.hpp"

namespace ploop::daemon {

/// Makes the file of device `number`: RUNDIR/ploopN/map where RUNDIR is in memory, else a nameless one,
/// because stores to a file of a disk would wait for that disk now and then. ExitCode::Create.
Result<Fd> make_map_file(int number);

/// A mapping of the map file, all of it in memory. Unmapped by destruction.
class LiveMap {
 public:
  /// Gives the file `bytes` zero bytes and maps them. `fd` outlives the mapping. ExitCode::Malloc.
  static Result<LiveMap> create(int fd, std::uint64_t bytes);
  /// Maps the first `bytes` bytes of what another process left. ExitCode::Format when there is less.
  static Result<LiveMap> adopt(int fd, std::uint64_t bytes);
  /// What a dead worker left, if it has `bytes` bytes and is a map that a successor has to go on with; else a
  /// new one.
  static Result<LiveMap> adopt_or_create(int fd, std::uint64_t bytes);
  /// Makes file and mapping larger; memory() may be at another place afterwards. ExitCode::Malloc: everything
  /// is as before.
  Status grow(std::uint64_t bytes);
  LiveMap(LiveMap&& other) noexcept : fd_(other.fd_), memory_(std::exchange(other.memory_, {})) {}
  LiveMap& operator=(LiveMap&&) = delete;
  ~LiveMap();
  [[nodiscard]] std::span<std::byte> memory() const { return memory_; }

 private:
  LiveMap(int fd, std::span<std::byte> memory) : fd_(fd), memory_(memory) {}
  static Result<LiveMap> map(int fd, std::uint64_t bytes);
  int fd_;  ///< not owned
  std::span<std::byte> memory_;
};

}  // namespace ploop::daemon
