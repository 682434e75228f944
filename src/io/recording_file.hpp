// A file in memory that remembers what was done to it and when, so that every state in which a power cut
// could leave it can be built afterwards. Operations and barriers carry the time of their submission and of
// their completion on the clock of a SimDisk, which the test may tick for its own events too.
//
// The rule for reading the log: what completed before the submission of a barrier that completed without an
// error is durable; everything else may be on disk, or not, or in part. tests/crash/crash_states.hpp applies
// it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "io/memory_file.hpp"
#include "io/sim_ring.hpp"

namespace ploop::io {

/// One operation of a log. Reads are not recorded.
struct Recorded {
  static constexpr std::uint64_t kNever = ~std::uint64_t{0};

  OpKind kind = OpKind::Write;
  std::uint32_t file = 0;         ///< number of the RecordingFile
  std::uint64_t offset = 0;       ///< bytes
  std::uint64_t length = 0;       ///< bytes; the new size for Truncate
  std::vector<std::byte> data;    ///< Write, and what a Clone copied
  std::uint64_t size_before = 0;  ///< file length when it took effect, or at submission when it never did
  std::uint64_t submitted = 0;
  std::uint64_t completed = kNever;
  int result = 0;  ///< once completed: bytes, 0 or -errno
};

/// Clock and log that several files share.
class SimDisk {
 public:
  /// The next moment. Two events never share one.
  std::uint64_t tick() { return ++clock_; }
  [[nodiscard]] std::uint64_t now() const { return clock_; }
  [[nodiscard]] const std::vector<Recorded>& log() const { return log_; }

 private:
  friend class RecordingFile;
  std::uint64_t clock_ = 0;
  std::uint32_t files_ = 0;
  std::vector<Recorded> log_;
};

/// Behaves as its MemoryFile and records. The plain calls begin and finish in one go.
class RecordingFile final : public StagedFile {
 public:
  /// The disk outlives the file. `content` is what is durable at the start.
  RecordingFile(SimDisk& disk, std::unique_ptr<MemoryFile> content);

  std::int64_t read(std::span<std::byte> data, std::uint64_t offset) override;
  std::int64_t write(std::span<const std::byte> data, std::uint64_t offset) override;
  int sync() override;
  int truncate(std::uint64_t size) override;
  int allocate(std::uint64_t offset, std::uint64_t length) override;
  int punch(std::uint64_t offset, std::uint64_t length) override;
  int clone(BlockFile& source, std::uint64_t source_offset, std::uint64_t offset,
            std::uint64_t length) override;
  std::int64_t size() override { return content_->size(); }
  [[nodiscard]] const std::string& name() const override { return content_->name(); }

  std::uint64_t begin(const Op& op) override;
  int finish(std::uint64_t token) override;
  int finish_failed(std::uint64_t token, int error, std::uint64_t live_bytes) override;

  /// Failures of the plain calls (a ring judges its operations itself). The plan outlives the file; nullptr:
  /// none.
  void set_faults(FaultPlan* plan) { faults_ = plan; }
  [[nodiscard]] std::uint32_t number() const { return number_; }
  [[nodiscard]] MemoryFile& content() { return *content_; }

 private:
  int run_now(const Op& op);

  SimDisk& disk_;
  std::unique_ptr<MemoryFile> content_;
  std::uint32_t number_;
  FaultPlan* faults_ = nullptr;
  /// Where a clone that is in flight copies from; one entry per log entry of this file is not needed, clones
  /// are few.
  struct CloneSource {
    std::uint64_t token;
    BlockFile* file;
    std::uint64_t offset;
  };
  std::vector<CloneSource> clone_sources_;
};

}  // namespace ploop::io
