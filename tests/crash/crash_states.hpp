// Every state in which a power cut could leave a recorded file.
//
// The model (spec/reliability 4.1): what completed before the submission of a barrier that completed is
// durable. Every other operation that was submitted is absent, present, or, for data, present in some of its
// sectors. A change of the file's length persists independently of the data that caused it, and the space it
// uncovers reads as zeros or as poison. After a barrier that failed, what it should have covered is never
// durable again, whatever later barriers say.
#pragma once

#include <cstdint>
#include <functional>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "content.hpp"
#include "io/recording_file.hpp"

namespace ploop::crash {

/// What became of one pending operation.
struct Fate {
  enum class Kind : std::uint8_t {
    Absent,
    Present,
    LengthOnly,    ///< the file grew, the data is lost: zeros
    LengthPoison,  ///< the file grew, the data is lost: poison
    TornFront,     ///< the first `argument` units arrived
    TornBack,      ///< all but the first `argument` units arrived
    TornRandom,    ///< units chosen by the seed `argument`
  };
  Kind kind = Kind::Absent;
  std::uint32_t argument = 0;
};

/// How many states are looked at.
struct Enumeration {
  std::size_t all_subsets_up_to = 5;  ///< pending operations, above it only chosen subsets
  std::size_t random_subsets = 16;
  std::size_t per_event = 12;  ///< most states for one event that touches metadata or acknowledges a flush
  std::size_t per_data_event = 3;  ///< most states for the submission of a data write
};

/// Builds the states of one file at growing points of time.
class CrashStates {
 public:
  /// `log` outlives the object. Operations below `data_start` bytes count as metadata.
  CrashStates(Content initial, std::span<const io::Recorded> log, std::uint64_t data_start);

  /// Looks at the moment just before `time`. Times must grow.
  void advance(std::uint64_t time);

  [[nodiscard]] std::size_t pending() const { return pending_.size(); }
  [[nodiscard]] Content build(const std::vector<Fate>& fates) const;
  [[nodiscard]] std::string describe(const std::vector<Fate>& fates) const;
  /// The last operations submitted before this moment, barriers included.
  [[nodiscard]] std::string recent(std::size_t how_many) const;

  using Visit = std::function<void(const std::vector<Fate>&)>;
  /// Calls `visit` for chosen states of this moment. `must_have` is a log index: only states in which that
  /// operation left something (all others were seen at earlier moments); kAll for no such restriction.
  static constexpr std::size_t kAll = ~std::size_t{0};
  void enumerate(std::size_t must_have, const Enumeration& limits, std::mt19937_64& rng,
                 const Visit& visit) const;

 private:
  struct Pending {
    std::size_t index = 0;       ///< into log_
    bool durable = false;        ///< certain, but behind something that is not
    std::uint64_t new_size = 0;  ///< the length it gives the file; 0: does not grow it
  };
  [[nodiscard]] bool durable(const io::Recorded& entry, std::uint64_t time) const;
  static void apply(Content& content, const Pending& pending, const io::Recorded& entry, const Fate& fate);
  [[nodiscard]] std::vector<Fate> variants(const Pending& pending, std::mt19937_64& rng) const;
  [[nodiscard]] bool metadata(const io::Recorded& entry) const;
  [[nodiscard]] std::vector<std::vector<Fate>> subsets(std::size_t fixed, const Enumeration& limits,
                                                       std::mt19937_64& rng) const;

  Content base_;
  std::span<const io::Recorded> log_;
  std::uint64_t data_start_;
  std::size_t next_ = 0;               ///< first log entry not yet submitted
  std::vector<std::size_t> barriers_;  ///< log indices of all barriers, by completion
  std::vector<Pending> pending_;       ///< in the order in which they take effect
};

}  // namespace ploop::crash
