// Which values each sector may have. Fed with the requests of a run in order of time; see spec/reliability
// P2, P4 and P5 for what is promised.
//
// A value is forgotten (no longer legal) once a later write has *settled*: a write w settles v when v had
// ended before w began. After a power cut only flushed writes settle, for a live device and after the death
// of its worker every acknowledged one does.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "stamp.hpp"

namespace ploop::crash {

/// One request event. Times come from the disk's clock.
struct OracleEvent {
  enum class Kind : std::uint8_t { BeginWrite, EndWrite, BeginFlush, EndFlush };
  Kind kind = Kind::BeginWrite;
  std::uint64_t time = 0;
  std::uint32_t id = 0;            ///< of the write or flush; the End has that of its Begin
  std::uint64_t first_sector = 0;  ///< BeginWrite
  std::uint64_t sectors = 0;       ///< BeginWrite
  Generation generation = kZeros;  ///< BeginWrite; zeroing and discard are writes of kZeros
  bool ok = false;                 ///< End: answered without an error
  bool fua = false;                ///< EndWrite
};

class Oracle {
 public:
  enum class Settles : std::uint8_t { Flushed, Acknowledged };

  Oracle(Settles settles, const std::vector<Generation>& initial);

  void apply(const OracleEvent& event);
  [[nodiscard]] bool legal(std::uint64_t sector, Generation generation) const;
  /// For a read that began then and ends now (live device).
  [[nodiscard]] bool legal_since(std::uint64_t sector, Generation generation, std::uint64_t begin) const;
  /// Reads that began before this time are over; their alternatives may be dropped.
  void forget_before(std::uint64_t time) { oldest_read_ = time; }
  /// Changes whenever a value stopped being legal.
  [[nodiscard]] std::uint64_t version() const { return version_; }
  [[nodiscard]] std::uint64_t sectors() const { return values_.size(); }
  /// "0, 12, 15" for messages.
  [[nodiscard]] std::string legal_text(std::uint64_t sector) const;

 private:
  static constexpr std::uint64_t kOpen = ~std::uint64_t{0};
  struct Value {
    Generation generation = kZeros;
    std::uint32_t write = 0;
    std::uint64_t begin = 0;
    std::uint64_t end = kOpen;      ///< the write's answer
    std::uint64_t settled = kOpen;  ///< no longer legal from this time on
  };
  struct Write {
    std::uint64_t first_sector = 0;
    std::uint64_t sectors = 0;
    std::uint64_t begin = 0;
    std::uint64_t end = kOpen;
  };
  void begin_write(const OracleEvent& event);
  void end_write(const OracleEvent& event);
  void end_flush(const OracleEvent& event);
  void settle(const Write& write, std::uint64_t now);

  Settles settles_;
  std::vector<std::vector<Value>> values_;
  std::vector<Write> writes_;               ///< by id
  std::vector<std::uint32_t> unflushed_;    ///< ids of acknowledged writes that no flush has covered
  std::vector<std::uint64_t> flush_begin_;  ///< by id
  std::uint64_t oldest_read_ = kOpen;
  std::uint64_t version_ = 0;
};

}  // namespace ploop::crash
