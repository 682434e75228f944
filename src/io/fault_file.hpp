// Failing on purpose. A FaultPlan says which calls of which kind fail and how; FaultFile applies it to the
// synchronous calls of one file, SimRing to the operations of a ring.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "io/block_file.hpp"
#include "io/ring.hpp"

namespace ploop::io {

/// One rule: from the matching call number `first` on (counted from 0), `times` calls fail.
struct Fault {
  static constexpr std::uint64_t kForEver = ~std::uint64_t{0};

  std::optional<OpKind> kind;  ///< nothing: every kind
  std::uint64_t first = 0;     ///< calls of that kind which still succeed
  std::uint64_t times = 1;     ///< kForEver: persistent
  int error = 5;               ///< positive errno
  bool half_done = false;      ///< a failing write leaves its first half (whole sectors) in the file
};

/// A set of rules with one call counter per rule. One plan may serve several files and rings of a thread.
class FaultPlan {
 public:
  struct Verdict {
    int error = 0;  ///< 0: the call goes through
    bool half_done = false;
  };

  void add(const Fault& fault) { rules_.push_back({fault, 0}); }
  void clear() { rules_.clear(); }
  /// Counts the call and says what happens to it.
  Verdict next(OpKind kind);
  /// Calls judged so far, and how many of them failed.
  [[nodiscard]] std::uint64_t calls() const { return calls_; }
  [[nodiscard]] std::uint64_t injected() const { return injected_; }

 private:
  struct Rule {
    Fault fault;
    std::uint64_t seen = 0;
  };
  std::vector<Rule> rules_;
  std::uint64_t calls_ = 0;
  std::uint64_t injected_ = 0;
};

/// A file whose calls fail as the plan says; otherwise they reach `inner`. size() and name() never fail.
class FaultFile final : public BlockFile {
 public:
  /// The plan outlives the file.
  FaultFile(std::unique_ptr<BlockFile> inner, FaultPlan& plan) : inner_(std::move(inner)), plan_(plan) {}

  std::int64_t read(std::span<std::byte> data, std::uint64_t offset) override;
  std::int64_t write(std::span<const std::byte> data, std::uint64_t offset) override;
  int sync() override;
  int truncate(std::uint64_t size) override;
  int allocate(std::uint64_t offset, std::uint64_t length) override;
  int punch(std::uint64_t offset, std::uint64_t length) override;
  int clone(BlockFile& source, std::uint64_t source_offset, std::uint64_t offset,
            std::uint64_t length) override;
  std::int64_t size() override { return inner_->size(); }
  [[nodiscard]] const std::string& name() const override { return inner_->name(); }

  [[nodiscard]] BlockFile& inner() { return *inner_; }

 private:
  std::unique_ptr<BlockFile> inner_;
  FaultPlan& plan_;
};

}  // namespace ploop::io
